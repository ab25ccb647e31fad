"""Views of arrays whose elements are Python floats: read in double precision, rounded to the array's dtype when stored.

Storing what float32 cannot hold gives infinity, without a warning. `None`, an absent optional array, stays `None`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np


def elements(*arrays: np.ndarray | None) -> Iterator[Any]:
    """Each array as a view of its own shape, indexed like the array."""
    for array in arrays:
        yield None if array is None else array.data


def flat(*arrays: np.ndarray | None) -> Iterator[Any]:
    """Each C-contiguous array as a view of one dimension."""
    for array in arrays:
        yield None if array is None else array.reshape(array.size).data
