"""Nodes of traced graphs that multiply matrices."""

import numpy as np


def matmul(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    """c (*batch, m, n) = a (*batch, m, k) b (*batch, k, n)"""
    for place in np.ndindex(c.shape):
        *batch, m, n = place
        c[place] = sum(a.data[*batch, m, k] * b.data[*batch, k, n] for k in range(a.shape[-1]))
