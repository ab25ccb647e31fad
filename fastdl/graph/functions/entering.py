"""What functions on traced values have in common: how they are entered, and how they read axes and options."""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from typing import Any

import numpy as np

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph.value import FUNCTIONS, UFUNCS, Value, refused, where
from fastdl.messages import shown


def implements(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter what some of NumPy's functions do with values."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        for each in functions:
            (UFUNCS if isinstance(each, np.ufunc) else FUNCTIONS)[each] = function
        return function

    return enter


def axes_of(value: Value, axis: Any) -> tuple[int, ...]:
    """Axes as non-negative numbers; all where None."""
    if axis is None:
        return tuple(range(value.ndim))
    return axes_among(value.ndim, axis)


def axes_among(ndim: int, axis: Any) -> tuple[int, ...]:
    """Axes among so many, each at most once, as non-negative numbers."""
    given = [whole_number(each, "axis") for each in (axis if isinstance(axis, (tuple, list)) else (axis,))]
    found = tuple(each + (ndim if each < 0 else 0) for each in given)
    if not all(0 <= each < ndim for each in found) or len(set(found)) < len(found):
        raise InvalidValueError(where(), f"axes of a value with {ndim}", str(axis))
    return found


def axis_of(value: Value, axis: Any) -> int:
    """One axis as a non-negative number."""
    return axes_of(value, whole_number(axis, "axis"))[0]


def whole_number(given: Any, name: str, low: int | None = None) -> int:
    """An integer that a function is called with, as Python's."""
    try:
        found = index(given)
    except TypeError:
        raise InvalidTypeError(where(), "a whole number", shown(given), argument=name) from None
    if low is not None and found < low:
        raise InvalidValueError(where(), f"a whole number of {low} or more", found, argument=name)
    return found


def nothing_else(name: str, options: dict[str, Any]) -> None:
    """Refuse options that no traced function has."""
    for option, given in options.items():
        if given is not None and not (option == "where" and given is True):
            raise refused(f"np.{name}", f"with {option}=", "leave it out")
