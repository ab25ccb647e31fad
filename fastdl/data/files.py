"""A data set from files of any kind that fastdl reads."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastdl.data import cifar, idx, npz, table
from fastdl.data.dataset import Dataset
from fastdl.data.format import Format
from fastdl.data.source import opened
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.input_file import as_path
from fastdl.messages import shown
from fastdl.validation import as_float_dtype

TABLE = table.FORMAT
# Every kind, those that are detected first; what none of them detects is a table.
FORMATS = (idx.FORMAT, npz.NPZ, npz.NPY, cifar.FORMAT, TABLE)


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
    formats = [format_of(each, "load_data") for each in paths]
    listed = ", ".join(f"{each} ({kind.name})" for each, kind in zip(paths, formats, strict=True))
    kind = formats[0]
    if set(formats) != {kind} or kind.files not in (None, len(paths)):
        raise InvalidValueError("load_data", "one CSV or .npz, two IDX or .npy, or CIFAR-10 .bin files", listed)
    options = {"target": target, "columns": columns, "classes": classes, **table, "layout": layout, "part": part}
    _check_options(kind, options, listed, "load_data")
    return kind.read(paths, dtype, options, listed)


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
    kind = format_of(path, "load_inputs")
    options = {"columns": columns, **table, "layout": layout, "part": part}
    _check_options(kind, options, f"{path} ({kind.name})", "load_inputs")
    return kind.read_inputs(path, dtype, options)


def format_of(path: Path, owner: str) -> Format:
    """The format of a file: by its content, by its name where the content is of no format, else CSV."""
    suffix = path.suffix.lower()
    named = next((each for each in FORMATS if each.suffix == suffix), None)
    if named is not None and named.detect is None:
        return named
    with opened(path, owner) as (file, _, _):
        head = file.read(6)
    detected = (each for each in FORMATS if each.detect is not None and each.detect(head))
    return next(detected, named or TABLE)


def exact_dtype(paths: Sequence[Path], owner: str) -> np.dtype[Any]:
    """The dtype in which nothing of the files is rounded before it is standardized: float32 for 8-bit images, else float64."""
    return np.result_type(*(format_of(each, owner).exact for each in paths))


def _check_options(kind: Format, options: Mapping[str, Any], listed: str, owner: str) -> None:
    """Raise an error for options of another kind of file."""
    unknown = options.keys() - TABLE.options - {"layout", "part"}
    if unknown:
        raise InvalidTypeError(owner, f"options among {', '.join(sorted(TABLE.options))}", shown(min(unknown)))
    foreign = [name for name, value in options.items() if value is not None and name not in kind.options]
    of_tables = [name for name in foreign if name in TABLE.options]
    if of_tables:
        own = ["target", "columns", "classes"] if owner == "load_data" else ["columns"]
        names = " and ".join(", ".join(own if set(of_tables) <= set(own) else of_tables).rsplit(", ", 1))
        raise InvalidValueError(owner, f"{names} for a CSV file only", listed)
    if "layout" in foreign:
        raise InvalidValueError(owner, "layout for images in an .npz, .npy or IDX file only", listed)
    if "part" in foreign:
        raise InvalidValueError(owner, "part for an .npz file only", listed)
