"""Arguments as they should be: each function gives the value in its plain form, or an error of one sentence."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import shown


def as_array(value: Any, name: str, owner: str) -> NDArray[Any]:
    """The value as an array; a TypeError where that would lose what it holds, a mask or its zeros, or is no array at all."""
    refuse_special(value, name, owner)
    try:
        return np.asarray(value)
    except ValueError:
        raise InvalidValueError(owner, f"{name} to have rows of one length", "ragged ones") from None


def refuse_special(value: Any, name: str, owner: str) -> None:
    """Raise a TypeError for a masked array and for a sparse matrix."""
    refuse_masked(value, name, owner)
    if type(value).__module__.startswith("scipy.sparse"):
        raise InvalidTypeError(
            owner, "an array", f"a sparse {type(value).__name__}", f"write {name}.toarray()", argument=name
        )


def is_masked(value: Any) -> bool:
    """Whether this is a masked array; numpy.ma, which takes a while to import, is left to those who make one."""
    return isinstance(value, getattr(sys.modules.get("numpy.ma.core"), "MaskedArray", ()))


def refuse_masked(value: Any, name: str, owner: str) -> None:
    """Raise a TypeError for a masked array, whose mask NumPy's functions drop in silence."""
    parts = value if type(value) in (list, tuple) else ()
    if is_masked(value) or any(map(is_masked, parts)):
        raise InvalidTypeError(
            owner,
            "an array without a mask",
            "a masked one",
            f"write {name}.filled(value), or leave the masked rows out",
            argument=name,
        )


def as_float_dtype(dtype: Any, name: object) -> np.dtype[Any]:
    """The NumPy dtype for float32 or float64; a TypeError for any other."""
    try:
        found = np.dtype(dtype)
    except Exception:  # NumPy's own message may fail on the value
        found = None
    if dtype is None or found is None or found not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise InvalidTypeError(name, "dtype float32 or float64", shown(dtype))
    return np.dtype(found.type)


def positive_integer(value: Any, name: str, owner: str, or_zero: bool = False) -> int:
    """The value as an int when it is a whole number above 0 (or 0, with `or_zero`); else an error that names the argument."""
    wanted = "an integer >= 0" if or_zero else "a positive integer"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise InvalidTypeError(owner, wanted, shown(value), argument=name)
    if value < (0 if or_zero else 1):
        raise InvalidValueError(owner, wanted, shown(value), argument=name)
    return int(value)


def sample_shape(value: Any, owner: str) -> tuple[int, ...]:
    """The shape of one sample as a tuple, given as one or as an int; else an error that names the argument input_shape."""
    sizes = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    wanted = "the shape of one sample, such as (1, 28, 28), for input_shape"
    if any(isinstance(each, (bool, np.bool_)) or not isinstance(each, (int, np.integer)) for each in sizes):
        raise InvalidTypeError(owner, wanted, shown(value))
    if any(each < 1 for each in sizes):
        raise InvalidValueError(owner, wanted, shown(value))
    return tuple(int(each) for each in sizes)


def non_finite_row(array: NDArray[Any]) -> int | None:
    """The first row that holds a NaN or an infinity; None where all values are finite."""
    finite = np.isfinite(array)
    return None if finite.all() else int(np.argmin(finite.reshape(len(array), -1).all(axis=1)))


def size(value: Any, name: str, owner: str, least: int) -> int:
    """The value as an int when it is a whole number from `least` to 2**31 - 1; else an error that names the argument."""
    return _sizes((value,), value, f"an integer >= {least}", name, owner, least)[0]


def pair(value: Any, name: str, owner: str, least: int) -> tuple[int, int]:
    """Two sizes, each as `size` takes it, from a tuple or list of two or one number for both; else an error as there."""
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    wanted = f"an integer >= {least} or a pair of them"
    parts = _sizes(both, value, wanted, name, owner, least)
    if len(parts) != 2:
        raise InvalidValueError(owner, wanted, shown(value), argument=name)
    return parts[0], parts[1]


def as_given(value: Any, both: tuple[int, int]) -> int | tuple[int, int]:
    """What `pair` made of a value, spelled as the value was: one int where one was given."""
    return both if isinstance(value, (tuple, list)) else both[1]


def _sizes(parts: tuple[Any, ...], value: Any, wanted: str, name: str, owner: str, least: int) -> list[int]:
    if any(isinstance(part, (bool, np.bool_)) or not isinstance(part, (int, np.integer)) for part in parts):
        raise InvalidTypeError(owner, wanted, shown(value), argument=name)
    if min(parts, default=least) < least:
        raise InvalidValueError(owner, wanted, shown(value), argument=name)
    if max(parts, default=0) >= 2**31:
        raise InvalidValueError(owner, "less than 2**31", shown(value), argument=name)
    return [int(part) for part in parts]


def real_number(value: Any, name: str, owner: str, low: float = -np.inf, high: float = np.inf) -> float:
    """The value as a float when it is a finite number in [low, high]; else an error that names the argument."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise InvalidTypeError(owner, "a number", shown(value), argument=name)
    try:
        number = float(value)
    except OverflowError:
        number = np.inf
    if not (np.isfinite(number) and low <= number <= high):
        bounds = "a finite number" if (low, high) == (-np.inf, np.inf) else f"a finite number >= {low:g}"
        if high != np.inf:
            bounds = f"a number from {low:g} to {high:g}"
        raise InvalidValueError(owner, bounds, shown(value), argument=name)
    return number


def positive_number(value: Any, name: str, owner: str) -> float:
    """The value as a float when it is a finite number above 0; else an error that names the argument."""
    number = real_number(value, name, owner)
    if number <= 0:
        raise InvalidValueError(owner, "a positive number", value, argument=name)
    return number


def integer(value: Any, name: str, owner: str) -> int:
    """The value as an int when it is a whole number; else an error that names the argument."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise InvalidTypeError(owner, "an integer", shown(value), argument=name)
    return int(value)


def limit(value: float | None, name: str, owner: str) -> float | None:
    """A number above 0, or None."""
    if value is None:
        return None
    number = real_number(value, name, owner, low=0)
    if number == 0:
        raise InvalidValueError(owner, "a number above 0 or None", "0", argument=name)
    return number


def one_of(choices: tuple[str, ...], value: Any, name: str, owner: str) -> str:
    """The value when it is one of the choices; else an error that names the argument."""
    if not isinstance(value, str):
        raise InvalidTypeError(owner, f"one of {', '.join(choices)}", shown(value), argument=name)
    if value not in choices:
        raise InvalidValueError(owner, f"one of {', '.join(choices)}", shown(value), argument=name)
    return str(value)


def true_or_false(value: Any, name: str, owner: str) -> bool:
    """The value when it is a bool; else an error that names the argument."""
    if not isinstance(value, (bool, np.bool_)):
        raise InvalidTypeError(owner, "True or False", shown(value), argument=name)
    return bool(value)


def kind_of(value: object) -> str:
    """What a message calls a value: its class, or the class that it is."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
