"""Cells as numbers: with a decimal point or comma, with grouped thousands, and exactly where they are labels."""

from __future__ import annotations

import re
from decimal import Decimal

import numpy as np

from fastdl.casting import cast

DECIMALS = (".", ",")
# A whole number in digits alone.
WHOLE = re.compile(r"\s*[+-]?[0-9]+\s*")
# By the decimal mark: a number whose thousands are grouped by the other mark.
GROUPED = {
    ".": re.compile(r"\s*[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?\s*"),
    ",": re.compile(r"\s*[+-]?[0-9]{1,3}(\.[0-9]{3})+(,[0-9]*)?\s*"),
}
# More digits than a finite float64 has in front of its point.
LONGEST = 400
COMMA = re.compile(r"\s*[+-]?([0-9]+,[0-9]+|,[0-9]+)([eE][+-]?[0-9]+)?\s*")


def number(cell: str, decimal: str = ".", grouped: bool = False) -> float | None:
    """The number that a cell spells, NaN and infinity included; None where it spells none.

    Args:
        cell: the text.
        decimal: "." or ",".
        grouped: whether the other mark may group thousands.

    Example:
        >>> number(" 1e3 "), number("1_000"), number(""), number("2,5", ","), number("1,234.5", grouped=True)
        (1000.0, None, None, 2.5, 1234.5)
    """
    spelled = pointed(cell, decimal, grouped)
    try:
        return None if spelled is None or "_" in spelled or not spelled.isascii() else float(spelled)
    except ValueError:
        return None


def pointed(cell: str, decimal: str, grouped: bool) -> str | None:
    """A cell with a decimal point and without groups, as Python spells numbers; None where it is no number."""
    if decimal == "." and "," not in cell:
        return cell
    if grouped and GROUPED[decimal].fullmatch(cell):
        cell = cell.replace("," if decimal == "." else ".", "")
    if decimal == ".":
        return None if "," in cell else cell
    if "." in cell:
        return None
    return cell.replace(",", ".")


def exactly(cell: str) -> str:
    """The one spelling of a finite number, whatever its size: 1, 1.0 and 01 are one, 2**53 and 2**53 + 1 are two.

    Example:
        >>> exactly("01.0"), exactly("9007199254740993"), exactly("2.50"), exactly("1e3")
        ('1', '9007199254740993', '2.5', '1000')
    """
    if WHOLE.fullmatch(cell):
        digits = cell.strip().lstrip("+-").lstrip("0") or "0"
        return f"-{digits}" if cell.strip()[0] == "-" and digits != "0" else digits
    value, exact = float(cell), Decimal(cell)
    if not exact:
        return "0"
    if exact == exact.to_integral_value() and exact.adjusted() < LONGEST:
        return str(int(exact))
    return repr(value) if Decimal(repr(value)) == exact else _shortest(exact)


def _shortest(exact: Decimal) -> str:
    sign, digits, exponent = exact.as_tuple()
    assert isinstance(exponent, int)
    while len(digits) > 1 and digits[-1] == 0:
        digits, exponent = digits[:-1], exponent + 1
    return str(Decimal((sign, digits, exponent)))


def finite_as(values: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, tuple[int, int] | None]:
    """A matrix in another dtype, and row and column of its first value that is not finite in that."""
    result = cast(values, dtype)
    finite = np.isfinite(result)
    if finite.all():
        return result, None
    row, column = divmod(int(finite.argmin()), finite.shape[1])
    return result, (row, column)


def rounded_whole(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The places (row, column) of whole numbers beyond 2**24 that float32 rounds; none for float64, which read them."""
    if dtype == np.float64 or not values.size:
        return np.empty((0, 2), np.int64)
    limit = 2.0 ** (np.finfo(dtype).nmant + 1)
    large = np.abs(values) > limit
    if not large.any():
        return np.empty((0, 2), np.int64)
    wrong = large & (values == np.floor(values)) & (cast(values, dtype).astype(np.float64) != values)
    return np.argwhere(wrong)


def sorted_by_value(spelled: set[str]) -> list[str]:
    """Spellings of numbers from the smallest to the largest, compared exactly."""
    return sorted(spelled, key=Decimal)
