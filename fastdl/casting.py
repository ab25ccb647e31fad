"""Casts from dtype to dtype without NumPy's warnings: what the new dtype cannot hold is found out by those who ask."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdl._kernels.quiet import Quiet
from fastdl.errors import InvalidValueError

Array = NDArray[Any]


def quiet() -> Quiet:
    """A block in which NumPy's casts say nothing."""
    return Quiet(over="ignore", under="ignore", invalid="ignore")


def cast(array: Array, dtype: DTypeLike, *, copy: bool = True, order: Literal["K", "A", "C", "F"] = "K") -> Array:
    """The array in another dtype, as `astype` gives it; too large values become infinite and every NaN a NaN, in silence.

    NumPy warns of both, and of a signalling NaN, which files may hold, only on some machines.

    Example:
        >>> cast(np.array([1e39, 1.0]), np.float32)
        array([inf,  1.], dtype=float32)
    """
    if array.dtype == dtype:
        return array.astype(dtype, order=order, copy=copy)
    with quiet():
        return array.astype(dtype, order=order, copy=copy)


def cast_finite(array: Array, dtype: np.dtype[Any], what: str) -> Array:
    """The array in another dtype; a ValueError where finite values become infinite. `what` opens the message."""
    result = cast(array, dtype, copy=False)
    if result.dtype.kind == "f" and result.dtype != array.dtype and (np.isinf(result) & np.isfinite(array)).any():
        raise InvalidValueError(what, f"values that {dtype} can hold", "larger ones")
    return result


def cast_into(target: Array, source: Any) -> None:
    """Copy source into target, cast as `cast` does."""
    with quiet():
        np.copyto(target, source, casting="unsafe")


def first_rounded(array: Array, dtype: np.dtype[Any]) -> int | None:
    """The place, in C order, of the first integer that a float dtype does not hold exactly; None where it holds all.

    float32 holds every integer up to 2**24, float64 up to 2**53, and of larger ones only some.

    Example:
        >>> first_rounded(np.array([2**24, 2**24 + 1, 2**25]), np.dtype(np.float32))
        1
    """
    limit = 2 ** (np.finfo(dtype).nmant + 1)
    if array.dtype.kind not in "iu" or not array.size or np.iinfo(array.dtype).max <= limit:
        return None
    if -limit <= array.min() and array.max() <= limit:
        return None
    # Where the cast rounded up past the largest integer, the way back is no integer of this dtype.
    back = cast(array, dtype).astype(np.longdouble)
    rounded = back != array.astype(np.longdouble) if np.finfo(np.longdouble).nmant >= 63 else _differs(array, dtype)
    return int(rounded.argmax()) if rounded.any() else None


def _differs(array: Array, dtype: np.dtype[Any]) -> Array:
    """The same where long doubles are no longer than doubles: an integer is held when its odd part is short enough."""
    odd = np.abs(array.astype(object))
    return np.array(
        [bool(n) and (int(n) // (int(n) & -int(n))).bit_length() > np.finfo(dtype).nmant + 1 for n in odd.flat]
    )
