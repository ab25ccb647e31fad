"""Output files: put in their place whole, or continued; never written into a FIFO, a device or a socket.

A symbolic link is followed and stays. What replaces a file has its permission bits and extended attributes and, where the
system allows it, its owner and group; a new file has what the umask leaves of 0666. Of a file with several names (hard links),
only the one that is written to gets the new content. A file that may not be written to is not replaced either, whatever its
folder allows.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from fastdl.input_file import FLAGS, as_path, kind_of_file

NEW = 0o666


def write_atomically(path: str | os.PathLike[str], content: bytes, owner: str) -> None:
    """Write a file so that at any moment, a power cut included, the old or the new one stands, whole.

    Raises:
        TypeError, ValueError, OSError: as `replacing`.
    """
    with replacing(path, owner) as file:
        file.write(content)


@contextmanager
def replacing(path: str | os.PathLike[str], owner: str) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of the one at `path` when the block ends, and leaves nothing when it fails.

    Raises:
        TypeError: if path is no path.
        ValueError: if no file can have its name.
        OSError: if it cannot be written, or is no regular file; an older one stands then.
    """
    place = as_path(path, owner)
    try:
        target, status = _target(path)
        beside = target.with_name(f".{secrets.token_hex(8)}.partial")
        # What is to have an older file's permissions is nobody else's before it has them.
        mode = NEW if status is None else 0o600
        try:
            unnamed = _unnamed(target.parent, mode)
            with unnamed or _named(beside, mode) as file:
                yield file
                file.flush()
                if status is not None:
                    _keep(file.fileno(), target, status)
                os.fsync(file.fileno())
                if unnamed is not None:
                    _link(unnamed, beside)
            os.replace(beside, target)
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise
    except OSError as error:
        if error.errno:  # of the file that was asked for, not of the one beside it
            raise OSError(error.errno, error.strerror, str(place)) from None
        raise
    with suppress(OSError):  # the file stands; what its folder cannot do, it cannot do
        _sync_folder(target.parent)


def check_file(path: str | os.PathLike[str], owner: str) -> None:
    """Find out whether `replacing` could write to a path, before there is anything to write.

    Raises:
        TypeError, ValueError, OSError: as `replacing`.
    """
    place = as_path(path, owner)
    try:
        target, _ = _target(path)
        check_folder(target.parent, owner)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(place)) from None


def check_folder(path: str | os.PathLike[str], owner: str) -> None:
    """Find out whether files can be written into a folder.

    Raises:
        TypeError: if path is no path.
        ValueError: if no folder can have its name.
        OSError: if they cannot.
    """
    place = as_path(path, owner)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(place)) from None


def continued(path: str | os.PathLike[str], owner: str) -> BinaryIO:
    """Open a regular file, a new one where there is none, to read it and to write at its end.

    Raises:
        TypeError, ValueError, OSError: as `replacing`.
    """
    place = as_path(path, owner)
    _target(path)
    return _opened(place, "a+b", FLAGS | os.O_RDWR | os.O_APPEND | os.O_CREAT, NEW)


def _target(path: str | os.PathLike[str]) -> tuple[Path, os.stat_result | None]:
    """The file itself that a path leads to, through links, and its status; None where there is none yet."""
    name = os.fspath(path)
    if not os.path.basename(name):
        code = errno.EISDIR if name else errno.ENOENT
        raise OSError(code, os.strerror(code), name)
    target = Path(os.path.realpath(name))
    try:
        status = os.stat(name)
    except FileNotFoundError:
        os.stat(target.parent)  # a folder that is missing, or none at all, is an error now
        return target, None
    _refuse_irregular(status.st_mode, Path(name))
    if not os.access(target, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), name)
    return target, status


def _refuse_irregular(mode: int, place: Path) -> None:
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(place))
    if not stat.S_ISREG(mode):
        words = f"expected a regular file or a new name to write to, got a {kind_of_file(mode)}"
        raise OSError(errno.EINVAL, words, str(place))


def _unnamed(folder: Path, mode: int) -> BinaryIO | None:
    """A file without a name, of which a kill leaves nothing behind; None where the system has none."""
    if not hasattr(os, "O_TMPFILE"):
        return None
    try:
        return _opened(folder, "w+b", os.O_TMPFILE | os.O_RDWR, mode)
    except OSError:  # if not for that, opening one with a name will tell
        return None


def _named(path: Path, mode: int) -> BinaryIO:
    return _opened(path, "w+b", os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)


def _opened(path: Path, mode: str, flags: int, permissions: int) -> BinaryIO:
    """A regular file. It closes its descriptor, and nobody else: a signal handler may raise an exception at any time."""

    def opened(name: str, _: int) -> int:
        descriptor = os.open(name, flags, permissions)
        try:
            _refuse_irregular(os.fstat(descriptor).st_mode, path)
            return descriptor
        except BaseException:
            os.close(descriptor)
            raise

    return open(path, mode, opener=opened)  # pyright: ignore[reportReturnType]


def _link(file: BinaryIO, path: Path) -> None:
    """Give a name to a file that has none; where the system does not, a copy has it."""
    try:
        # Python follows the link only where it is given a folder, which an absolute path makes nothing of.
        os.link(f"/proc/self/fd/{file.fileno()}", path, src_dir_fd=file.fileno(), follow_symlinks=True)
    except OSError:
        with _named(path, 0o600) as copy:
            file.seek(0)
            shutil.copyfileobj(file, copy)
            copy.flush()
            _keep(copy.fileno(), file.fileno(), os.fstat(file.fileno()))
            os.fsync(copy.fileno())


def _keep(descriptor: int, old: Path | int, status: os.stat_result) -> None:
    """Let an open file have the owner, the permissions and the attributes of an older one."""
    mode, own = stat.S_IMODE(status.st_mode), os.fstat(descriptor)
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
        try:
            os.chown(descriptor, status.st_uid, status.st_gid)
        except OSError:
            try:
                os.chown(descriptor, -1, status.st_gid)
            except OSError:  # another group gets no more than all others had
                mode = mode & ~0o070 | (mode & 0o007) << 3
            mode &= 0o1777  # what runs as its owner or group does not run as another one
    os.chmod(descriptor, mode)
    for name in os.listxattr(old) if hasattr(os, "listxattr") else ():
        with suppress(OSError):
            os.setxattr(descriptor, name, os.getxattr(old, name))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
