"""Sizes of axes that a trace leaves open: an integer times symbols, such as N, the number of samples."""

from __future__ import annotations

from math import prod
from typing import Any, TypeAlias

Dimension: TypeAlias = "int | Size"
Shape: TypeAlias = tuple[Dimension, ...]


class ObservedSizeError(Exception):
    """Raised where traced code asks for the number that a symbol stands for; a trace for that number alone follows."""

    def __init__(self, symbols: tuple[str, ...]) -> None:
        super().__init__(f"the trace asks for the number of {' '.join(symbols)}")
        self.symbols = symbols


class Size:
    """`count` times the product of some symbols, of which each stands for any number of elements.

    Products and exact quotients are sizes again, and a size equals itself. Whatever else is asked of it (a comparison with a
    number, `range`, a sum) needs the number, and raises ObservedSizeError.

    Example:
        >>> n = Size(1, ("N",))
        >>> 6 * n // 2, n == n
        (3 N, True)
    """

    __slots__ = ("count", "symbols")

    def __init__(self, count: int, symbols: tuple[str, ...]) -> None:
        self.count, self.symbols = count, tuple(sorted(symbols))

    def __repr__(self) -> str:
        return " ".join([str(self.count)] * (self.count != 1) + list(self.symbols))

    def __hash__(self) -> int:
        return hash((self.count, self.symbols))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Size) and (self.count, self.symbols) == (other.count, other.symbols):
            return True
        if isinstance(other, (int, Size)):
            self._observed()
        return NotImplemented

    def __mul__(self, other: Any) -> Dimension:
        if isinstance(other, Size):
            return Size(self.count * other.count, self.symbols + other.symbols)
        if isinstance(other, int):
            return Size(self.count * other, self.symbols) if other else 0
        return NotImplemented

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Dimension:
        quotient = divided(self, other)
        if quotient is None:
            self._observed()
        return quotient  # pyright: ignore[reportReturnType]

    def __rfloordiv__(self, other: Any) -> Any:
        return self._observed()

    def _observed(self, *_: Any) -> Any:
        raise ObservedSizeError(self.symbols)

    __index__ = __int__ = __float__ = __bool__ = __neg__ = _observed
    __add__ = __radd__ = __sub__ = __rsub__ = __mod__ = __rmod__ = __truediv__ = __rtruediv__ = __pow__ = _observed
    __lt__ = __le__ = __gt__ = __ge__ = _observed


def divided(size: Dimension, divisor: Any) -> Dimension | None:
    """The exact quotient of two sizes, else None."""
    if not isinstance(divisor, (int, Size)) or is_zero(divisor):
        return None
    count, symbols = factors(size)
    by, fewer = factors(divisor)
    left = list(symbols)
    for symbol in fewer:
        if symbol not in left:
            return None
        left.remove(symbol)
    return None if count % by else sized(count // by, tuple(left))


def factors(size: Dimension) -> tuple[int, tuple[str, ...]]:
    """The number and the symbols of a size."""
    if type(size) is int:
        return size, ()
    return (size.count, size.symbols) if isinstance(size, Size) else (int(size), ())


def sized(count: int, symbols: tuple[str, ...]) -> Dimension:
    """A size of these factors: a plain number where there are no symbols."""
    return Size(count, symbols) if symbols and count else count


def is_zero(size: Dimension) -> bool:
    """Whether this is the number 0; symbols stand for other numbers."""
    return not isinstance(size, Size) and size == 0


def same(one: Dimension, other: Dimension) -> bool:
    """Whether two sizes are known to be equal, without asking for a number."""
    if one is other:
        return True
    if type(one) is int and type(other) is int:
        return one == other
    return factors(one) == factors(other)


def same_shape(one: Shape, other: Shape) -> bool:
    """Whether two shapes are known to be equal."""
    return one is other or (len(one) == len(other) and all(map(same, one, other)))


def total(shape: Shape) -> Dimension:
    """The number of elements of a shape."""
    found = [factors(size) for size in shape]
    return sized(prod(count for count, _ in found), tuple(symbol for _, symbols in found for symbol in symbols))


def spelled(shape: Shape) -> str:
    """A shape as a tuple is spelled, with the symbols of open sizes."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def numbers(shape: Shape, values: dict[str, int]) -> tuple[int, ...]:
    """A shape with numbers for its symbols."""
    return tuple([size if type(size) is int else _number(*factors(size), values) for size in shape])


def _number(count: int, symbols: tuple[str, ...], values: dict[str, int]) -> int:
    return count * prod([values[symbol] for symbol in symbols])
