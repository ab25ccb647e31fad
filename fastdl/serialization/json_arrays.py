"""Packing: plain values and arrays as what JSON can say and named arrays beside it, and back."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import short, shown

DEEPEST = 30
# What safetensors files call them, in the order of the format: entries of the last come first in a file.
DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "I16": np.dtype(np.int16),
    "U16": np.dtype(np.uint16),
    "F16": np.dtype(np.float16),
    "I32": np.dtype(np.int32),
    "U32": np.dtype(np.uint32),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
    "I64": np.dtype(np.int64),
    "U64": np.dtype(np.uint64),
}
# JSON has no words for these, and not every parser reads Python's.
SPECIAL = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def pack(value: Any, place: str) -> tuple[Any, dict[str, NDArray[Any]]]:
    """A value as JSON has it, and its arrays by the names under which it refers to them.

    Args:
        value: numbers, strings, None, arrays, and lists, tuples and dictionaries of those; a dictionary's keys are strings.
        place: what the value is, which begins the names.

    Raises:
        TypeError: for anything else in it, naming where.

    Example:
        >>> pack({"best": float("inf"), "v": np.zeros(2), "rates": (0.1, None)}, "state")
        ({'best': {'$float': 'inf'}, 'v': {'$array': 'state/v'}, 'rates': [0.1, None]}, {'state/v': array([0., 0.])})
    """
    arrays: dict[str, NDArray[Any]] = {}
    return _packed(value, place, arrays, 0), arrays


def _packed(value: Any, place: str, arrays: dict[str, NDArray[Any]], depth: int) -> Any:
    if depth > DEEPEST:
        raise InvalidTypeError(short(place), f"at most {DEEPEST} levels of nesting", "more")
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        return number if math.isfinite(number) else {"$float": str(number)}
    if isinstance(value, np.ndarray) and value.dtype in DTYPES.values():
        arrays[place] = value
        return {"$array": place}
    if isinstance(value, Mapping) and all(isinstance(key, str) and not key.startswith("$") for key in value):
        return {key: _packed(each, f"{place}/{key}", arrays, depth + 1) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_packed(each, f"{place}/{number}", arrays, depth + 1) for number, each in enumerate(value)]
    raise InvalidTypeError(
        place,
        "numbers, strings, None, arrays of numbers, or lists and dictionaries (by strings) of those",
        type(value).__name__,
    )


def unpack(packed: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """The value that `pack` was given, tuples as lists.

    Raises:
        ValueError: if it is not what pack gives, or an array is missing, or one is not asked for exactly once.

    Example:
        >>> unpack(*pack([1, float("-inf"), np.array([True])], "state"))
        [1, -inf, array([ True])]
    """
    left = dict(arrays)
    value = _unpacked(packed, left, 0)
    if left:
        raise ValueError(f"nothing refers to the entry {short(min(left))}")
    return value


def _unpacked(packed: Any, left: dict[str, NDArray[Any]], depth: int) -> Any:
    if depth > DEEPEST:
        raise InvalidValueError(None, f"at most {DEEPEST} levels of nesting", "more")
    if isinstance(packed, list):
        return [_unpacked(each, left, depth + 1) for each in packed]
    if isinstance(packed, float) and not math.isfinite(packed):
        raise InvalidValueError(None, "finite numbers", packed)
    if not isinstance(packed, dict):
        return packed
    if not any(key.startswith("$") for key in packed):
        return {key: _unpacked(each, left, depth + 1) for key, each in packed.items()}
    match packed:
        case {"$float": str(name), **rest} if not rest and name in SPECIAL:
            return SPECIAL[name]
        case {"$array": str(name), **rest} if not rest and name in left:
            return left.pop(name)
    raise InvalidValueError(None, "a number or an entry of the file", shown(packed))
