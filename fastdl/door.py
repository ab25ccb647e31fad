"""The door: arrays as people have them, made ready for a model, once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdl.nn.module import Module

Array = NDArray[Any]


def weights_dtype(model: Module) -> np.dtype[Any]:
    """The dtype that a model computes in: that of its first parameter, float32 where it has none."""
    return next((parameter.dtype for parameter in model.parameters()), np.dtype(np.float32))


def inputs(x: ArrayLike, dtype: np.dtype[Any], owner: str) -> Array:
    """x as a C-contiguous array of dtype with rows, all of it finite; `owner` opens the messages.

    Raises:
        TypeError: if x is not numeric.
        ValueError: if x has no rows, or a value that is not finite in dtype.

    Example:
        >>> inputs([[1, 2], [3, 4]], np.dtype(np.float32), "Trainer.fit").dtype
        dtype('float32')
        >>> inputs([[1.0], [float("nan")]], np.dtype(np.float32), "Trainer.fit")
        Traceback (most recent call last):
        ValueError: Trainer.fit: expected finite values in x, got NaN or infinite ones (first in row 1)
    """
    return _finite(_rows(x, "x", owner), dtype, "x", owner)


def targets(y: ArrayLike, dtype: np.dtype[Any], owner: str) -> Array:
    """y as a C-contiguous array with rows: integers, which are class indices, as int64, floats in dtype and finite.

    Raises:
        TypeError: if y is not numeric, or bool, which may be either.
        ValueError: if y has no rows, or a value that is not finite in dtype.

    Example:
        >>> targets(np.array([1, 0], dtype=np.uint8), np.dtype(np.float32), "Trainer.fit").dtype
        dtype('int64')
    """
    array = _rows(y, "y", owner)
    if array.dtype.kind == "b":
        raise TypeError(
            f"{owner}: expected numbers for y, got bool; write y.astype(np.int64) for classes, np.float32 for values"
        )
    if array.dtype.kind in "iu":
        return np.ascontiguousarray(array, np.int64)
    return _finite(array, dtype, "y", owner)


def pair(x: ArrayLike, y: ArrayLike, dtype: np.dtype[Any], owner: str) -> tuple[Array, Array]:
    """Inputs and targets of the same number of samples, at least one.

    Raises:
        TypeError, ValueError: those of `inputs` and `targets`.
        ValueError: if there are no samples, or not as many in y as in x.
    """
    x, y = inputs(x, dtype, owner), targets(y, dtype, owner)
    if len(x) != len(y):
        raise ValueError(f"{owner}: expected as many rows in x as in y, got {len(x)} and {len(y)}")
    if len(x) == 0:
        raise ValueError(f"{owner}: expected at least one sample, got none")
    return x, y


def _rows(value: ArrayLike, name: str, owner: str) -> Array:
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{owner}: expected {name} to have rows of one length, got ragged ones") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{owner}: expected an array of numbers for {name}, got dtype {array.dtype}")
    if array.ndim == 0:
        raise ValueError(f"{owner}: expected {name} to have rows, got a single value")
    return array


def _finite(array: Array, dtype: np.dtype[Any], name: str, owner: str) -> Array:
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, dtype)
    finite = np.isfinite(array)
    if not finite.all():
        row = int(np.argmin(finite.reshape(len(array), -1).all(axis=1)))
        raise ValueError(f"{owner}: expected finite values in {name}, got NaN or infinite ones (first in row {row})")
    return array
