"""Functions that answer with infinity and NaN, as IEEE 754 does, where Python's raise."""

import math
from collections.abc import Callable


def exp(x: float) -> float:
    """e^x; infinity beyond the largest double."""
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def log(x: float) -> float:
    """Natural logarithm; log(0) = -inf, and NaN below 0."""
    if x == 0:
        return -math.inf
    return math.nan if x < 0 else math.log(x)


def log1p(x: float) -> float:
    """log(1 + x), exact near 0; log1p(-1) = -inf, and NaN below -1."""
    if x == -1:
        return -math.inf
    return math.nan if x < -1 else math.log1p(x)


def sqrt(x: float) -> float:
    """Square root; NaN below 0."""
    return math.nan if x < 0 else math.sqrt(x)


def divide(x: float, y: float) -> float:
    """x / y; x / 0 is an infinity with the signs of x and 0 multiplied, and 0 / 0 is NaN."""
    if y == 0:
        return math.nan if x == 0 else x * math.copysign(math.inf, y)
    return x / y


def raised(function: Callable[[float], float], overflow: float = math.nan) -> Callable[[float], float]:
    """A function that answers where Python's raises: NaN outside of its domain, and what is beyond the largest double."""

    def answer(x: float) -> float:
        try:
            return function(x)
        except ValueError:
            return math.nan
        except OverflowError:
            return overflow

    return answer
