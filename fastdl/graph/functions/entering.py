"""What functions on traced values have in common: how they are entered, and how they read axes and options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastdl.errors import InvalidValueError
from fastdl.graph.value import FUNCTIONS, UFUNCS, Value, refused, where


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
    given = axis if isinstance(axis, (tuple, list)) else (axis,)
    found = tuple(int(each) + (value.ndim if int(each) < 0 else 0) for each in given)
    if not all(0 <= each < value.ndim for each in found) or len(set(found)) < len(found):
        raise InvalidValueError(where(), f"axes of a value with {value.ndim}", str(axis))
    return found


def nothing_else(name: str, options: dict[str, Any]) -> None:
    """Refuse options that no traced function has."""
    for option, given in options.items():
        if given is not None and not (option == "where" and given is True):
            raise refused(f"np.{name}", f"with {option}=", "leave it out")
