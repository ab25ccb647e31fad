"""Seeds: one default generator for the process, and what `rng=` may be."""

from __future__ import annotations

import numbers
from functools import cache

import numpy as np


@cache
def default_generator() -> np.random.Generator:
    """The process's default generator, made on first use: importing numpy.random takes a while."""
    return np.random.default_rng()


def manual_seed(seed: int) -> None:
    """Restart the default generator from a seed, in place: whoever holds it draws the new numbers too.

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


def as_generator(rng: int | np.random.Generator | None = None) -> np.random.Generator:
    """The generator that an argument `rng` stands for.

    Args:
        rng: None for the process's default generator, an integer of at least 0 for a new generator of that seed, a
            `numpy.random.Generator` for itself.

    Raises:
        TypeError: if rng is of any other kind.
        ValueError: if it is a negative seed.

    Example:
        >>> as_generator(0).integers(10, size=4)
        array([8, 6, 5, 2])
        >>> as_generator(-1)
        Traceback (most recent call last):
        ValueError: rng: expected a seed of at least 0, got -1
    """
    if rng is None:
        return default_generator()
    if isinstance(rng, np.random.Generator):
        return rng
    return np.random.default_rng(_seed(rng, "rng"))


def _seed(seed: object, name: str) -> int:
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
        kinds = "an integer seed" if name == "manual_seed" else "None, an integer seed or a numpy.random.Generator"
        raise TypeError(f"{name}: expected {kinds}, got {seed!r}")
    if seed < 0:
        raise ValueError(f"{name}: expected a seed of at least 0, got {int(seed)}")
    return int(seed)
