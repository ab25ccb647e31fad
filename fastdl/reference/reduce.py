"""Nodes of traced graphs that reduce axes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastdl.reference.elementwise import larger, smaller, wrapped

COMBINED: dict[str, Callable[[Any, Any], Any]] = {
    "sum": lambda a, b: a + b,
    "prod": lambda a, b: a * b,
    "max": larger,
    "min": smaller,
    "any": lambda a, b: a or b,
    "all": lambda a, b: a and b,
}
NOTHING = {"sum": 0, "prod": 1, "any": False, "all": True, "max": -math.inf, "min": math.inf}


def reduce(operation: str, x: np.ndarray, out: np.ndarray) -> None:
    """Each element of out is what the last axes of x, those that out does not have, come to.

    argmax and argmin are of one axis: the place of its first largest or smallest element, which a NaN is.
    """
    for kept in np.ndindex(out.shape):
        values = [x.data[*kept, *place] for place in np.ndindex(x.shape[out.ndim :])]
        if operation in ("argmax", "argmin"):
            best = 0
            for i, value in enumerate(values):
                better = value > values[best] if operation == "argmax" else value < values[best]
                if better or (value != value and values[best] == values[best]):
                    best = i
            out[kept] = best
            continue
        found = NOTHING[operation]
        for i, value in enumerate(values):
            found = value if i == 0 else COMBINED[operation](found, value)
        out[kept] = wrapped(found) if out.dtype.kind == "i" else found
