"""Purity: a trace stands for all later calls, so what is traced has to compute the same each time and change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np

from fastdl._kernels.watch import as_read
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph.graph import Graph, Node
from fastdl.graph.size import Size, same_shape
from fastdl.graph.value import Value, last_line

_ABSENT: Any = object()
# A trace is made so often at most, until two in a row agree.
MOST_TRACES = 3
# Kinds whose objects are compared by value: a number that is computed anew may be the same.
PLAIN = (int, float, complex, str, bytes, bool, type(None), np.generic)


def traced_alike(trace: Callable[[], tuple[Graph, Any]], modules: Iterable[Any], passing: frozenset[str]) -> Any:
    """What a trace gives, which is made twice and compared; attributes of modules are as they were.

    Args:
        trace: makes a trace, and returns its graph and anything else.
        modules: those that it may run.
        passing: names of attributes that may change.

    Raises:
        ValueError: if the traces differ, with the line.
        TypeError: if a module's attribute is another, or a traced value.
    """
    held = [(module, dict(vars(module))) for module in modules]
    latest: list[tuple[Graph, Any]] = []
    changes: list[tuple[Any, str, Any]] = []
    difference: InvalidValueError | None = None
    # Once more, where another thread or a signal handler may have changed the model between the first two.
    for _ in range(MOST_TRACES):
        try:
            latest.append(trace())
        except RecursionError as error:
            expected = "calls in modules that come to an end"
            line = last_line(error)
            raise InvalidValueError(line, expected, "more of them one in another than Python allows") from None
        finally:
            changes = list(_changes(held, passing))
            _put_back(changes, held)
        if changes:
            break
        if len(latest) > 1:
            difference = _difference(latest[-2][0], latest[-1][0])
            if difference is None:
                break
    if changes:
        module, name, value = changes[0]
        what = "a traced value" if isinstance(value, Value) else "another value"
        raise InvalidTypeError(
            f"{type(module).__name__}.forward",
            "to leave the module's attributes as they are",
            f"{what} in {name}",
            "return what is computed, or set traced = False",
        )
    if difference is not None:
        raise difference
    return latest[-1][1]


def _put_back(changes: list[tuple[Any, str, Any]], held: list[tuple[Any, dict[str, Any]]]) -> None:
    """Let attributes that a trace has changed be what they were."""
    before = {id(module): attributes for module, attributes in held}
    for module, name, _ in changes:
        if name in before[id(module)]:
            vars(module)[name] = before[id(module)][name]
        else:
            vars(module).pop(name, None)


def _changes(held: list[tuple[Any, dict[str, Any]]], passing: frozenset[str]) -> Iterator[tuple[Any, str, Any]]:
    """The attributes that are others than before; modules, parameters and modes are changed by others than a trace."""
    for module, before in held:
        for name, value in dict(vars(module)).items():
            was = before.get(name, _ABSENT)
            part = hasattr(value, "_forward_only") or hasattr(value, "_requires_grad")
            if name not in passing and name != "training" and not part and was is not value and not same(was, value):
                yield module, name, value


def _difference(one: Graph, other: Graph) -> InvalidValueError | None:
    """The error of two traces that differ."""
    for node, again in zip(one.nodes, other.nodes, strict=False):
        if not _alike(node, again):
            return _error(node, again)
    if len(one.nodes) != len(other.nodes):
        longer = one if len(one.nodes) > len(other.nodes) else other
        return _error(longer.nodes[min(len(one.nodes), len(other.nodes))], None)
    for number in one.updates.keys() ^ other.updates.keys():
        return _error(one.nodes[number], None)
    return None


def _error(node: Node, again: Node | None) -> InvalidValueError:
    got = (
        node.operation
        if again is None or again.operation == node.operation
        else f"{node.operation}, then {again.operation}"
    )
    return InvalidValueError(
        f"{node.line}: traced code",
        "to compute the same each time",
        f"another {got}" if again is not None and again.operation == node.operation else got,
        "let numbers that change from step to step be inputs or nn.Scalar, and draw random ones by nn.functional.normal_like",
    )


def _alike(one: Node, other: Node) -> bool:
    if (one.operation, one.inputs, one.dtype, len(one.shape)) != (
        other.operation,
        other.inputs,
        other.dtype,
        len(other.shape),
    ):
        return False
    if not same_shape(one.shape, other.shape):
        return False
    if not one.attributes:
        return not other.attributes
    return one.attributes.keys() == other.attributes.keys() and all(
        same(value, other.attributes[name]) for name, value in one.attributes.items()
    )


def same(one: Any, other: Any) -> bool:
    """Whether two things that a trace holds are equal, arrays by value."""
    if one is other:
        return True
    if isinstance(one, Size) or isinstance(other, Size):
        return (
            isinstance(one, Size)
            and isinstance(other, Size)
            and (one.count, one.symbols) == (other.count, other.symbols)
        )
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    facts: Any = getattr(one, "facts", None)
    if facts is not None and type(one) is type(other):
        return same(facts(), other.facts())
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, PLAIN) and (one == other or one != one)


class Surroundings:
    """What some functions read of their module's globals and of closures: numbers by value, others by identity."""

    def __init__(self, functions: Iterable[Any]) -> None:
        self._read = [(place, name, place.get(name, _ABSENT)) for place, name in _globals(functions)]
        self._cells = [(cell, _content(cell)) for cell in _cells(functions)]

    @property
    def empty(self) -> bool:
        """Whether they read nothing."""
        return not (self._read or self._cells)

    def stand(self) -> bool:
        """Whether all is as it was."""
        if as_read(self._read, self._cells):
            return True
        for place, name, value in self._read:
            now = place.get(name, _ABSENT)
            if now is not value and not _unchanged(value, now):
                return False
        return not self._cells or all(_unchanged(value, _content(cell)) for cell, value in self._cells)


def _unchanged(before: Any, now: Any) -> bool:
    return before is now or (
        type(before) is type(now) and isinstance(before, PLAIN) and (before == now or before != before)
    )


def _functions(given: Iterable[Any]) -> Iterator[FunctionType]:
    for each in given:
        function = each.__func__ if isinstance(each, MethodType) else each
        if isinstance(function, FunctionType):
            yield function


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A function's code and that of functions in it."""
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _codes(each)


def _globals(functions: Iterable[Any]) -> list[tuple[dict[str, Any], str]]:
    return [
        (function.__globals__, name)
        for function in _functions(functions)
        for code in _codes(function.__code__)
        for name in code.co_names
        if name in function.__globals__
    ]


def _cells(functions: Iterable[Any]) -> list[Any]:
    return [cell for function in _functions(functions) for cell in function.__closure__ or ()]


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet set
        return _ABSENT
