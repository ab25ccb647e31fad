"""A data set from files of any kind that fastdl reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastdl.casting import cast, first_rounded
from fastdl.data.cifar import CLASSES, read_cifar10
from fastdl.data.dataset import Dataset
from fastdl.data.idx import DTYPES, labelled, read_idx
from fastdl.data.layout import channels_first
from fastdl.data.npz import read_array, read_npy, read_npz
from fastdl.data.source import opened
from fastdl.data.table import read_columns, read_csv
from fastdl.data.transform import pixels
from fastdl.input_file import as_path
from fastdl.messages import shown
from fastdl.validation import as_float_dtype

# How many files make a set of each kind; None for any number.
FILES = {"CSV": 1, ".npz": 1, "IDX": 2, ".npy": 2, ".bin": None}
MOST_CLASSES = 1 << 16
# The options of a CSV file.
TABLE = frozenset(("target", "columns", "classes", "delimiter", "header", "drop", "decimal", "comment", "encoding"))


def load_data(
    path: str | os.PathLike[str],
    *more: str | os.PathLike[str],
    target: int | str | None = None,
    columns: Sequence[int | str] | None = None,
    classes: bool | Sequence[str] | None = None,
    dtype: npt.DTypeLike = np.float32,
    layout: str | None = None,
    part: str | None = None,
    **table: Any,
) -> Dataset:
    """The data set in one or several files, recognized by their content.

    | files | what they hold |
    | --- | --- |
    | two IDX files, plain or gzipped | images and labels, in either order |
    | one or more `.bin` | CIFAR-10's binary batches |
    | an `.npz` | x and y, or both twice, to train and to test; see `read_npz` |
    | two `.npy` | x, then y |
    | any other | a CSV file, plain or gzipped, see `read_csv` |

    8-bit images (uint8 of three or more dimensions) come from 0 to 1, grey ones with a channel of their own, and images of
    any dtype with the channels first. Integers as targets are classes, from 0; floats are values.

    Args:
        path: a file.
        more: the others that belong to it.
        target, columns, classes: of a CSV file, as for `read_csv`.
        dtype: float32 or float64, of inputs and values.
        layout: of images of four dimensions, "channels_first" or "channels_last"; None for the one that is found.
        part: of an `.npz` of both, "train" (as None) or "test".
        table: `delimiter`, `header`, `drop`, `decimal`, `comment` and `encoding` of a CSV file, as for `read_csv`.

    Shapes:
        x (n, ...), images (n, channels, height, width); y (n, ...), (n, 1) for one value a row.

    Raises:
        TypeError: if an argument is of another kind.
        OSError: if a file cannot be read.
        ValueError: if the files do not belong together or hold no rows, or integers are rounded by the dtype; what their
            reader says.

    Warns:
        UserWarning: of what was guessed: channels last; what `read_csv` warns of.

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
    _check_options(
        kind, layout, part, {"target": target, "columns": columns, "classes": classes, **table}, listed, "load_data"
    )
    if kind == "CSV":
        return read_csv(path, -1 if target is None else target, columns=columns, classes=classes, dtype=dtype, **table)
    if kind == ".bin":
        x, y = read_cifar10(*paths)
        return Dataset(pixels(x, dtype), y, CLASSES)
    if kind == "IDX":
        arrays = {each: read_idx(each) for each in paths}
        images, labels = sorted(paths, key=lambda each: arrays[each].ndim == 1)
        x, y = labelled(arrays[images], arrays[labels], images, labels, "load_data")
    else:
        x, y = read_npz(path, part) if kind == ".npz" else read_npy(*paths)
    if y.size == 0:
        raise ValueError(f"load_data: expected at least one row with a target, got y of shape {y.shape} in {listed}")
    return Dataset(_inputs(x, dtype, layout, listed, "load_data"), *_targets(y, dtype, listed))


