"""Format: a kind of file that data sets are read from, and what its arrays become."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastdl.casting import cast, first_rounded
from fastdl.data.dataset import Dataset
from fastdl.data.layout import channels_first
from fastdl.data.transform import pixels
from fastdl.errors import InvalidValueError

FLOATS_HINT = "write values as floats"
MOST_CLASSES = 1 << 16


class Format(NamedTuple):
    """A kind of file. A reader's module declares one, and FORMATS of files.py lists it.

    Args:
        name: as messages have it.
        suffix: of the names of such files, in lower case; None where they have any.
        detect: whether a file is of this kind by its first bytes; None where the suffix alone says so.
        files: how many make a data set; None for any number.
        options: the names of those that it knows, of `target`, `layout`, `part` and their like.
        read: gives a data set from (paths, dtype, options, the files in words).
        read_inputs: gives the inputs of one file from (path, dtype, options).
        exact: the dtype that holds its numbers exactly before they are standardized.
    """

    name: str
    suffix: str | None
    detect: Callable[[bytes], bool] | None
    files: int | None
    options: frozenset[str]
    read: Callable[[Sequence[Path], np.dtype[Any], Mapping[str, Any], str], Dataset]
    read_inputs: Callable[[Path, np.dtype[Any], Mapping[str, Any]], np.ndarray]
    exact: type[np.floating[Any]] = np.float64


def as_dataset(
    arrays: tuple[np.ndarray, np.ndarray], dtype: np.dtype[Any], options: Mapping[str, Any], listed: str
) -> Dataset:
    """The data set of x and y: images of 8 bits from 0 to 1 with the channels first, integers as targets classes."""
    x, y = arrays
    if y.size == 0:
        raise InvalidValueError("load_data", "at least one row with a target", f"y of shape {y.shape} in {listed}")
    return Dataset(_inputs(x, dtype, options["layout"], listed, "load_data"), *_targets(y, dtype, listed))


def as_inputs(x: np.ndarray, dtype: np.dtype[Any], options: Mapping[str, Any], path: Path) -> np.ndarray:
    """The inputs of an array, as in `as_dataset`."""
    if len(x) == 0:
        raise InvalidValueError("load_inputs", f"at least one row in {path}", f"shape {x.shape}")
    return _inputs(x, dtype, options["layout"], str(path), "load_inputs")


def _inputs(x: np.ndarray, dtype: np.dtype, layout: str | None, where: str, owner: str) -> np.ndarray:
    x = channels_first(x, layout, where, owner)
    if x.dtype == np.uint8 and x.ndim > 2:
        images = pixels(x, dtype)
        return images[:, np.newaxis] if x.ndim == 3 else images
    place = first_rounded(x, dtype)
    if place is not None:
        hint = "write dtype=np.float64" if dtype != np.float64 else None
        raise InvalidValueError(owner, f"integers that {dtype.name} holds exactly", f"{x.flat[place]} in {where}", hint)
    return _finite(x.reshape(-1, 1) if x.ndim == 1 else x, dtype, where, owner)


def _targets(y: np.ndarray, dtype: np.dtype, where: str) -> tuple[np.ndarray, tuple[str, ...] | None]:
    if y.dtype.kind == "f":
        return _finite(y.reshape(-1, 1) if y.ndim == 1 else y, dtype, where, "load_data"), None
    low, high = y.min(), y.max()
    if low < 0 or high >= MOST_CLASSES:
        wanted = f"classes from 0 to at most {MOST_CLASSES - 1}"
        raise InvalidValueError("load_data", wanted, f"{low if low < 0 else high} in {where}", FLOATS_HINT)
    return y.astype(np.int64), tuple(str(i) for i in range(int(high) + 1))


def _finite(array: np.ndarray, dtype: np.dtype, where: str, owner: str) -> np.ndarray:
    array = cast(array, dtype)
    if not np.isfinite(array).all():
        raise InvalidValueError(owner, f"finite values in {dtype.name}", f"NaN or infinite ones in {where}")
    return array
