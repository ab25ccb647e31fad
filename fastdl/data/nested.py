"""Nested: several arrays with one row a sample each, as a tuple or a dictionary of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastdl.errors import InvalidTypeError, InvalidValueError


class Nested:
    """Arrays with rows in a tuple or dictionary, of which some rows are taken as of one array.

    Args:
        parts: the arrays, a tuple or a dictionary with strings as keys; tuples and dictionaries may hold others.

    Example:
        >>> both = Nested({"a": np.arange(3), "b": np.arange(6).reshape(3, 2)})
        >>> len(both), both[1:].parts["a"]
        (3, array([1, 2]))
    """

    def __init__(self, parts: Any) -> None:
        self.parts = parts

    def arrays(self) -> Iterator[tuple[str, Any]]:
        """The arrays by their place: the key, or the number; those of inner ones joined by dots."""
        yield from leaves(self.parts)

    def map(self, function: Callable[[Any], Any]) -> Any:
        """The same tuple or dictionary of what a function makes of each array."""
        return mapped(self.parts, function)

    def __len__(self) -> int:
        return len(next((array for _, array in self.arrays()), ()))

    def __getitem__(self, rows: Any) -> Nested:
        return Nested(self.map(lambda array: array[rows]))

    def copy(self) -> Nested:
        """The same with arrays of its own."""
        return Nested(self.map(lambda array: array.copy()))

    def refuse_unequal(self, owner: str) -> None:
        """An error where the arrays differ in their rows."""
        lengths = {name: len(array) for name, array in self.arrays()}
        if len(set(lengths.values())) > 1:
            raise InvalidValueError(owner, "arrays of as many rows each", lengths)


def forms(values: Any) -> Any:
    """The shapes and dtypes of arrays in dictionaries, as dictionaries; (None, None) for what is no array."""
    if isinstance(values, dict):
        return {name: forms(each) for name, each in values.items()}
    return getattr(values, "shape", None), getattr(values, "dtype", None)


def bare(value: Any) -> Any:
    """Several arrays as the tuple or dictionary that they are, None where there are none; anything else as it is."""
    if value is NO_TARGETS or (isinstance(value, Nested) and value.parts == ()):
        return None
    return value.parts if isinstance(value, Nested) else value


# The targets of a loss that has none.
NO_TARGETS = Nested(())


def form_of(value: Any) -> tuple[Any, ...]:
    """What rows are apart from their number: keys and places in their order, and each array's dtype and shape of a sample.

    Example:
        >>> form_of(Nested({"a": np.zeros((4, 3))}))
        (<class 'dict'>, ('a',), (((3,), dtype('float64')),))
    """
    if isinstance(value, Nested):
        value = value.parts
    if isinstance(value, dict):
        return dict, tuple(value), tuple([form_of(each) for each in value.values()])
    if isinstance(value, tuple):
        return type(value), tuple([form_of(each) for each in value])
    return value.shape[1:], value.dtype


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """What stands in tuples and dictionaries, by its place."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, f"{place}.{key}" if place else str(key))
    elif isinstance(value, tuple):
        for number, each in enumerate(value):
            yield from leaves(each, f"{place}.{number}" if place else str(number))
    else:
        yield place, value


def mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """The same tuples and dictionaries of what a function makes of what stands in them."""
    if isinstance(value, dict):
        return {key: mapped(each, function) for key, each in value.items()}
    if isinstance(value, tuple):
        found = [mapped(each, function) for each in value]
        return type(value)(*found) if hasattr(value, "_fields") else tuple(found)
    return function(value)


def is_nested(value: Any) -> bool:
    """Whether this is a dictionary, or a tuple of arrays, not rows of one array."""
    return (isinstance(value, dict) and len(value) > 0) or (
        isinstance(value, tuple) and len(value) > 0 and all(is_nested(each) or is_array(each) for each in value)
    )


def is_array(value: Any) -> bool:
    """Whether this is an array of some library, with axes."""
    return isinstance(value, Nested) or (hasattr(value, "__array__") and bool(np.ndim(value)))


def joined(parts: list[Any], owner: str, expected: str, rows: int | None = None) -> Any:
    """Arrays, or tuples and dictionaries of them, one behind the other.

    Where they come to so many `rows`, those that do not have a row for each are the latest.

    Raises:
        ValueError: if samples differ in shape, with these words.
    """
    if len(parts) == 1:
        return parts[0]

    def one(arrays: tuple[Any, ...]) -> Any:
        if rows is not None and (any(array.ndim == 0 for array in arrays) or sum(map(len, arrays)) != rows):
            return arrays[-1]
        for array in arrays[1:]:
            if array.shape[1:] != arrays[0].shape[1:]:
                raise InvalidValueError(owner, expected, f"samples of {arrays[0].shape[1:]} and of {array.shape[1:]}")
        return np.concatenate(arrays)

    columns = zip(*([array for _, array in leaves(part)] for part in parts), strict=True)
    whole = map(one, columns)
    return mapped(parts[0], lambda _: next(whole))


def call(model: Any, x: Any) -> Any:
    """A model's forward: a tuple gives its arguments, a dictionary those of these names."""
    if not isinstance(x, (tuple, dict)):
        return model(x)
    from inspect import signature

    places, names = (x, {}) if isinstance(x, tuple) else ((), x)
    try:
        signature(model.forward).bind(*places, **names)
    except TypeError:
        wanted = ", ".join(signature(model.forward).parameters)
        got = f"{len(x)}" if isinstance(x, tuple) else ", ".join(map(str, x))
        raise InvalidTypeError(f"{type(model).__name__}.forward", f"inputs for its arguments ({wanted})", got) from None
    return model(*places, **names)
