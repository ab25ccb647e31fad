"""The linear layer: y = x W^T + b, with x (..., in), W (out, in), b (out,) or None and y (..., out)."""

from collections.abc import Iterator
from math import prod

import numpy as np

from fastdl.reference.elements import elements


def rows(*arrays: np.ndarray) -> Iterator[np.ndarray]:
    """Each array as a matrix: its leading dimensions made one."""
    for array in arrays:
        yield array.reshape(prod(array.shape[:-1]), array.shape[-1])


def linear_forward(x: np.ndarray, W: np.ndarray, b: np.ndarray | None, y: np.ndarray) -> None:
    """y[n, o] = sum_i x[n, i] W[o, i] + b[o]."""
    x, y = rows(x, y)
    x, W, b, y = elements(x, W, b, y)
    N, (OUT, IN) = len(x), W.shape
    for n in range(N):
        for o in range(OUT):
            total = 0.0 if b is None else b[o]
            for i in range(IN):
                total += x[n, i] * W[o, i]
            y[n, o] = total


def _input_gradient(gy: np.ndarray, W: np.ndarray, gx: np.ndarray) -> None:
    """gx[n, i] = sum_o gy[n, o] W[o, i]."""
    gy, gx = rows(gy, gx)
    gy, W, gx = elements(gy, W, gx)
    N, (OUT, IN) = len(gy), W.shape
    for n in range(N):
        for i in range(IN):
            total = 0.0
            for o in range(OUT):
                total += gy[n, o] * W[o, i]
            gx[n, i] = total


def _weight_gradients(
    gy: np.ndarray, x: np.ndarray, accumulate: bool, gW: np.ndarray | None, gb: np.ndarray | None
) -> None:
    """gW[o, i] = sum_n gy[n, o] x[n, i] and gb[o] = sum_n gy[n, o], added to what is there with `accumulate`."""
    gy, x = rows(gy, x)
    gy, x, gW, gb = elements(gy, x, gW, gb)
    N, OUT, IN = len(gy), gy.shape[1], x.shape[1]
    for o in range(OUT):
        if gW is not None:
            for i in range(IN):
                total = gW[o, i] if accumulate else 0.0
                for n in range(N):
                    total += gy[n, o] * x[n, i]
                gW[o, i] = total
        if gb is not None:
            total = gb[o] if accumulate else 0.0
            for n in range(N):
                total += gy[n, o]
            gb[o] = total


def linear_backward(
    gy: np.ndarray,
    x: np.ndarray,
    W: np.ndarray,
    accumulate: bool,
    gx: np.ndarray | None,
    gW: np.ndarray | None,
    gb: np.ndarray | None,
) -> None:
    """The gradients with respect to x, W and b, each of which may be None."""
    if gx is not None:
        _input_gradient(gy, W, gx)
    _weight_gradients(gy, x, accumulate, gW, gb)
