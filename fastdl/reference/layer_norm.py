"""Layer normalization of the rows of x (N, n). All may have more axes that come to as many elements.

mean and inverse = 1 / sqrt(var + eps), both (N,), are outputs of the forward, which the backward takes.
"""

from typing import Any

import numpy as np

from fastdl.reference.elements import elements, flat
from fastdl.reference.ieee import divide, sqrt


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
    x, y = (rows(array, mean.size) for array in (x, y))
    (x, mean, inverse, y), (W, b) = elements(x, mean, inverse, y), flat(W, b)
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
    gy, x, gx = (rows(array, mean.size) for array in (gy, x, gx))
    (gy, x, mean, inverse, gx), (W, gW, gb) = elements(gy, x, mean, inverse, gx), flat(W, gW, gb)
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


def rows(array: Any, N: int) -> Any:
    """An array, if there is one, as so many rows."""
    if array is None or (array.ndim == 2 and len(array) == N):
        return array
    return array.reshape(N, array.size // max(1, N))
