"""Files to read from: found in a folder, plain or gzipped, read up to a bound."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.input_file import open_regular, size_of
from fastdl.messages import shown

FOLDER = "FASTDL_DATA"
GZIP = b"\x1f\x8b"
# Deflate never packs more into a byte: a back-reference of two bits stands for 258 bytes.
DEFLATE_RATIO = 1032
CHUNK = 1 << 20


def data_folder(folder: str | os.PathLike[str] | None, owner: str) -> Path:
    """The folder given, or the one that the environment variable FASTDL_DATA names.

    Raises:
        TypeError: if folder is no path.
        ValueError: if it is None and the variable is not set.
    """
    if folder is None:
        folder = os.environ.get(FOLDER)
    if not folder:
        raise InvalidValueError(owner, "a folder", "none", f"write folder=... or set the variable {FOLDER}")
    try:
        return Path(folder)
    except TypeError:
        raise InvalidTypeError(owner, "a path or None", shown(folder), argument="folder") from None


@contextmanager
def opened(path: Path, owner: str) -> Iterator[tuple[IO[bytes], bool, int]]:
    """The file, unpacked on the way where its content is gzip; whether it is, and its size on the disk.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no regular file, or what is read of it is no sound gzip.
    """
    with open_regular(path, owner) as raw:
        size = size_of(raw)
        zipped = raw.read(len(GZIP)) == GZIP
        raw.seek(0)
        if not zipped:
            yield raw, False, size
            return
        try:
            with gzip.GzipFile(fileobj=raw) as file:
                yield cast(IO[bytes], file), True, size
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InvalidValueError(owner, "a whole gzip file", f"{path}: {error}") from None


def read_up_to(file: IO[bytes], count: int) -> bytearray:
    """The next `count` bytes, or what there is of them; memory grows with what is read, not with what was asked for."""
    content = bytearray()
    while len(content) < count and (chunk := file.read(min(count - len(content), CHUNK))):
        content += chunk
    return content
