"""NumPy's own files: an .npz of inputs and targets, or an .npy of each."""

from __future__ import annotations

import io
import math
import os
import struct
import sys
import warnings
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO

import numpy as np

from fastdl.data.format import Format, as_dataset, as_inputs
from fastdl.data.source import DEFLATE_RATIO, read_up_to
from fastdl.errors import InvalidValueError
from fastdl.input_file import as_path, open_regular, size_of
from fastdl.validation import non_finite_row, one_of

NAMES = (("x", "y"), ("X", "Y"), ("X", "y"), ("images", "labels"), ("data", "target"), ("arr_0", "arr_1"))
PARTS = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}
FORMATS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
LONGEST_HEADER = 1 << 16
MOST_DIMENSIONS = 64  # of a NumPy array
UNSOUND = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    UnicodeDecodeError,
)


def read_npz(path: str | os.PathLike[str], part: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of an .npz file of exactly two arrays, as `np.savez(path, x=x, y=y)` writes it.

    They are called x and y, X and Y (or y), images and labels, data and target, or have no names. A file of four, called
    x_train, y_train, x_test and y_test as Keras has them, is read by parts. Nothing is unpickled, and nothing allocated
    before the headers are held against the size of the file.

    Args:
        path: the file.
        part: "train" (as None) or "test" of a file of four; None for one of two.

    Shapes:
        x (n, ...) and y (n, ...), of numbers, in the machine's byte order.

    Raises:
        TypeError: if path is no path.
        OSError: if the file cannot be read.
        ValueError: if it is no sound .npz, holds other arrays, or they are not numeric, not finite or differ in rows.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "set.npz")
        ...     np.savez(path, x=np.zeros((3, 2)), y=np.array([0, 1, 1]))
        ...     x, y = read_npz(path)
        >>> x.shape, y
        ((3, 2), array([0, 1, 1]))

    Source: numpy.savez.
    """
    path = as_path(path, "read_npz")
    with open_regular(path, "read_npz") as raw:
        size = size_of(raw)
        try:
            archive = zipfile.ZipFile(raw)
        except (*UNSOUND, ValueError, OSError) as error:
            raise _unsound(path, error) from None
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        names = _names_of_part(members, part)
        if names is None or len(archive.infolist()) != len(members):
            got = ", ".join(repr(name[:40]) for name in list(members)[:10]) or "none"
            wanted = "called x and y" if part is None else f"called x_{part} and y_{part}"
            raise InvalidValueError("read_npz", f"two arrays in {path}, {wanted}", got)
        places = [f"{name} of {path}" for name in names]
        try:
            arrays = [_member(archive, members[name], size, place) for name, place in zip(names, places, strict=True)]
        except UNSOUND as error:
            raise _unsound(path, error) from None
    for array, where in zip(arrays, places, strict=True):
        _check_finite(array, where, "read_npz")
    _check_rows(arrays, places, "read_npz")
    return arrays[0], arrays[1]


def has_parts(path: Path) -> bool:
    """Whether a file is an .npz with a part to train and one to test with."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()} == {*PARTS["train"], *PARTS["test"]}
    except (*UNSOUND, ValueError, OSError):
        return False  # its reader says what is wrong with it


def _names_of_part(members: Collection[str], part: str | None) -> tuple[str, str] | None:
    """The names of the inputs and the targets; None where there are other arrays."""
    if part is not None:
        one_of(tuple(PARTS), part, "part", "read_npz")
    if set(members) == {*PARTS["train"], *PARTS["test"]}:
        return PARTS[part or "train"]
    return next((pair for pair in NAMES if set(pair) == set(members)), None) if part is None else None


