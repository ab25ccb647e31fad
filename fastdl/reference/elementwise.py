"""Elementwise nodes of traced graphs: programs of instructions, one element at a time."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastdl.reference.elements import elements
from fastdl.reference.ieee import divide, exp, log, log1p, raised, sqrt


def sign(x: float) -> float:
    """-1, 0 or 1; NaN of NaN."""
    return (x > 0) - (x < 0) if x == x else x


def larger(a: float, b: float) -> float:
    """The larger of two; NaN where one is."""
    return a if a != a or a >= b else b


def smaller(a: float, b: float) -> float:
    """The smaller of two; NaN where one is."""
    return a if a != a or a <= b else b


def logaddexp(a: float, b: float) -> float:
    """log(e^a + e^b)"""
    return a + log(2) if a == b else larger(a, b) + log1p(exp(-abs(a - b)))


def remainder(a: float, b: float) -> float:
    """a - b floor(a / b), with the divisor's sign."""
    if b == 0 or not math.isfinite(a):
        return math.nan
    if math.isinf(b):
        return math.copysign(0.0, b) if a == 0 else a if (a < 0) == (b < 0) else b
    return a % b


def floor_divide(a: float, b: float) -> float:
    """floor(a / b)"""
    if b == 0:
        return divide(a, b)
    if not math.isfinite(a):
        return math.nan
    if math.isinf(b):
        return divide(a, b) if a == 0 or (a < 0) == (b < 0) else -1.0
    return a // b


def rounded(function: Callable[[float], int]) -> Callable[[float], float]:
    """A function to whole numbers, that keeps what is none and the sign of a zero."""
    return lambda x: math.copysign(function(x), x) if math.isfinite(x) else x


OPERATIONS: dict[str, Callable[..., Any]] = {
    "exp": exp,
    "expm1": raised(math.expm1, math.inf),
    "exp2": raised(math.exp2, math.inf),
    "log": log,
    "log1p": log1p,
    "log2": lambda x: log(x) if x <= 0 else math.log2(x),
    "log10": lambda x: log(x) if x <= 0 else math.log10(x),
    "sqrt": sqrt,
    "reciprocal": lambda x: divide(1.0, x),
    "sin": raised(math.sin),
    "cos": raised(math.cos),
    "tan": raised(math.tan),
    "tanh": math.tanh,
    "sinh": lambda x: math.copysign(raised(math.sinh, math.inf)(abs(x)), x),
    "cosh": raised(math.cosh, math.inf),
    "arctan": math.atan,
    "arcsin": raised(math.asin),
    "arccos": raised(math.acos),
    "erf": math.erf,
    "arctan2": math.atan2,
    "logaddexp": logaddexp,
    "floor": rounded(math.floor),
    "ceil": rounded(math.ceil),
    "rint": rounded(round),
    "trunc": rounded(math.trunc),
    "divide": divide,
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "negative": lambda a: -a,
    "absolute": abs,
    "sign": sign,
    "square": lambda a: a * a,
    "maximum": larger,
    "minimum": smaller,
    "power": lambda a, b: float(np.float64(a) ** np.float64(b)),
    "remainder": remainder,
    "floor_divide": floor_divide,
    "equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b,
    "less": lambda a, b: a < b,
    "less_equal": lambda a, b: a <= b,
    "greater": lambda a, b: a > b,
    "greater_equal": lambda a, b: a >= b,
    "logical_and": lambda a, b: a != 0 and b != 0,
    "logical_or": lambda a, b: a != 0 or b != 0,
    "logical_xor": lambda a, b: (a != 0) != (b != 0),
    "logical_not": lambda a: a == 0,
    "isfinite": math.isfinite,
    "isnan": math.isnan,
    "isinf": math.isinf,
    "where": lambda condition, x, y: x if condition != 0 else y,
    "cast": lambda a: a,
    "multiply_add": lambda a, b, c: a * b + c,
}


def wrapped(x: int) -> int:
    """What is left of a whole number in 64 bits."""
    return (x + 2**63) % 2**64 - 2**63


WHOLE_OPERATIONS: dict[str, Callable[..., Any]] = {
    name: OPERATIONS[name]
    for name in OPERATIONS
    if name.startswith(("logical", "is", "less", "greater", "equal", "not_", "sign", "absolute", "negative", "square"))
    or name in ("add", "subtract", "multiply", "maximum", "minimum", "where", "cast")
} | {
    "power": lambda a, b: a**b if b >= 0 else 0,
    "remainder": lambda a, b: a % b if b else 0,
    "floor_divide": lambda a, b: a // b if b else 0,
    "bitwise_and": lambda a, b: a & b,
    "bitwise_or": lambda a, b: a | b,
    "bitwise_xor": lambda a, b: a ^ b,
    "invert": lambda a: ~a,
    "left_shift": lambda a, b: a << b if 0 <= b < 64 else 0,
    "right_shift": lambda a, b: a >> b if 0 <= b < 64 else a >> 63,
}


def elementwise(attributes: dict[str, Any], inputs: list[np.ndarray], out: np.ndarray) -> None:
    """Each element of out is what the instructions make of the inputs' elements; all are of one shape.

    An instruction (operation, y, a, b, c) writes a slot: those from the number of inputs on are registers. The last one's
    result is the output.
    """
    whole = attributes["registers"] == "whole"
    operations = WHOLE_OPERATIONS if whole else OPERATIONS
    (target,) = elements(out)
    for place in np.ndindex(out.shape):
        slots: dict[int, Any] = {i: x.data[place] for i, x in enumerate(inputs)}
        if not whole:
            slots = {i: float(x) for i, x in slots.items()}
        result: Any = 0
        for operation, y, *given in attributes["instructions"]:
            result = operations[operation](*(slots[each] for each in given if each >= 0))
            result = wrapped(int(result)) if whole else float(result)
            slots[y] = result
        kind = out.dtype.kind
        target[place] = result != 0 if kind == "b" else math.trunc(result) if kind == "i" else result
