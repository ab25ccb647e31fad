"""CIFAR-10's binary batches."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastdl.data.dataset import Dataset
from fastdl.data.format import Format, as_inputs
from fastdl.data.source import data_folder
from fastdl.data.transform import pixels
from fastdl.errors import InvalidValueError
from fastdl.input_file import as_path, read_whole
from fastdl.validation import as_float_dtype, one_of

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32
PLACES = ("", "cifar-10-batches-bin")
PARTS = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}


def read_cifar10(path: str | os.PathLike[str], *more: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of CIFAR-10's binary batches, one file after the other.

    A record is 3,073 bytes: the label, then the red, green and blue pixels of an image, row by row.

    Args:
        path: a file.
        more: further ones.

    Shapes:
        images (n, 3, 32, 32) of uint8; labels (n,) of int64, from 0 to 9, which `fastdl.data.cifar.CLASSES` names.

    Raises:
        TypeError: if a path is no path.
        OSError: if a file cannot be read.
        ValueError: if a file is no whole number of records, or a label is above 9.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "test_batch.bin")
        ...     _ = path.write_bytes(bytes([3, *[255] * 3072, 9, *[0] * 3072]))
        ...     images, labels = read_cifar10(path)
        >>> images.shape, [CLASSES[label] for label in labels]
        ((2, 3, 32, 32), ['cat', 'truck'])

    Source: https://www.cs.toronto.edu/~kriz/cifar.html.
    """
    records = np.concatenate([_records(as_path(each, "read_cifar10")) for each in (path, *more)])
    return records[:, 1:].reshape(-1, *IMAGE), records[:, 0].astype(np.int64)


def cifar10(
    folder: str | os.PathLike[str] | None = None, part: str = "train", dtype: npt.DTypeLike = np.float32
) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10's images and labels.

    Looked for are `data_batch_1.bin` to `data_batch_5.bin`, or `test_batch.bin`, in the folder and its
    `cifar-10-batches-bin`. Nothing is downloaded.

    Args:
        folder: where the files are; None for the folder that the environment variable FASTDL_DATA names.
        part: "train" or "test".
        dtype: float32 or float64, of the images.

    Shapes:
        images (n, 3, 32, 32), from 0 to 1; labels (n,) of int64, from 0 to 9.

    Raises:
        TypeError: if an argument is of another kind.
        FileNotFoundError: if a file is not there.
        ValueError: if no folder is named, or a file is not what it should be.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "test_batch.bin").write_bytes(bytes([3, *[255] * 3072]))
        ...     x, labels = cifar10(folder, part="test")
        >>> x.shape, x.max(), labels
        ((1, 3, 32, 32), np.float32(1.0), array([3]))

    Source: https://www.cs.toronto.edu/~kriz/cifar.html.
    """
    dtype = as_float_dtype(dtype, "cifar10")
    names = PARTS[one_of(tuple(PARTS), part, "part", "cifar10")]
    folder = data_folder(folder, "cifar10")
    for place in PLACES:
        if all((folder / place / name).is_file() for name in names):
            images, labels = read_cifar10(*(folder / place / name for name in names))
            return pixels(images, dtype), labels
    where = " or ".join(str(folder / place) for place in PLACES)
    raise FileNotFoundError(f"cifar10: expected {', '.join(names)} in {where}, got no folder that holds them all")


def _records(file: Path) -> np.ndarray:
    content = read_whole(file, "read_cifar10")
    size = len(content)
    if size == 0 or size % RECORD:
        whole = f"{size // RECORD} records and {size % RECORD} bytes" if size else "an empty file"
        raise InvalidValueError("read_cifar10", f"records of {RECORD} bytes in {file}", whole)
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    wrong = records[:, 0] > 9
    if wrong.any():
        at = int(wrong.argmax())
        raise InvalidValueError("read_cifar10", f"labels from 0 to 9 in {file}", f"{records[at, 0]} in record {at}")
    return records


def _read(paths: Sequence[Path], dtype: np.dtype[Any], options: Mapping[str, Any], listed: str) -> Dataset:
    x, y = read_cifar10(*paths)
    return Dataset(pixels(x, dtype), y, CLASSES)


FORMAT = Format(
    name=".bin",
    suffix=".bin",
    detect=None,
    files=None,
    options=frozenset(),
    read=_read,
    read_inputs=lambda path, dtype, options: as_inputs(read_cifar10(path)[0], dtype, options, path),
    exact=np.float32,
)
