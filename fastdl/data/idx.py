"""IDX files, the form in which MNIST and its kin come."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from fastdl.data.dataset import Dataset
from fastdl.data.format import Format, as_dataset, as_inputs
from fastdl.data.source import DEFLATE_RATIO, data_folder, opened, read_up_to
from fastdl.data.transform import pixels
from fastdl.errors import InvalidValueError
from fastdl.input_file import as_path
from fastdl.validation import as_float_dtype, one_of

NAMES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
DTYPES = {code: np.dtype(name) for code, name in NAMES.items()}
MOST_DIMENSIONS = 64  # of a NumPy array
PLACES = ("", "mnist", "MNIST/raw")
PARTS = {"train": "train", "test": "t10k"}


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array of an IDX file, plain or gzipped, whatever its name.

    The header is held against the size of the file before anything is allocated, and no more than it promises is
    unpacked.

    Args:
        path: the file.

    Shapes:
        as the header says; uint8, int8, int16, int32, float32 or float64 in the machine's byte order.

    Raises:
        TypeError: if path is no path.
        OSError: if the file cannot be read.
        ValueError: if it is no IDX file, or not exactly as long as its header says.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "labels-idx1-ubyte")
        ...     _ = path.write_bytes(b"\\x00\\x00\\x08\\x01" + b"\\x00\\x00\\x00\\x03" + bytes([7, 2, 1]))
        ...     read_idx(path)
        array([7, 2, 1], dtype=uint8)

    Source: http://yann.lecun.com/exdb/mnist.
    """
    path = as_path(path, "read_idx")
    with opened(path, "read_idx") as (file, zipped, size):
        dtype, shape = _header(file, path)
        start = 4 + 4 * len(shape)
        # NumPy counts the other dimensions of an empty array too.
        if math.prod(each for each in shape if each) * dtype.itemsize > sys.maxsize:
            wanted = f"dimensions that fit into memory in bytes 4 to {start - 1} of {path}"
            raise InvalidValueError("read_idx", wanted, str(shape)[:60])
        count = math.prod(shape) * dtype.itemsize
        promise = f"a header of {start} bytes and {count} of {shape} {dtype.name}"
        most = size * DEFLATE_RATIO if zipped else size
        if start + count > most or (not zipped and start + count < size):
            room = f"{size} bytes of gzip, which hold at most {most}" if zipped else f"{size} bytes"
            raise InvalidValueError("read_idx", f"{promise} in {path}", room)
        content = read_up_to(file, count + 1)
    if len(content) != count:
        got = f"{start + len(content)} bytes" if len(content) < count else "more"
        raise InvalidValueError("read_idx", f"{promise} in {path}", got)
    return np.ndarray(shape, dtype, content).astype(dtype.newbyteorder("="), copy=False)


