"""Softmax and log-softmax over the middle axis of arrays of shape (outer, n, inner)."""

from itertools import product

import numpy as np

from fastdl.reference.elements import elements
from fastdl.reference.ieee import exp, log1p


def softmax_forward(x: np.ndarray, y: np.ndarray) -> None:
    """y_k = e^(x_k - m) / sum_j e^(x_j - m), m = max x."""
    x, y = elements(x, y)
    OUTER, K, INNER = x.shape
    for o, i in product(range(OUTER), range(INNER)):
        m = max(x[o, k, i] for k in range(K))
        total = sum(exp(x[o, k, i] - m) for k in range(K))
        for k in range(K):
            y[o, k, i] = exp(x[o, k, i] - m) / total


def softmax_backward(gy: np.ndarray, y: np.ndarray, gx: np.ndarray) -> None:
    """gx_k = y_k (gy_k - sum_j gy_j y_j)."""
    gy, y, gx = elements(gy, y, gx)
    OUTER, K, INNER = y.shape
    for o, i in product(range(OUTER), range(INNER)):
        total = sum(gy[o, k, i] * y[o, k, i] for k in range(K))
        for k in range(K):
            gx[o, k, i] = y[o, k, i] * (gy[o, k, i] - total)


def log_softmax_forward(x: np.ndarray, y: np.ndarray) -> None:
    """y_k = x_k - m - log sum_j e^(x_j - m), m = max x. The maximum's own 1 is not added, beside which a small rest is lost."""
    x, y = elements(x, y)
    OUTER, K, INNER = x.shape
    for o, i in product(range(OUTER), range(INNER)):
        m = max(x[o, k, i] for k in range(K))
        top = next((k for k in range(K) if x[o, k, i] == m), 0)
        others = sum(exp(x[o, k, i] - m) for k in range(K) if k != top)
        for k in range(K):
            y[o, k, i] = x[o, k, i] - m - log1p(exp(x[o, top, i] - m) - 1 + others)


def log_softmax_backward(gy: np.ndarray, y: np.ndarray, gx: np.ndarray) -> None:
    """gx_k = gy_k - e^(y_k) sum_j gy_j."""
    gy, y, gx = elements(gy, y, gx)
    OUTER, K, INNER = y.shape
    for o, i in product(range(OUTER), range(INNER)):
        total = sum(gy[o, k, i] for k in range(K))
        for k in range(K):
            gx[o, k, i] = gy[o, k, i] - exp(y[o, k, i]) * total
