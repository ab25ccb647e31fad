"""Mapped: arrays that lie in files, read and converted a few rows at a time, so that they may be larger than memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl.casting import cast, quiet

Array = NDArray[Any]
# The bytes that are looked through at a time.
BLOCK = 2**20


class Mapped:
    """The rows of an array as arrays of a dtype: each reading converts the rows that it is asked for.

    Args:
        array: with rows, of numbers.
        dtype: what the rows are converted to.

    Example:
        >>> pixels = Mapped(np.arange(12, dtype=np.uint8).reshape(4, 3), np.dtype(np.float32))
        >>> len(pixels), pixels[[2, 0]]
        (4, array([[6., 7., 8.],
               [0., 1., 2.]], dtype=float32))
    """

    def __init__(self, array: Array, dtype: np.dtype[Any]) -> None:
        self._array = array
        self.dtype, self.shape, self.ndim, self.size = np.dtype(dtype), array.shape, array.ndim, array.size
        # Integers of up to 64 bits are finite in every dtype that they are converted to.
        self.finite = array.dtype.kind in "iub"

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Sequence[int] | NDArray[np.int64]) -> Array:
        """An array of its own with these rows; numbered ones are read in the order in which they lie in the file."""
        if isinstance(rows, slice):
            return cast(self._array[rows], self.dtype, order="C")
        numbers = np.asarray(rows, np.int64)
        places = numbers.argsort()
        found = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        with quiet():
            found[places] = self._array[numbers[places]]
        return found


def lies_in_file(array: Array) -> bool:
    """Whether an array is memory that a file is mapped to, or a view of it.

    Example:
        >>> lies_in_file(np.zeros(3))
        False
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    mapped = getattr(sys.modules.get("mmap"), "mmap", ())  # one can only come where its module is imported
    return isinstance(base.obj if isinstance(base, memoryview) else base, mapped)


def blocks(array: Array | Mapped) -> Iterator[tuple[int, Array]]:
    """The rows of an array, some at a time: the number of the first, and the rows.

    Example:
        >>> [(first, len(rows)) for first, rows in blocks(np.zeros((3, 2**17)))]
        [(0, 1), (1, 1), (2, 1)]
    """
    row = max(1, array.size // max(1, len(array)) * array.dtype.itemsize)
    rows = max(1, BLOCK // row)
    for first in range(0, len(array), rows):
        yield first, array[first : first + rows]