def read_npy(x: str | os.PathLike[str], y: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of two .npy files, as `np.save(path, x)` writes them.

    Nothing is unpickled, and nothing allocated before the headers are held against the sizes of the files.

    Args:
        x: the file of the inputs.
        y: the file of the targets.

    Shapes:
        x (n, ...) and y (n, ...), of numbers, in the machine's byte order.

    Raises:
        TypeError: if a path is no path.
        OSError: if a file cannot be read.
        ValueError: if one is no sound .npy, or the arrays are not numeric, not finite or differ in rows.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/x.npy", np.zeros((3, 2)))
        ...     np.save(f"{folder}/y.npy", np.array([0, 1, 1]))
        ...     x, y = read_npy(f"{folder}/x.npy", f"{folder}/y.npy")
        >>> x.shape, y
        ((3, 2), array([0, 1, 1]))

    Source: numpy.save.
    """
    x, y = (as_path(path, "read_npy") for path in (x, y))
    arrays = [read_array(path, "read_npy") for path in (x, y)]
    _check_rows(arrays, [str(x), str(y)], "read_npy")
    return arrays[0], arrays[1]


def read_array(path: str | os.PathLike[str], owner: str) -> np.ndarray:
    """The array of an .npy file, read as `read_npy` reads two; `owner` opens the messages."""
    path = as_path(path, owner)
    with open_regular(path, owner) as file:
        array = _array(file, size_of(file), str(path), owner)
    _check_finite(array, str(path), owner)
    return array


def _unsound(path: Path, error: Exception) -> ValueError:
    return InvalidValueError("read_npz", "a sound .npz file", f"{path}: {str(error)[:80]!r}")


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int, where: str) -> np.ndarray:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidValueError("read_npz", f"{where} to be stored or deflated", f"method {info.compress_type}")
    if info.file_size > size * DEFLATE_RATIO or not 0 <= info.header_offset < size:
        raise InvalidValueError(
            "read_npz", f"{where} to lie in the {size} bytes of the file", f"{info.file_size} bytes"
        )
    with archive.open(info) as file:
        return _array(file, info.file_size, where, "read_npz")


def _array(file: IO[bytes], size: int, where: str, owner: str) -> np.ndarray:
    """The array of an .npy file that is `size` bytes long."""
    dtype, shape, fortran, start = _header(file, where, owner)
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        hint = "write .astype(np.int64)" if dtype.kind == "b" else None
        raise InvalidValueError(owner, f"numbers of at most 8 bytes in {where}", str(dtype)[:40], hint)
    if not shape:
        raise InvalidValueError(owner, f"{where} to have rows", "a single value")
    # NumPy counts the other dimensions of an empty array too.
    if math.prod(each for each in shape if each) * dtype.itemsize > sys.maxsize:
        raise InvalidValueError(owner, f"a shape that fits into memory in {where}", str(shape)[:60])
    count = math.prod(shape) * dtype.itemsize
    if start + count != size:
        promise = f"a header of {start} bytes and {count} of {shape} {dtype.name}"
        raise InvalidValueError(owner, f"{promise} in {where}", f"{size} bytes")
    content = read_up_to(file, count + 1)
    if len(content) != count:
        got = f"{len(content)}" if len(content) < count else "more"
        raise InvalidValueError(owner, f"{count} bytes of data in {where}", got)
    array = np.ndarray(shape, dtype, content, order="F" if fortran else "C")
    return np.ascontiguousarray(array, dtype.newbyteorder("="))


def _header(file: IO[bytes], where: str, owner: str) -> tuple[np.dtype, tuple[int, ...], bool, int]:
    """Dtype, shape and order of an .npy file, and the byte at which its data begin."""
    head = file.read(8)
    length = file.read(2 if head[6:7] == b"\x01" else 4)
    head += length + file.read(min(int.from_bytes(length, "little"), LONGEST_HEADER))
    words = io.BytesIO(head)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shape, fortran, dtype = FORMATS[np.lib.format.read_magic(words)](words)
    except Exception:  # NumPy's parser has many words for what is no header
        raise InvalidValueError(owner, f"the header of an .npy file in {where}", repr(head[:20])) from None
    if len(shape) > MOST_DIMENSIONS or any(size < 0 for size in shape):
        raise InvalidValueError(owner, f"at most {MOST_DIMENSIONS} sizes of at least 0 in {where}", str(shape)[:40])
    return dtype, shape, fortran, len(head)


def _check_finite(array: np.ndarray, where: str, owner: str) -> None:
    row = non_finite_row(array) if array.dtype.kind == "f" else None
    if row is not None:
        raise InvalidValueError(owner, f"finite values in {where}", f"NaN or infinite ones (first in row {row})")


def _check_rows(arrays: list[np.ndarray], places: list[str], owner: str) -> None:
    (x, y), (in_x, in_y) = arrays, places
    if len(x) != len(y):
        raise InvalidValueError(owner, "as many rows in x as in y", f"{len(x)} in {in_x} and {len(y)} in {in_y}")


NPZ = Format(
    name=".npz",
    suffix=".npz",
    detect=lambda head: head.startswith((b"PK\x03\x04", b"PK\x05\x06")),
    files=1,
    options=frozenset({"layout", "part"}),
    read=lambda paths, dtype, options, listed: as_dataset(read_npz(paths[0], options["part"]), dtype, options, listed),
    read_inputs=lambda path, dtype, options: as_inputs(read_npz(path, options["part"])[0], dtype, options, path),
)
NPY = Format(
    name=".npy",
    suffix=".npy",
    detect=lambda head: head == b"\x93NUMPY",
    files=2,
    options=frozenset({"layout"}),
    read=lambda paths, dtype, options, listed: as_dataset(read_npy(*paths), dtype, options, listed),
    read_inputs=lambda path, dtype, options: as_inputs(read_array(path, "load_inputs"), dtype, options, path),
)
