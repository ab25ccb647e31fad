"""A data set from files of any kind that fastdl reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastdl.arguments import as_float_dtype
from fastdl.data.cifar import CLASSES, read_cifar10
from fastdl.data.dataset import Dataset
from fastdl.data.idx import DTYPES, labelled, read_idx
from fastdl.data.npz import read_array, read_npy, read_npz
from fastdl.data.source import opened
from fastdl.data.table import read_columns, read_csv
from fastdl.data.transform import pixels
from fastdl.input_file import as_path

# How many files make a set of each kind; None for any number.
FILES = {"CSV": 1, ".npz": 1, "IDX": 2, ".npy": 2, ".bin": None}
MOST_CLASSES = 1 << 16


def load_data(
    path: str | os.PathLike[str],
    *more: str | os.PathLike[str],
    target: int | str | None = None,
    columns: Sequence[int | str] | None = None,
    classes: bool | Sequence[str] | None = None,
    dtype: npt.DTypeLike = np.float32,
) -> Dataset:
    """The data set in one or several files, told apart by their content.

    | files | what they hold |
    | --- | --- |
    | two IDX files, plain or gzipped | images and labels, in either order |
    | one or more `.bin` | CIFAR-10's binary batches |
    | an `.npz` | x and y, see `read_npz` |
    | two `.npy` | x, then y |
    | any other | a CSV file, see `read_csv` |

    8-bit images (uint8 of three or more dimensions) come from 0 to 1, grey ones with a channel of their own. Integers
    as targets are classes, from 0; floats are values.

    Args:
        path: a file.
        more: the others that belong to it.
        target, columns, classes: of a CSV file, as for `read_csv`.
        dtype: float32 or float64, of inputs and values.

    Shapes:
        x (n, ...), images (n, channels, height, width); y (n, ...), (n, 1) for one value a row.

    Raises:
        TypeError: if an argument is of another kind.
        OSError: if a file cannot be read.
        ValueError: if the files do not belong together or hold no rows; what their reader says.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/set.npz", x=np.zeros((3, 8, 8), np.uint8), y=np.array([0, 2, 1]))
        ...     digits = load_data(f"{folder}/set.npz")
        >>> digits.x.shape, digits.x.dtype, digits.classes
        ((3, 1, 8, 8), dtype('float32'), ('0', '1', '2'))
    """
    dtype = as_float_dtype(dtype, "load_data")
    paths = [as_path(each, "load_data") for each in (path, *more)]
    kinds = [file_kind(each, "load_data") for each in paths]
    listed = ", ".join(f"{each} ({kind})" for each, kind in zip(paths, kinds, strict=True))
    kind = kinds[0]
    if set(kinds) != {kind} or FILES.get(kind, 0) not in (None, len(paths)):
        raise ValueError(f"load_data: expected one CSV or .npz, two IDX or .npy, or CIFAR-10 .bin files, got {listed}")
    if kind == "CSV":
        return read_csv(path, -1 if target is None else target, columns=columns, classes=classes, dtype=dtype)
    if not (target is columns is classes is None):
        raise ValueError(f"load_data: expected target, columns and classes for a CSV file only, got {listed}")
    if kind == ".bin":
        x, y = read_cifar10(*paths)
        return Dataset(pixels(x, dtype), y, CLASSES)
    if kind == "IDX":
        arrays = {each: read_idx(each) for each in paths}
        images, labels = sorted(paths, key=lambda each: arrays[each].ndim == 1)
        x, y = labelled(arrays[images], arrays[labels], images, labels, "load_data")
    else:
        x, y = read_npz(path) if kind == ".npz" else read_npy(*paths)
    if y.size == 0:
        raise ValueError(f"load_data: expected at least one row with a target, got y of shape {y.shape} in {listed}")
    return Dataset(_inputs(x, dtype, listed, "load_data"), *_targets(y, dtype, listed))


def load_inputs(
    path: str | os.PathLike[str], *, columns: Sequence[int | str] | None = None, dtype: npt.DTypeLike = np.float32
) -> np.ndarray:
    """Inputs to predict from, in a file of any kind that `load_data` knows; targets that are there too are left out.

    Args:
        path: a CSV file, an IDX file of images, an `.npy`, an `.npz` of x and y or a CIFAR-10 `.bin`.
        columns: of a CSV file, as for `read_columns`.
        dtype: float32 or float64.

    Shapes:
        (n, ...), images (n, channels, height, width).

    Raises:
        TypeError: if an argument is of another kind.
        OSError: if the file cannot be read.
        ValueError: if the file holds no rows; what its reader says.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/images.npy", np.full((3, 8, 8), 255, np.uint8))
        ...     x = load_inputs(f"{folder}/images.npy")
        >>> x.shape, x.max()
        ((3, 1, 8, 8), np.float32(1.0))
    """
    dtype = as_float_dtype(dtype, "load_inputs")
    path = as_path(path, "load_inputs")
    kind = file_kind(path, "load_inputs")
    if kind == "CSV":
        return read_columns(path, columns, dtype=dtype)[0]
    if columns is not None:
        raise ValueError(f"load_inputs: expected columns for a CSV file only, got {path} ({kind})")
    if kind == "gzip":
        raise ValueError(f"load_inputs: expected a CSV file as it is, or a gzipped IDX file, got {path} ({kind})")
    if kind == ".bin":
        x, _ = read_cifar10(path)
    elif kind == ".npz":
        x, _ = read_npz(path)
    else:
        x = read_idx(path) if kind == "IDX" else read_array(path, "load_inputs")
    if len(x) == 0:
        raise ValueError(f"load_inputs: expected at least one row in {path}, got shape {x.shape}")
    return _inputs(x, dtype, str(path), "load_inputs")


def file_kind(path: Path, owner: str) -> str:
    """What a file is by its content: CSV, IDX, .npz, .npy, .bin for CIFAR-10's (by its name) or gzip of anything else.

    What its content does not tell is an .npz or .npy by its name, whose reader says what is wrong with it.
    """
    named = path.suffix.lower()
    if named == ".bin":
        return ".bin"
    with opened(path, owner) as (file, zipped, _):
        head = file.read(6)
    if head[:2] == b"\0\0" and head[2:3] != b"" and head[2] in DTYPES:
        return "IDX"
    if zipped:
        return "gzip"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ".npz"
    if head == b"\x93NUMPY":
        return ".npy"
    return named if named in (".npz", ".npy") else "CSV"


def _inputs(x: np.ndarray, dtype: np.dtype, where: str, owner: str) -> np.ndarray:
    if x.dtype == np.uint8 and x.ndim > 2:
        images = pixels(x, dtype)
        return images[:, np.newaxis] if x.ndim == 3 else images
    return _finite(x.reshape(-1, 1) if x.ndim == 1 else x, dtype, where, owner)


def _targets(y: np.ndarray, dtype: np.dtype, where: str) -> tuple[np.ndarray, tuple[str, ...] | None]:
    if y.dtype.kind == "f":
        return _finite(y.reshape(-1, 1) if y.ndim == 1 else y, dtype, where, "load_data"), None
    low, high = y.min(), y.max()
    if low < 0 or high >= MOST_CLASSES:
        wanted = f"classes from 0 to at most {MOST_CLASSES - 1}"
        raise ValueError(
            f"load_data: expected {wanted}, got {low if low < 0 else high} in {where}; write values as floats"
        )
    return y.astype(np.int64), tuple(str(i) for i in range(int(high) + 1))


def _finite(array: np.ndarray, dtype: np.dtype, where: str, owner: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        array = array.astype(dtype)
    if not np.isfinite(array).all():
        raise ValueError(f"{owner}: expected finite values in {dtype.name}, got NaN or infinite ones in {where}")
    return array
