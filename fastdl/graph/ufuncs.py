"""The ufuncs that a graph has as operations of their names, and what each computes of floats, whole numbers and truth values."""

from __future__ import annotations

from functools import cache

from fastdl.errors import InvalidTypeError
from fastdl.graph.value import where

FLOATING = (
    *(
        "exp",
        "expm1",
        "exp2",
        "log",
        "log1p",
        "log2",
        "log10",
        "sqrt",
        "reciprocal",
        "sin",
        "cos",
        "tan",
        "tanh",
        "sinh",
    ),
    *("cosh", "arctan", "arcsin", "arccos", "arctan2", "logaddexp", "floor", "ceil", "rint", "trunc", "divide"),
)
# Those that scipy.special has, and NumPy not.
SPECIAL = ("erf",)
# Of whole numbers, too.
NUMERIC = (
    *("add", "subtract", "multiply", "negative", "absolute", "sign", "square", "maximum", "minimum", "power"),
    *("remainder", "floor_divide"),
)
COMPARING = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
TESTING = ("isfinite", "isnan", "isinf")
LOGICAL = ("logical_and", "logical_or", "logical_xor", "logical_not")
# Of whole numbers alone.
BITWISE = ("bitwise_and", "bitwise_or", "bitwise_xor", "invert", "left_shift", "right_shift")
ALL = (*FLOATING, *SPECIAL, *NUMERIC, *COMPARING, *TESTING, *LOGICAL, *BITWISE)

# Reductions that find one of the elements, and need some.
EXTREMES = {"max", "min", "argmax", "argmin"}

# What is the same number where it is a whole one already, or a truth value.
UNCHANGED = {"i": {"floor", "ceil", "trunc"}, "b": {"floor", "ceil", "trunc", "absolute"}}
# What is logic of truth values, and what is not there for them with what is written instead.
OF_TRUTHS = {
    **{"add": "logical_or", "multiply": "logical_and", "maximum": "logical_or", "minimum": "logical_and"},
    **{"bitwise_and": "logical_and", "bitwise_or": "logical_or", "bitwise_xor": "logical_xor", "invert": "logical_not"},
}
NOT_OF_TRUTHS = {"subtract": "write a ^ b, or .astype(int)", "negative": "write ~x", "sign": "write x.astype(int)"}


@cache
def resolved(name: str, kinds: tuple[str, ...]) -> tuple[str, str, str] | None:
    """The operation that a ufunc of these kinds ("f", "i" or "b") is, the kind that it takes, and that of its result.

    Returns:
        None where it changes nothing.
    """
    kind = "f" if "f" in kinds else "i" if "i" in kinds else "b"
    if name in UNCHANGED.get(kind, ()):
        return None
    if name in LOGICAL:
        return name, "b", "b"
    if kind == "b":
        if name in NOT_OF_TRUTHS:
            raise InvalidTypeError(f"{where()}: np.{name}", "numbers", "truth values", NOT_OF_TRUTHS[name])
        if name in OF_TRUTHS:
            return OF_TRUTHS[name], "b", "b"
    if name in BITWISE:
        if kind == "f":
            raise InvalidTypeError(f"{where()}: np.{name}", "whole numbers", "floating ones", "write x.astype(int)")
        return name, "i", "i"
    taken = "f" if kind == "f" or name in FLOATING or name in SPECIAL else "i"
    return name, taken, "b" if name in COMPARING or name in TESTING else taken
