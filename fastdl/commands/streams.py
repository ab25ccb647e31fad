"""Standard output and standard error, whatever they are: closed, full, without a reader, or of an encoding with few letters."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any, TextIO

from fastdl.errors import InvalidValueError

NAMES = {"stdout": "standard output", "stderr": "standard error"}


def say(*words: object, end: str = "\n", flush: bool = False) -> None:
    """Print to standard output.

    Raises:
        OSError: if it cannot be written; its filename is "standard output".
    """
    try:
        print(*words, end=end, flush=flush)
    except OSError as error:
        raise OSError(error.errno, error.strerror, NAMES["stdout"]) from None


def say_exactly(text: str) -> None:
    """Print a text for other programs to standard output: a letter that its encoding lacks is an error.

    Raises:
        OSError: if it is closed or cannot be written.
        ValueError: if its encoding lacks a letter.
    """
    if isinstance(sys.stdout, _Closed):
        raise OSError(errno.EBADF, "it is closed; write --out FILE", NAMES["stdout"])
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError as error:
        raise InvalidValueError(
            NAMES["stdout"],
            f"an encoding that has {error.object[error.start]!a}",
            encoding,
            "write --out FILE, or set PYTHONIOENCODING=utf-8",
        ) from None
    say(text, end="")


def complain(line: str) -> None:
    """Print a line to standard error where that is possible."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def notes() -> Iterator[None]:
    """Let each warning be a line on standard error, without the place in fastdl that it comes from."""
    with warnings.catch_warnings():
        warnings.filterwarnings("once", category=UserWarning)
        warnings.showwarning = lambda message, *_, **__: complain(f"fastdl: {' '.join(str(message).split())}")
        yield


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Let standard streams that are closed swallow what is written, and those that lack a letter write its number.

    What a stream did not take in the end is dropped: Python would try again when it exits, and print a traceback.
    """
    _open_descriptors()
    with contextlib.ExitStack() as endings:
        for name in NAMES:
            stream = getattr(sys, name)
            if stream is None or getattr(stream, "closed", False):
                endings.callback(setattr, sys, name, stream)
                setattr(sys, name, _Closed())
            elif hasattr(stream, "reconfigure"):
                endings.callback(stream.reconfigure, errors=stream.errors)
                if stream.errors in ("strict", "surrogateescape"):
                    stream.reconfigure(errors="backslashreplace")
            endings.callback(_drop_unwritten, getattr(sys, name))
        yield


class _Closed(io.StringIO):
    """In the place of a stream that is closed: swallows what is written."""

    def write(self, text: str) -> int:
        return len(text)


def _open_descriptors() -> None:
    """Open the null device in the place of closed standard streams: a file that is opened later would take their numbers."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _drop_unwritten(stream: TextIO | Any) -> None:
    try:
        stream.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        with contextlib.suppress(OSError):  # a stream without a descriptor
            os.dup2(null, stream.fileno())
        os.close(null)
