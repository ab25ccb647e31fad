"""Seeds: one default generator for the process, what `rng=` may be, and the streams that dropout draws from."""

from __future__ import annotations

import numbers
import os
import threading
import weakref
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.replaced import Replaced
from fastdl._kernels.shuffle import shuffle
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.instance import WithDictionary
from fastdl.messages import shown


@cache
def default_generator() -> np.random.Generator:
    """The process's default generator, made on first use: importing numpy.random takes a while."""
    return np.random.default_rng()


def manual_seed(seed: int) -> None:
    """Restart the default generator and the default stream from a seed, in place: whoever holds one draws anew too.

    Threads may share the default generator: no draw is torn, but their order is chance, so only a generator per thread
    gives the same numbers again. A forked child goes on from a copy.

    Args:
        seed: an integer of at least 0.

    Raises:
        TypeError: if the seed is a bool, a float or of any other kind.
        ValueError: if it is negative.

    Example:
        >>> manual_seed(7)
        >>> first = as_generator(None).random(3)
        >>> manual_seed(7)
        >>> (as_generator(None).random(3) == first).all()
        np.True_

    Source: torch.manual_seed.
    """
    state = np.random.default_rng(_seed(seed, "manual_seed")).bit_generator.state
    generator = default_generator().bit_generator
    with generator.lock:
        generator.state = state
    default_stream().restart()


def as_generator(rng: int | np.random.Generator | None = None, name: str = "rng") -> np.random.Generator:
    """The generator that an argument `rng` stands for.

    Args:
        rng: None for the process's default generator, an integer of at least 0 for a new generator of that seed, a
            `numpy.random.Generator` for itself.
        name: the argument's, to open the messages.

    Raises:
        TypeError: if rng is of any other kind.
        ValueError: if it is a negative seed.

    Example:
        >>> as_generator(0).integers(10, size=4)
        array([8, 6, 5, 2])
        >>> as_generator(-1)
        Traceback (most recent call last):
        fastdl.errors.InvalidValueError: rng: expected a seed of at least 0, got -1
    """
    if rng is None:
        return default_generator()
    if isinstance(rng, np.random.Generator):
        return rng
    return np.random.default_rng(_seed(rng, name))


def permutation(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The numbers from 0 to n - 1 in an order drawn from rng: the order in which an epoch sees its samples.

    Example:
        >>> permutation(5, np.random.default_rng(0)).tolist()
        [0, 3, 1, 2, 4]
    """
    order = np.empty(n, np.int64)
    shuffle(int(order_seeds(1, rng)[0]), order)
    return order


def order_seeds(epochs: int, rng: np.random.Generator) -> NDArray[np.uint64]:
    """The seeds of the orders of so many epochs: those that as many calls of `permutation` would draw from rng."""
    return rng.integers(2**64, size=epochs, dtype=np.uint64)


_streams: weakref.WeakSet[Stream] = weakref.WeakSet()


def _after_fork() -> None:
    """Let a child draw though another thread of its parent, which it does not have, was drawing at the fork."""
    streams = list(_streams)
    generators = {stream._generator for stream in streams}
    if default_generator.cache_info().currsize:
        generators.add(default_generator())
    for stream in streams:
        stream._renew_lock()
    for generator in generators:
        lock: Any = generator.bit_generator.lock
        if lock.acquire(blocking=False):
            lock.release()
        else:
            lock._at_fork_reinit()  # as the threading module does with its own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Stream(WithDictionary):
    """What dropout draws from: a seed, and the numbers of the calls made with it.

    Args:
        generator: the seed is drawn from it when the first call asks for it, so a stream that nobody asks draws nothing.

    Threads may share a stream: each call has a number of its own.

    Example:
        >>> a, b = Stream(np.random.default_rng(0)), Stream(np.random.default_rng(0))
        >>> a.next() == b.next(), a.next() == b.next(), a.next()[1]
        (True, True, 2)
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._seed: int | None = None
        self._calls = 0
        self._renew_lock()

    def _renew_lock(self) -> None:
        self._lock = threading.RLock()  # a signal handler may draw amid a draw of its own thread
        _streams.add(self)

    def next(self) -> tuple[int, int]:
        """Return the seed, an integer of 64 bits, and this call's number: 0, 1, 2, ..."""
        return self.take(1)

    def take(self, calls: int) -> tuple[int, int]:
        """Return the seed and the first number of so many calls."""
        with self._lock:
            if self._seed is None:
                self._seed = int(self._generator.integers(2**64, dtype=np.uint64))
            first = self._calls
            self._calls += calls
            return self._seed, first

    def put_back(self, first: int, end: int) -> None:
        """Give back the numbers from `first` to below `end`, which nobody has used, if they are the latest that were taken."""
        with self._lock:
            if self._calls == end:
                self._calls = first

    def restart(self) -> None:
        """Draw another seed at the next call, and count from 0 again."""
        with self._lock:
            self._seed, self._calls = None, 0

    def state_dict(self) -> dict[str, int | None]:
        """Return the seed, None where none was drawn yet, and the number of calls so far."""
        with self._lock:
            return {"seed": self._seed, "calls": self._calls}

    def load_state_dict(self, state: Any) -> None:
        """Take over what state_dict gave.

        Raises:
            ValueError: if it is something else.
        """
        match state:
            case {"seed": seed, "calls": int(calls), **rest} if (
                not rest and 0 <= calls < 2**62 and (seed is None or (type(seed) is int and 0 <= seed < 2**64))
            ):
                with self._lock:
                    self._seed, self._calls = seed, calls
            case _:
                raise InvalidValueError(None, "a seed and a number of calls", shown(state))

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the lock, which belongs to this process."""
        return {name: value for name, value in dict(vars(self)).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._renew_lock()


@cache
def default_stream() -> Stream:
    """The process's default stream, seeded from the default generator."""
    return Stream(default_generator())


class _Current(threading.local):
    stream: Stream | None = None


_current = _Current()


def stream() -> Stream:
    """The stream that dropout draws from in this thread: that of the fit that runs, else the process's default one."""
    return _current.stream or default_stream()


def drawing_from(stream: Stream) -> AbstractContextManager[None]:
    """Make a stream this thread's own inside the block.

    Example:
        >>> mine = Stream(np.random.default_rng(0))
        >>> with drawing_from(mine):
        ...     stream() is mine
        True
        >>> stream() is mine
        False
    """
    return Replaced(_current, "stream", stream)


def draw_from(stream: Stream) -> None:
    """Take another stream inside a block of `drawing_from`."""
    _current.stream = stream


def _seed(seed: object, name: str) -> int:
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
        kinds = "an integer seed" if name == "manual_seed" else "None, an integer seed or a numpy.random.Generator"
        raise InvalidTypeError(name, kinds, shown(seed))
    if seed < 0:
        raise InvalidValueError(name, "a seed of at least 0", shown(int(seed)))
    return int(seed)
