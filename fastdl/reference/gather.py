"""Nodes of traced graphs that read, or add to, the elements that an index names."""

import numpy as np

DONE, OUT_OF_RANGE = 0, 1


def gather(x: np.ndarray, index: np.ndarray, out: np.ndarray) -> int:
    """out[p] = x[p, index[p]] for each place p; an index below 0 counts from the end."""
    for place in np.ndindex(out.shape):
        i = index.data[place]
        if not -x.shape[-1] <= i < x.shape[-1]:
            return OUT_OF_RANGE
        out[place] = x.data[*place, i % x.shape[-1]]
    return DONE


def scatter_add(x: np.ndarray, index: np.ndarray, out: np.ndarray) -> int:
    """out[p, index[p]] += x[p] for each place p; elements of out may be the same for several places."""
    for place in np.ndindex(x.shape):
        i = index.data[place]
        if not -out.shape[-1] <= i < out.shape[-1]:
            return OUT_OF_RANGE
        out[*place, i] += x[place]
    return DONE
