"""Messages: values as an error shows them, in few words on one line, however large or deep they are."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

LONGEST = 80
# How many names a message lists.
MOST = 5


def shown(value: Any) -> str:
    """A value as a message shows it: arrays and their like by kind, shape and dtype, layers by their spec, all else shortened.

    Example:
        >>> shown([[[[[[[[1]]]]]]], np.zeros((9, 9))])
        '[[[[[[[...]]]]]], array of shape (9, 9) and dtype float64]'
        >>> shown(np.zeros((2, 3), np.float32)), shown("relu"), shown(10**5000)
        ('array of shape (2, 3) and dtype float32', "'relu'", 'an integer of 16610 bits')
    """
    try:
        spec = None if isinstance(value, type) else getattr(value, "spec", None)
        return short(str(spec()) if callable(spec) else _short.repr(value))
    except Exception:  # a message must not fail on what it is about
        return f"a {short(type(value).__name__)}"


def short(text: str, most: int = LONGEST) -> str:
    """A text on one line, or its beginning.

    Example:
        >>> short("one\\ntwo"), short("a" * 99, 8)
        ('one two', 'aaaaaaaa ...')
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[:most].rstrip()} ..."


def listed(names: Iterable[object], most: int = MOST) -> str:
    """Names as a message lists them: the first ones, and how many more there are.

    Example:
        >>> listed(["weight", "bias"]), listed(range(9))
        ('weight, bias', '0, 1, 2, 3, 4 and 4 more')
    """
    texts = [short(str(name)) for name in names]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


class Argument(NamedTuple):
    """An argument that a message says to write; its value is `...` where the reader knows it.

    Example:
        >>> str(Argument("header", True)), str(Argument("columns", ...))
        ('header=True', 'columns=...')
    """

    name: str
    value: Any

    def __str__(self) -> str:
        return f"{self.name}={'...' if self.value is ... else repr(self.value)}"


class Advice(str):
    """A text whose arguments can be spelled in another way, as options of the command line.

    Example:
        >>> text = Advice("write ", Argument("header", True), " if these are names")
        >>> text
        'write header=True if these are names'
        >>> text.spelled(lambda argument: f"--{argument.name}")
        'write --header if these are names'
    """

    parts: tuple[str | Argument, ...]

    def __new__(cls, *parts: str | Argument) -> Advice:
        """Put the parts together; those of an Advice stay parts."""
        text = super().__new__(cls, "".join(map(str, parts)))
        text.parts = tuple(inner for part in parts for inner in (part.parts if isinstance(part, Advice) else (part,)))
        return text

    def spelled(self, argument: Callable[[Argument], str]) -> str:
        """The text with each argument as a function spells it."""
        return "".join(argument(part) if isinstance(part, Argument) else part for part in self.parts)


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxother, self.maxstring = 6, LONGEST, 60

    def repr1(self, x: Any, level: int) -> str:
        shape = None if isinstance(x, type) else getattr(x, "shape", None)
        if isinstance(x, np.generic) and x.dtype.names is None:
            return super().repr1(x, level)
        if isinstance(shape, tuple):
            kind = "array" if isinstance(x, np.ndarray) else type(x).__name__
            return f"{kind} of shape {tuple(shape)}" + (f" and dtype {x.dtype}" if hasattr(x, "dtype") else "")
        if type(x) is int and x.bit_length() > 4 * LONGEST:  # Python does not spell the largest
            return f"an integer of {x.bit_length()} bits"
        return super().repr1(x, level)


_short = _Short()
