"""Batch normalization of x (N, C, ...) over all but its second axis, and layer normalization of the rows of x (N, n).

mean and inverse = 1 / sqrt(var + eps) are outputs of the forward, which the backward takes: (C,) or (N,).
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


def layer_norm_forward(
    x: np.ndarray,
    W: np.ndarray | None,
    b: np.ndarray | None,
    eps: float,
    mean: np.ndarray,
    inverse: np.ndarray,
    y: np.ndarray,
) -> None:
    """y = (x - mean) inverse W + b, with each row's mean and inverse, W and b (n,)."""
    x, W, b, mean, inverse, y = elements(x, W, b, mean, inverse, y)
    N, SIZE = x.shape
    for n in range(N):
        m = sum(x[n, i] for i in range(SIZE)) / SIZE
        s = divide(1.0, sqrt(sum((x[n, i] - m) ** 2 for i in range(SIZE)) / SIZE + eps))
        mean[n], inverse[n] = m, s
        for i in range(SIZE):
            y[n, i] = (x[n, i] - m) * s * (1.0 if W is None else W[i]) + (0.0 if b is None else b[i])


def layer_norm_backward(
    gy: np.ndarray,
    x: np.ndarray,
    W: np.ndarray | None,
    mean: np.ndarray,
    inverse: np.ndarray,
    accumulate: bool,
    gx: np.ndarray | None,
    gW: np.ndarray | None,
    gb: np.ndarray | None,
) -> None:
    """gW = sum gy z and gb = sum gy over rows; gx = inverse (u - mean u - z mean(u z)), z = (x - mean) inverse, u = gy W."""
    gy, x, W, mean, inverse, gx, gW, gb = elements(gy, x, W, mean, inverse, gx, gW, gb)
    N, SIZE = x.shape
    for i in range(SIZE):
        if gW is not None:
            along = sum(gy[n, i] * (x[n, i] - mean[n]) * inverse[n] for n in range(N))
            gW[i] = along + (gW[i] if accumulate else 0.0)
        if gb is not None:
            gb[i] = sum(gy[n, i] for n in range(N)) + (gb[i] if accumulate else 0.0)
    if gx is None:
        return
    for n in range(N):
        z = [(x[n, i] - mean[n]) * inverse[n] for i in range(SIZE)]
        u = [gy[n, i] * (1.0 if W is None else W[i]) for i in range(SIZE)]
        total, along = sum(u), sum(u[i] * z[i] for i in range(SIZE))
        for i in range(SIZE):
            gx[n, i] = inverse[n] * (u[i] - (total + z[i] * along) / SIZE)
