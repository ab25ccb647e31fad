"""Nodes of traced graphs that sum along an axis."""

import numpy as np


def cumsum(x: np.ndarray, out: np.ndarray) -> None:
    """out_i = x_0 + ... + x_i along the last axis."""
    for place in np.ndindex(x.shape[:-1]):
        total = x.dtype.type(0)
        for i in range(x.shape[-1]):
            total += x[*place, i]
            out[*place, i] = total
