"""Linear on batch-minor matrices: y (O, L) = W x (I, L) + b, of which the first N samples count."""

import numpy as np

from fastdl.reference.elements import elements


def to_batch_minor(x: np.ndarray, y: np.ndarray) -> None:
    """y[i, n] = x[n, i]; what y holds behind the last sample is left open."""
    x, y = elements(x, y)
    for n in range(x.shape[0]):
        for i in range(x.shape[1]):
            y[i, n] = x[n, i]


def from_batch_minor(x: np.ndarray, y: np.ndarray) -> None:
    """y[n, i] = x[i, n]."""
    x, y = elements(x, y)
    for n in range(y.shape[0]):
        for i in range(y.shape[1]):
            y[n, i] = x[i, n]


def batch_minor_forward(x: np.ndarray, W: np.ndarray, b: np.ndarray | None, N: int, y: np.ndarray) -> None:
    """y[o, n] = sum_i W[o, i] x[i, n] + b[o]."""
    x, W, b, y = elements(x, W, b, y)
    for o in range(W.shape[0]):
        for n in range(N):
            total = 0.0 if b is None else b[o]
            for i in range(W.shape[1]):
                total += W[o, i] * x[i, n]
            y[o, n] = total


def batch_minor_backward_input(gy: np.ndarray, W: np.ndarray, N: int, gx: np.ndarray) -> None:
    """gx[i, n] = sum_o W[o, i] gy[o, n]."""
    gy, W, gx = elements(gy, W, gx)
    for i in range(W.shape[1]):
        for n in range(N):
            total = 0.0
            for o in range(W.shape[0]):
                total += W[o, i] * gy[o, n]
            gx[i, n] = total


def batch_minor_backward_weight(
    gy: np.ndarray, x: np.ndarray, N: int, accumulate: bool, gW: np.ndarray | None, gb: np.ndarray | None
) -> None:
    """gW[o, i] = sum_n gy[o, n] x[i, n] [+ gW[o, i]] and gb[o] = sum_n gy[o, n] [+ gb[o]]; either may be None."""
    gy, x, gW, gb = elements(gy, x, gW, gb)
    for o in range(gy.shape[0]):
        if gb is not None:
            gb[o] = sum(gy[o, n] for n in range(N)) + (gb[o] if accumulate else 0.0)
        if gW is not None:
            for i in range(x.shape[0]):
                gW[o, i] = sum(gy[o, n] * x[i, n] for n in range(N)) + (gW[o, i] if accumulate else 0.0)
