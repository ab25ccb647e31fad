"""Signals that end a command: Ctrl-C (SIGINT), and SIGTERM and SIGHUP, by which systems and terminals end processes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interruption:
    """Raises KeyboardInterrupt when a signal comes, or keeps it for later.

    Attributes:
        number: the first signal that came; None before.
        held: whether signals are kept instead of raised.
        once: whether signals are held after one was raised, so that what is saved then is saved undisturbed.
        stop: also called, as Python drops an exception that is raised in a finalizer.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.held = self.once = False
        self.stop: Callable[[], None] = lambda: None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.number is None:
            self.number = number
        if not self.held:
            self.held = self.once
            self.stop()
            raise KeyboardInterrupt

    def release(self) -> None:
        """Raise signals again, beginning with one that was held.

        Raises:
            KeyboardInterrupt: if there was one.
        """
        self.stop = lambda: None
        self.held = False
        if self.number is not None:
            raise KeyboardInterrupt

    @property
    def words(self) -> str:
        """What came, in words.

        Example:
            >>> Interruption().words
            'interrupted'
        """
        return "interrupted" if self.number in (None, signal.SIGINT) else f"ended by {signal.Signals(self.number).name}"

    @property
    def code(self) -> int:
        """The exit status by which shells know the signal."""
        return 128 + (self.number or signal.SIGINT)


@contextmanager
def handled() -> Iterator[Interruption]:
    """Handle the signals that would end the process, other than those that it was started to ignore or handles already."""
    interruption, before = Interruption(), {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in SIGNALS}
        before = {n: handler for n, handler in before.items() if handler in (*_DEFAULTS, _leave)}
    try:
        for number in before:
            signal.signal(number, interruption)
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_on_signals() -> None:
    """Let a signal end the process with one line from now on: while it imports, nothing is to be saved."""
    for number in SIGNALS:
        if signal.getsignal(number) in _DEFAULTS:
            signal.signal(number, _leave)


def ignore_signals() -> None:
    """Let the process end in peace: its work is done."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _leave(number: int, frame: FrameType | None) -> None:
    interruption = Interruption()
    interruption.number = number
    try:
        os.write(2, f"fastdl: {interruption.words}\n".encode())
    finally:
        os._exit(interruption.code)


_DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)
