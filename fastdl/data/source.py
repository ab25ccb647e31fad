"""Files to read from: regular ones, found in a folder, plain or gzipped, read up to a bound."""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

FOLDER = "FASTDL_DATA"
GZIP = b"\x1f\x8b"
# Deflate never packs more into a byte: a back-reference of two bits stands for 258 bytes.
DEFLATE_RATIO = 1032
CHUNK = 1 << 20


def regular_file(path: str | os.PathLike[str], owner: str) -> tuple[Path, int]:
    """The path and the size in bytes of a file on disk.

    Raises:
        TypeError: if path is no path.
        OSError: if there is no such file.
        ValueError: if it is a folder or a device, which have no size to check against.
    """
    try:
        place = Path(path)
        status = place.stat()
    except TypeError:
        raise TypeError(f"{owner}: expected a path, got {path!r}") from None
    except ValueError:
        raise ValueError(f"{owner}: expected the name of a file, got {str(path)!r}") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "folder" if stat.S_ISDIR(status.st_mode) else "device"
        raise ValueError(f"{owner}: expected a file, got the {kind} {place}")
    return place, status.st_size


def data_folder(folder: str | os.PathLike[str] | None, owner: str) -> Path:
    """The folder given, or the one that the environment variable FASTDL_DATA names.

    Raises:
        TypeError: if folder is no path.
        ValueError: if it is None and the variable is not set.
    """
    if folder is None:
        folder = os.environ.get(FOLDER)
    if not folder:
        raise ValueError(f"{owner}: expected a folder, got none; write folder=... or set the variable {FOLDER}")
    try:
        return Path(folder)
    except TypeError:
        raise TypeError(f"{owner}: expected a path or None for folder, got {folder!r}") from None


@contextmanager
def opened(path: Path, owner: str) -> Iterator[tuple[IO[bytes], bool]]:
    """The file, unpacked on the way where its content is gzip, and whether it is.

    Raises:
        OSError: if it cannot be read.
        ValueError: if what is read of it is no sound gzip.
    """
    with path.open("rb") as raw:
        zipped = raw.read(len(GZIP)) == GZIP
        raw.seek(0)
        if not zipped:
            yield raw, False
            return
        try:
            with gzip.GzipFile(fileobj=raw) as file:
                yield cast(IO[bytes], file), True
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{owner}: expected a whole gzip file, got {path}: {error}") from None


def read_up_to(file: IO[bytes], count: int) -> bytearray:
    """The next `count` bytes, or what there is of them; memory grows with what is read, not with what was asked for."""
    content = bytearray()
    while len(content) < count and (chunk := file.read(min(count - len(content), CHUNK))):
        content += chunk
    return content
