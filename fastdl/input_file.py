"""Input files: regular files on a disk, opened without waiting for anyone and read up to their size."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import shown

# Opening a FIFO waits for a writer without the first, and a terminal becomes the process's own without the second.
FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
KINDS = {stat.S_IFDIR: "folder", stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket"}


def as_path(path: str | os.PathLike[str], owner: str) -> Path:
    """The argument as a Path.

    Raises:
        TypeError: if it is no path.
        ValueError: if no file can have this name.
    """
    try:
        place = Path(path)
    except TypeError:
        raise InvalidTypeError(owner, "a path", shown(path)) from None
    if "\0" in str(place):
        raise InvalidValueError(owner, "the name of a file", shown(str(place)))
    return place


def kind_of_file(mode: int) -> str:
    """What a file that is not regular is called, by its mode.

    Example:
        >>> kind_of_file(os.stat(os.devnull).st_mode)
        'device'
    """
    return KINDS.get(stat.S_IFMT(mode), "device")


def open_regular(path: str | os.PathLike[str], owner: str) -> BufferedReader:
    """Open a regular file for reading.

    Raises:
        TypeError: if path is no path.
        OSError: if there is no such file, or it cannot be read.
        ValueError: if it is a folder, a device, a FIFO or a socket, which have no size to read up to.
    """
    place = as_path(path, owner)
    _refuse_irregular(place.stat().st_mode, place, owner)  # before it is opened: some devices act on that

    def opened(name: str, _: int) -> int:
        descriptor = os.open(name, FLAGS)
        try:
            _refuse_irregular(os.fstat(descriptor).st_mode, place, owner)  # another file may have taken its place
            return descriptor
        except BaseException:
            os.close(descriptor)
            raise

    # The file closes its descriptor, and nobody else: a signal handler may raise an exception at any time.
    return open(place, "rb", opener=opened)


def _refuse_irregular(mode: int, place: Path, owner: str) -> None:
    if not stat.S_ISREG(mode):
        raise InvalidValueError(owner, "a file", f"the {kind_of_file(mode)} {place}")


def size_of(file: BinaryIO) -> int:
    """The size of an open file in bytes."""
    return os.fstat(file.fileno()).st_size


def read_whole(path: str | os.PathLike[str], owner: str, most: int | None = None) -> bytes:
    """The content of a regular file.

    Raises:
        TypeError, OSError, ValueError: as `open_regular`.
        ValueError: if the file has more than `most` bytes, or changes its size while it is read.
    """
    with open_regular(path, owner) as file:
        size = size_of(file)
        if most is not None and size > most:
            raise InvalidValueError(owner, f"a file of at most {most} bytes", f"{size} in {path}")
        content = file.read(size + 1)
    if len(content) != size:
        raise InvalidValueError(owner, f"{size} bytes in {path}", "a file that changes while it is read")
    return content
