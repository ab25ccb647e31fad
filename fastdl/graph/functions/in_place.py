"""In-place operators on traced values: they give the name another value, and what shared the array is not there any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph.size import same_shape
from fastdl.graph.value import NotTraceableError, Value, where


def in_place(value: Value, symbol: str, operate: Callable[[Value], Any]) -> Any:
    """What an in-place operator makes of a value.

    NumPy changes the array, and with it whatever else is that array or a view of it. A value never changes, so these may not be
    used afterwards; and an array that the traced code was given stays as it is. Numbers are no arrays: the name has another one.

    Raises:
        TypeError, ValueError: for an array that was given, and for a result of another shape or kind, as NumPy does.
    """
    found = operate(value)
    if not value.shape or found is NotImplemented:
        return found
    hint = f"write y = x {symbol[:-1]} ..."
    given = value.memory().given
    if given:
        expected = "in-place operators on arrays that the traced code has made"
        raise InvalidTypeError(where(), expected, f"{symbol} on {given}", hint)
    if line := value.memory().array_in_use():
        expected = "in-place operators on arrays that no other stands for"
        raise NotTraceableError(where(), expected, f"{symbol} on one that {line} has made an array of", hint)
    if not same_shape(found.shape, value.shape):
        shape = f"shape ({', '.join(map(str, found.shape))})"
        raise InvalidValueError(f"{where()}: x {symbol} y", f"a result of the shape of {value}", shape, hint)
    if "bif".index(found.dtype.kind) > "bif".index(value.dtype.kind):
        raise InvalidTypeError(f"{where()}: x {symbol} y", f"a result of {value.dtype}", str(found.dtype), hint)
    value.memory().changed = where()
    return found if found.dtype == value.dtype else found.astype(value.dtype)