def load_inputs(
    path: str | os.PathLike[str],
    *,
    columns: Sequence[int | str] | None = None,
    dtype: npt.DTypeLike = np.float32,
    layout: str | None = None,
    part: str | None = None,
    **table: Any,
) -> np.ndarray:
    """Inputs to predict from, in a file of any kind that `load_data` knows; targets that are there too are left out.

    Args:
        path: a CSV file, plain or gzipped, an IDX file of images, an `.npy`, an `.npz` of x and y or a CIFAR-10 `.bin`.
        columns: of a CSV file, as for `read_columns`.
        dtype: float32 or float64.
        layout, part, table: as for `load_data`.

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
    _check_options(kind, layout, part, {"columns": columns, **table}, f"{path} ({kind})", "load_inputs")
    if kind == "CSV":
        return read_columns(path, columns, dtype=dtype, **table)[0]
    if kind == ".bin":
        x, _ = read_cifar10(path)
    elif kind == ".npz":
        x, _ = read_npz(path, part)
    else:
        x = read_idx(path) if kind == "IDX" else read_array(path, "load_inputs")
    if len(x) == 0:
        raise ValueError(f"load_inputs: expected at least one row in {path}, got shape {x.shape}")
    return _inputs(x, dtype, layout, str(path), "load_inputs")


def file_kind(path: Path, owner: str) -> str:
    """What a file is by its content: CSV, IDX, .npz, .npy or .bin for CIFAR-10's (by its name).

    What its content does not tell is an .npz or .npy by its name, whose reader says what is wrong with it.
    """
    named = path.suffix.lower()
    if named == ".bin":
        return ".bin"
    with opened(path, owner) as (file, _, _):
        head = file.read(6)
    if head[:2] == b"\0\0" and head[2:3] != b"" and head[2] in DTYPES:
        return "IDX"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ".npz"
    if head == b"\x93NUMPY":
        return ".npy"
    return named if named in (".npz", ".npy") else "CSV"


def exact_dtype(paths: Sequence[Path], owner: str) -> np.dtype[Any]:
    """The dtype in which nothing of the files is rounded before it is standardized: float32 for 8-bit images, else float64."""
    return np.dtype(np.float32 if all(file_kind(each, owner) in ("IDX", ".bin") for each in paths) else np.float64)


def _check_options(kind: str, layout: object, part: object, table: dict[str, Any], listed: str, owner: str) -> None:
    """Raise an error for options of another kind of file."""
    unknown = table.keys() - TABLE
    if unknown:
        raise TypeError(f"{owner}: expected options among {', '.join(sorted(TABLE))}, got {shown(min(unknown))}")
    if kind != "CSV" and any(value is not None for value in table.values()):
        given = [name for name, value in table.items() if value is not None]
        own = ["target", "columns", "classes"] if owner == "load_data" else ["columns"]
        names = " and ".join(", ".join(own if set(given) <= set(own) else given).rsplit(", ", 1))
        raise ValueError(f"{owner}: expected {names} for a CSV file only, got {listed}")
    if kind in ("CSV", ".bin") and layout is not None:
        raise ValueError(f"{owner}: expected layout for images in an .npz, .npy or IDX file only, got {listed}")
    if kind != ".npz" and part is not None:
        raise ValueError(f"{owner}: expected part for an .npz file only, got {listed}")


def _inputs(x: np.ndarray, dtype: np.dtype, layout: str | None, where: str, owner: str) -> np.ndarray:
    x = channels_first(x, layout, where, owner)
    if x.dtype == np.uint8 and x.ndim > 2:
        images = pixels(x, dtype)
        return images[:, np.newaxis] if x.ndim == 3 else images
    place = first_rounded(x, dtype)
    if place is not None:
        raise ValueError(
            f"{owner}: expected integers that {dtype.name} holds exactly, got {x.flat[place]} in {where}"
            + "; write dtype=np.float64" * (dtype != np.float64)
        )
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
    array = cast(array, dtype)
    if not np.isfinite(array).all():
        raise ValueError(f"{owner}: expected finite values in {dtype.name}, got NaN or infinite ones in {where}")
    return array
