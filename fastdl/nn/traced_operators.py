"""NumPy's operators, functions and methods on parameters and buffers in traced code, where they are values of the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl.errors import InvalidTypeError
from fastdl.graph.value import METHODS, current, traced_into

REVERSED = (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "divmod", "matmul"),
    *("and", "or", "xor", "lshift", "rshift"),
)
IN_PLACE = [name for name in REVERSED if name != "divmod"]
OPERATORS = (*REVERSED, "lt", "le", "gt", "ge")


class TracedOperators:
    """What lets a parameter or a buffer stand in traced code; outside of it, `data` is the array."""

    __slots__ = ()
    _data: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the values."""
        return self._data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the values."""
        return self._data.dtype

    @property
    def size(self) -> int:
        """The number of values."""
        return self._data.size

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return _value(self).__array_ufunc__(ufunc, method, *map(_traced, inputs), **options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _value(self).__array_function__(function, types, _traced(args), _traced(kwargs))

    def __getitem__(self, index: Any) -> Any:
        return _value(self)[index]

    def __len__(self) -> int:
        return len(self._data) if self._data.ndim else len(_value(self))

    def __iter__(self) -> Any:
        return iter(_value(self))

    def __contains__(self, element: Any) -> bool:
        return element in _value(self)

    def __bool__(self) -> bool:
        return traced_into(self) is None or bool(_value(self))

    def __neg__(self) -> Any:
        return -_value(self)

    def __pos__(self) -> Any:
        return +_value(self)

    def __invert__(self) -> Any:
        return ~_value(self)

    def __round__(self, decimals: int = 0) -> Any:
        return round(_value(self), decimals)

    def __abs__(self) -> Any:
        return abs(_value(self))


def _value(parameter: Any) -> Any:
    """The parameter in the graph that is traced."""
    if current.graph is None:
        kind = type(parameter).__name__
        raise InvalidTypeError(
            kind, "traced code for NumPy's functions on it", "a call outside of a trace", f"write {kind.lower()}.data"
        )
    return current.graph.parameter(parameter)


def detached(graph: Any, parameter: Any) -> Any:
    """The values of a parameter in a graph, which no gradient goes through."""
    from fastdl.graph.operations import stop_gradient

    return stop_gradient(graph.parameter(parameter))


def traced(given: Any) -> Any:
    """What was given, or its value in traced code where it is a parameter or a buffer."""
    return _value(given) if isinstance(given, TracedOperators) and current.graph is not None else given


def _traced(given: Any) -> Any:
    """Arguments with values in the place of parameters."""
    if isinstance(given, TracedOperators):
        return _value(given)
    if isinstance(given, (tuple, list)):
        return type(given)([_traced(each) for each in given])
    return {key: _traced(each) for key, each in given.items()} if isinstance(given, dict) else given


def _operator(name: str) -> Any:
    def operate(self: Any, other: Any) -> Any:
        return getattr(_value(self), name)(_traced(other))

    operate.__name__ = name
    return operate


class _InTraces:
    """An attribute of the parameter's value; there is none outside of a trace."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, parameter: Any, kind: Any) -> Any:
        if parameter is None:
            return self
        if current.graph is None:
            raise AttributeError(f"{type(parameter).__name__!r} object has no attribute {self.name!r}")
        return getattr(_value(parameter), self.name)


for _name in ("T", "ndim", "copy", *METHODS):
    setattr(TracedOperators, _name, _InTraces(_name))
for _name in OPERATORS:
    setattr(TracedOperators, f"__{_name}__", _operator(f"__{_name}__"))
for _name in IN_PLACE:
    setattr(TracedOperators, f"__i{_name}__", _operator(f"__i{_name}__"))
for _name in REVERSED:
    setattr(TracedOperators, f"__r{_name}__", _operator(f"__r{_name}__"))
