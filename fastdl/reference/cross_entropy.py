"""Losses over classes: the negative log-likelihood of a target class, and the cross entropy of scores with a distribution."""

import math
from itertools import product

import numpy as np

from fastdl.reference.elements import elements
from fastdl.reference.loss import at
from fastdl.reference.softmax import log_softmax_forward, softmax_forward


def nll_forward(x: np.ndarray, target: np.ndarray, weight: np.ndarray | None, ignore_index: int, y: np.ndarray) -> None:
    """y[n, d] = -weight[k] x[n, k, d] with k = target[n, d]; 0 if k = ignore_index, NaN if k is no class. x is (N, C, D)."""
    x, target, w, y = elements(x, target, weight, y)
    N, C, D = x.shape
    for n, d in product(range(N), range(D)):
        k = target[n, d]
        if k == ignore_index:
            y[n, d] = 0.0
        else:
            y[n, d] = -at(w, k) * x[n, k, d] if 0 <= k < C else math.nan


def nll_backward(
    target: np.ndarray, weight: np.ndarray | None, ignore_index: int, gy: np.ndarray, gx: np.ndarray
) -> None:
    """gx[n, c, d] = -weight[c] gy[n, d] where c = target[n, d] and is not ignored, else 0."""
    target, w, gy, gx = elements(target, weight, gy, gx)
    N, C, D = gx.shape
    for n, c, d in product(range(N), range(C), range(D)):
        k = target[n, d]
        gx[n, c, d] = -at(w, c) * gy[n, d] if c == k and k != ignore_index else 0.0


def smooth(t: float, label_smoothing: float, C: int) -> float:
    """The probability t of one of C classes, mixed with the uniform distribution."""
    return (1 - label_smoothing) * t + label_smoothing / C


def cross_entropy_forward(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None,
    ignore_index: int,
    label_smoothing: float,
    p: np.ndarray,
    y: np.ndarray,
) -> None:
    """p = softmax(x) and y[n, d] = -sum_c weight[c] q_c log p[n, c, d]; y = 0 if the target is ignored, NaN if it is no class.

    q_c = (1 - label_smoothing) [c = target[n, d]] + label_smoothing / C; a class of q_c = 0 may have p = 0.
    """
    log_p = np.empty(x.shape)
    log_softmax_forward(x, log_p)
    softmax_forward(x, p)
    log_p, target, w, y = elements(log_p, target, weight, y)
    N, C, D = log_p.shape
    for n, d in product(range(N), range(D)):
        known = 0 <= target[n, d] < C or target[n, d] == ignore_index
        total = 0.0 if known else math.nan
        if target[n, d] != ignore_index:
            for c in range(C):
                q = smooth(c == target[n, d], label_smoothing, C)
                if q != 0:
                    total -= at(w, c) * q * log_p[n, c, d]
        y[n, d] = total


def cross_entropy_backward(
    p: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None,
    ignore_index: int,
    label_smoothing: float,
    gy: np.ndarray,
    gx: np.ndarray,
) -> None:
    """gx[n, c, d] = gy[n, d] (p[n, c, d] sum_j weight[j] q_j - weight[c] q_c); 0 where the target is ignored or no class."""
    p, target, w, gy, gx = elements(p, target, weight, gy, gx)
    N, C, D = p.shape
    for n, d in product(range(N), range(D)):
        a = [at(w, c) * smooth(c == target[n, d], label_smoothing, C) for c in range(C)]
        for c in range(C):
            counts = target[n, d] != ignore_index and 0 <= target[n, d] < C
            share = p[n, c, d] * sum(a) - a[c]
            if label_smoothing == 0 and c == target[n, d] and p[n, c, d] > 0.5:  # where 1 - p would cancel
                share = -a[c] * sum(p[n, j, d] for j in range(C) if j != c)
            gx[n, c, d] = gy[n, d] * share if counts else 0.0


def cross_entropy_probabilities_forward(
    x: np.ndarray, t: np.ndarray, weight: np.ndarray | None, label_smoothing: float, p: np.ndarray, y: np.ndarray
) -> None:
    """p = softmax(x) and y[n, d] = -sum_c weight[c] q_c log p[n, c, d]; t is (N, C, D).

    q_c = (1 - label_smoothing) t[n, c, d] + label_smoothing / C.
    """
    log_p = np.empty(x.shape)
    log_softmax_forward(x, log_p)
    softmax_forward(x, p)
    log_p, t, w, y = elements(log_p, t, weight, y)
    N, C, D = log_p.shape
    for n, d in product(range(N), range(D)):
        total = 0.0
        for c in range(C):
            total -= at(w, c) * smooth(t[n, c, d], label_smoothing, C) * log_p[n, c, d]
        y[n, d] = total


def cross_entropy_probabilities_backward(
    p: np.ndarray, t: np.ndarray, weight: np.ndarray | None, label_smoothing: float, gy: np.ndarray, gx: np.ndarray
) -> None:
    """gx[n, c, d] = gy[n, d] (p[n, c, d] sum_j weight[j] q_j - weight[c] q_c)."""
    p, t, w, gy, gx = elements(p, t, weight, gy, gx)
    N, C, D = p.shape
    for n, d in product(range(N), range(D)):
        a = [at(w, c) * smooth(t[n, c, d], label_smoothing, C) for c in range(C)]
        for c in range(C):
            gx[n, c, d] = gy[n, d] * (p[n, c, d] * sum(a) - a[c])
