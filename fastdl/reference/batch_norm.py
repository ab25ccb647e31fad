"""Batch normalization of x (N, C, ...) over all but its second axis.

mean and inverse = 1 / sqrt(var + eps), both (C,), are outputs of the forward, which the backward takes.
"""

from collections.abc import Iterator
from itertools import product
from math import prod

import numpy as np

from fastdl.reference.elements import elements
from fastdl.reference.ieee import divide, sqrt


def planes(*arrays: np.ndarray | None) -> Iterator[np.ndarray | None]:
    """Each array with all its axes from the third on made one."""
    for array in arrays:
        yield None if array is None else array.reshape((*array.shape[:2], prod(array.shape[2:])))


def batch_norm_forward(
    x: np.ndarray,
    W: np.ndarray | None,
    b: np.ndarray | None,
    eps: float,
    momentum: float,
    running_mean: np.ndarray | None,
    running_var: np.ndarray | None,
    batches: np.ndarray | None,
    mean: np.ndarray,
    inverse: np.ndarray,
    y: np.ndarray,
) -> None:
    """y = (x - mean) inverse W + b; running = (1 - momentum) running + momentum (the batch's mean, its unbiased variance).

    A negative momentum stands for 1 / batches, counted with this one.
    """
    x, y = elements(*planes(x, y))
    W, b, running_mean, running_var, mean, inverse = elements(W, b, running_mean, running_var, mean, inverse)
    N, C, D = x.shape
    count = N * D
    if not count:
        return
    if batches is not None:
        batches += 1
        momentum = 1 / int(batches) if momentum < 0 else momentum
    for c in range(C):
        m = sum(x[n, c, i] for n, i in product(range(N), range(D))) / count
        squares = sum((x[n, c, i] - m) ** 2 for n, i in product(range(N), range(D)))
        s = divide(1.0, sqrt(squares / count + eps))
        mean[c], inverse[c] = m, s
        if running_mean is not None and running_var is not None:
            running_mean[c] = (1 - momentum) * running_mean[c] + momentum * m
            running_var[c] = (1 - momentum) * running_var[c] + momentum * squares / (count - 1)
        for n, i in product(range(N), range(D)):
            y[n, c, i] = (x[n, c, i] - m) * s * (1.0 if W is None else W[c]) + (0.0 if b is None else b[c])


def batch_norm_evaluate(
    x: np.ndarray,
    W: np.ndarray | None,
    b: np.ndarray | None,
    running_mean: np.ndarray,
    running_var: np.ndarray,
    eps: float,
    mean: np.ndarray,
    inverse: np.ndarray,
    y: np.ndarray,
) -> None:
    """y = (x - mean) inverse W + b with the running statistics."""
    x, y = elements(*planes(x, y))
    W, b, running_mean, running_var, mean, inverse = elements(W, b, running_mean, running_var, mean, inverse)
    N, C, D = x.shape
    for c in range(C):
        m, s = running_mean[c], divide(1.0, sqrt(running_var[c] + eps))
        mean[c], inverse[c] = m, s
        for n, i in product(range(N), range(D)):
            y[n, c, i] = (x[n, c, i] - m) * s * (1.0 if W is None else W[c]) + (0.0 if b is None else b[c])


def batch_norm_backward(
    gy: np.ndarray,
    x: np.ndarray,
    W: np.ndarray | None,
    mean: np.ndarray,
    inverse: np.ndarray,
    training: bool,
    accumulate: bool,
    gx: np.ndarray | None,
    gW: np.ndarray | None,
    gb: np.ndarray | None,
) -> None:
    """gW = sum gy z and gb = sum gy, z = (x - mean) inverse; gx = W inverse gy, in training less gy's mean and z times gy z's."""
    gy, x, gx = elements(*planes(gy, x, gx))
    W, mean, inverse, gW, gb = elements(W, mean, inverse, gW, gb)
    N, C, D = x.shape
    for c in range(C):
        total = sum(gy[n, c, i] for n, i in product(range(N), range(D)))
        along = sum(gy[n, c, i] * (x[n, c, i] - mean[c]) * inverse[c] for n, i in product(range(N), range(D)))
        if gW is not None:
            gW[c] = along + (gW[c] if accumulate else 0.0)
        if gb is not None:
            gb[c] = total + (gb[c] if accumulate else 0.0)
        if gx is None:
            continue
        for n, i in product(range(N), range(D)):
            g = gy[n, c, i]
            if training:
                g -= (total + (x[n, c, i] - mean[c]) * inverse[c] * along) / (N * D)
            gx[n, c, i] = g * inverse[c] * (1.0 if W is None else W[c])