def _header(file: IO[bytes], path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    magic = file.read(4)
    if len(magic) < 4:
        raise InvalidValueError("read_idx", "an IDX file of at least 8 bytes", f"{len(magic) or 'none'} in {path}")
    zero, code, dimensions = int.from_bytes(magic[:2], "big"), magic[2], magic[3]
    if zero:
        raise InvalidValueError("read_idx", "zeros in bytes 0 and 1 of an IDX file", f"0x{zero:04x} in {path}")
    if code not in DTYPES:
        codes = ", ".join(f"0x{known:02x}" for known in DTYPES)
        raise InvalidValueError("read_idx", f"one of the dtypes {codes} in byte 2", f"0x{code:02x} in {path}")
    if not 1 <= dimensions <= MOST_DIMENSIONS:
        raise InvalidValueError("read_idx", f"1 to {MOST_DIMENSIONS} dimensions in byte 3", f"{dimensions} in {path}")
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        last = 3 + 4 * dimensions
        raise InvalidValueError(
            "read_idx", f"the {dimensions} dimensions in bytes 4 to {last}", f"{4 + len(sizes)} bytes in {path}"
        )
    return DTYPES[code], tuple(int(size) for size in np.frombuffer(sizes, ">u4"))


def labelled(x: np.ndarray, y: np.ndarray, images: Path, labels: Path, owner: str) -> tuple[np.ndarray, np.ndarray]:
    """The arrays x of images and y of labels, read from those two files, with the labels as int64.

    Raises:
        ValueError: if the labels are no integers from 0 in one dimension, the images have less than two, or their
            numbers differ.
    """
    if y.ndim != 1 or y.dtype.kind == "f":
        raise InvalidValueError(owner, "labels, whole numbers in one dimension", f"{y.shape} {y.dtype} in {labels}")
    if x.ndim < 2:
        raise InvalidValueError(owner, "images of two or more dimensions", f"shape {x.shape} in {images}")
    if len(x) != len(y):
        raise InvalidValueError(owner, "as many labels as images", f"{len(y)} in {labels} and {len(x)} in {images}")
    if len(y) and y.min() < 0:
        at = int(y.argmin())
        raise InvalidValueError(owner, "labels from 0", f"{y[at]} for image {at} in {labels}")
    return x, y.astype(np.int64)


def mnist(
    folder: str | os.PathLike[str] | None = None, part: str = "train", dtype: npt.DTypeLike = np.float32
) -> tuple[np.ndarray, np.ndarray]:
    """MNIST's images and labels, or those of a set that comes in files of the same names (Fashion-MNIST, KMNIST).

    Looked for are `train-images-idx3-ubyte` and `train-labels-idx1-ubyte` (`t10k-...` for the test part), with `-` or
    `.` before `idx`, with `.gz` or without, in the folder, its `mnist` and its `MNIST/raw`. Nothing is downloaded.

    Args:
        folder: where the files are; None for the folder that the environment variable FASTDL_DATA names.
        part: "train" or "test".
        dtype: float32 or float64, of the images.

    Shapes:
        images (n, 1, 28, 28), from 0 to 1; labels (n,) of int64, from 0 to 9.

    Raises:
        TypeError: if an argument is of another kind.
        FileNotFoundError: if the two files are not there.
        ValueError: if no folder is named, or a file is not what it should be.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     images = b"\\0\\0\\x08\\x03" + b"\\0\\0\\0\\x02" + b"\\0\\0\\0\\x1c" * 2 + bytes(2 * 28 * 28)
        ...     _ = Path(folder, "t10k-images-idx3-ubyte").write_bytes(images)
        ...     _ = Path(folder, "t10k-labels-idx1-ubyte").write_bytes(b"\\0\\0\\x08\\x01" + b"\\0\\0\\0\\x02" + b"\\x07\\x02")
        ...     x, labels = mnist(folder, part="test")
        >>> x.shape, labels
        ((2, 1, 28, 28), array([7, 2]))

    Source: http://yann.lecun.com/exdb/mnist.
    """
    dtype = as_float_dtype(dtype, "mnist")
    stem = PARTS[one_of(tuple(PARTS), part, "part", "mnist")]
    images, labels = _pair(data_folder(folder, "mnist"), stem)
    x, y = labelled(read_idx(images), read_idx(labels), images, labels, "mnist")
    if x.shape[1:] != (28, 28) or x.dtype != np.uint8:
        raise InvalidValueError("mnist", "(n, 28, 28) uint8", f"{x.shape} {x.dtype} in {images}")
    if len(y) and y.max() > 9:
        at = int(y.argmax())
        raise InvalidValueError("mnist", "labels from 0 to 9", f"{y[at]} for image {at} in {labels}")
    return pixels(x, dtype)[:, np.newaxis], y


def _pair(folder: Path, stem: str) -> tuple[Path, Path]:
    """The files of images and labels, in one folder; of several names the plain and the dashed are taken first."""
    for place in PLACES:
        images, labels = (_named(folder / place, f"{stem}-{kind}") for kind in ("images{}idx3", "labels{}idx1"))
        if images is not None and labels is not None:
            return images, labels
    where = ", ".join(str(folder / place) for place in PLACES)
    names = f"{stem}-images-idx3-ubyte and {stem}-labels-idx1-ubyte, plain or .gz,"
    raise FileNotFoundError(f"mnist: expected {names} in one of {where}, got none there")


def _named(folder: Path, stem: str) -> Path | None:
    names = (folder / f"{stem.format(dot)}-ubyte{end}" for end in ("", ".gz") for dot in "-.")
    return next((name for name in names if name.is_file()), None)


def _read(paths: Sequence[Path], dtype: np.dtype[Any], options: Mapping[str, Any], listed: str) -> Dataset:
    arrays = {each: read_idx(each) for each in paths}
    images, labels = sorted(paths, key=lambda each: arrays[each].ndim == 1)
    return as_dataset(labelled(arrays[images], arrays[labels], images, labels, "load_data"), dtype, options, listed)


FORMAT = Format(
    name="IDX",
    suffix=None,
    detect=lambda head: head[:2] == b"\0\0" and head[2:3] != b"" and head[2] in DTYPES,
    files=2,
    options=frozenset({"layout"}),
    read=_read,
    read_inputs=lambda path, dtype, options: as_inputs(read_idx(path), dtype, options, path),
    exact=np.float32,
)
