"""Input validation: arrays as people have them, converted and checked for a model, once."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdl.casting import cast, first_rounded
from fastdl.data.memmap import Mapped, blocks, lies_in_file
from fastdl.data.nested import NO_TARGETS, Nested, is_nested, leaves, mapped
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.validation import as_array, non_finite_row

Array = NDArray[Any]
Rows: TypeAlias = Array | Mapped
# What models take and yield that have several inputs or outputs.
AnyRows: TypeAlias = Rows | Nested
LARGEST = np.iinfo(np.int64).max


def inputs(x: ArrayLike, dtype: np.dtype[Any], owner: str, indices: bool = False) -> Rows:
    """x as a C-contiguous array of dtype with rows, all of it finite; `owner` opens the messages.

    An array that lies in a file stays there: what has to be converted is converted when it is read. Where x may hold `indices`,
    integers become int64, and truth values stay what they are.

    Raises:
        TypeError: if x is not numeric, masked or sparse.
        ValueError: if x has no rows, a value that is not finite in dtype, or an integer that dtype would round.

    Example:
        >>> inputs([[1, 2], [3, 4]], np.dtype(np.float32), "Trainer.fit").dtype
        dtype('float32')
        >>> inputs([[1.0], [float("nan")]], np.dtype(np.float32), "Trainer.fit")
        Traceback (most recent call last):
        fastdl.errors.InvalidValueError: Trainer.fit: expected finite values in x, got NaN or infinite ones (first in row 1)
    """
    array = _rows(x, "x", owner)
    if indices and array.dtype.kind in "iub":
        return _whole(array, "x", owner)
    return _finite(_converted(_exact(array, dtype, "x", owner), dtype), "x", owner)


def targets(y: ArrayLike, dtype: np.dtype[Any], owner: str) -> Rows:
    """y as a C-contiguous array with rows: integers, which are class indices, as int64, floats in dtype and finite.

    An array that lies in a file stays there, as with `inputs`.

    Raises:
        TypeError: if y is not numeric, masked, sparse, or bool, which may be either.
        ValueError: if y has no rows, a value that is not finite in dtype, or an integer that int64 cannot hold.

    Example:
        >>> targets(np.array([1, 0], dtype=np.uint8), np.dtype(np.float32), "Trainer.fit").dtype
        dtype('int64')
    """
    array = _rows(y, "y", owner)
    if array.dtype.kind == "b":
        raise InvalidTypeError(
            owner, "numbers", "bool", "write y.astype(np.int64) for classes, np.float32 for values", argument="y"
        )
    if array.dtype.kind in "iu":
        return _whole(array, "y", owner)
    return _finite(_converted(array, dtype), "y", owner)


def pair(x: Any, y: Any, dtype: np.dtype[Any], owner: str, indices: bool = False) -> tuple[Any, Any]:
    """Inputs, which may be `indices`, and targets of the same number of samples, at least one; those in files stay there.

    Raises:
        TypeError, ValueError: those of `inputs` and `targets`.
        ValueError: if there are no samples, or not as many in y as in x.
    """
    samples: Any = several(x, dtype, owner, "x") if is_nested(x) else inputs(x, dtype, owner, indices)
    truth: Any = y
    if y is not NO_TARGETS:
        truth = several(y, dtype, owner, "y") if is_nested(y) else targets(y, dtype, owner)
    if truth is not NO_TARGETS and len(samples) != len(truth):
        raise InvalidValueError(owner, "as many rows in x as in y", f"{len(samples)} and {len(truth)}")
    if len(samples) == 0:
        raise InvalidValueError(owner, "at least one sample", "none")
    return samples, truth


def several(value: Any, dtype: np.dtype[Any], owner: str, name: str) -> Nested:
    """A tuple or dictionary of arrays of as many rows each: floats in dtype, integers as int64, truth values as they are.

    Raises:
        TypeError: if one is not numeric, masked or sparse.
        ValueError: if one has no rows, a value that is not finite in dtype, or others a different number of rows.
    """
    places = {id(array): place for place, array in leaves(value)}

    def ready(array: Any) -> Rows:
        place = f"{name}[{places[id(array)]!r}]"
        rows = _rows(array, place, owner)
        if rows.dtype.kind in "iub":
            return _whole(rows, place, owner)
        return _finite(_converted(rows, dtype), place, owner)

    found = Nested(mapped(value, ready))
    found.refuse_unequal(owner)
    return found


def in_memory(rows: Any) -> Any:
    """All of the rows as an array, read from their file where they lie in one; of several, of each."""
    if isinstance(rows, Nested):
        return Nested(rows.map(in_memory))
    return rows[:] if isinstance(rows, Mapped) else rows


def _rows(value: ArrayLike, name: str, owner: str) -> Array:
    array = as_array(value, name, owner).view()  # whoever sets the shape of theirs does not change this one
    if array.dtype.kind not in "fiub":
        raise InvalidTypeError(owner, "an array of numbers", f"dtype {array.dtype}", argument=name)
    if array.ndim == 0:
        raise InvalidValueError(owner, f"{name} to have rows", "a single value")
    return array


def _converted(array: Array, dtype: np.dtype[Any]) -> Rows:
    if lies_in_file(array):
        flags = array.flags
        ready = array.dtype == dtype and array.dtype.isnative and flags.c_contiguous and flags.aligned
        return array if ready else Mapped(array, dtype)
    return np.ascontiguousarray(cast(array, dtype, copy=False))


def _exact(array: Array, dtype: np.dtype[Any], name: str, owner: str) -> Array:
    """The array, unless it holds integers that a float dtype would round."""
    if array.dtype.kind not in "iu" or array.dtype.itemsize < 4:
        return array
    for first, block in blocks(array):
        place = first_rounded(block, dtype)
        if place is not None:
            row = first + place * len(block) // block.size
            raise InvalidValueError(
                owner,
                f"integers that {dtype} holds exactly in {name}",
                f"{block.flat[place]} (first in row {row})",
                f"write {name} in float64, standardized by fastdl.data.Standardize",
            )
    return array


def _whole(array: Array, name: str, owner: str) -> Rows:
    """Integers as int64; what it cannot hold must not come round as a negative index. Truth values as they are."""
    if array.dtype.kind == "b":
        return _converted(array, np.dtype(np.bool_))
    if array.dtype == np.uint64:
        for first, block in blocks(array):
            if block.size and block.max() > LARGEST:
                place = int(np.argmax(block > LARGEST))
                raise InvalidValueError(
                    owner,
                    f"{'class indices' if name == 'y' else 'integers'} below 2**63 in {name}",
                    f"{block.flat[place]} (first in row {first + place * len(block) // block.size})",
                )
    return _converted(array, np.dtype(np.int64))


def _finite(array: Rows, name: str, owner: str) -> Rows:
    if isinstance(array, Mapped) and array.finite:
        return array
    for first, block in blocks(array):
        row = non_finite_row(block)
        if row is not None:
            raise InvalidValueError(
                owner, f"finite values in {name}", f"NaN or infinite ones (first in row {first + row})"
            )
    return array
