"""Purity: a trace stands for all later calls, so what is traced has to compute the same each time and change nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph.graph import Graph, Node
from fastdl.graph.size import Size, same_shape
from fastdl.graph.surroundings import unchanged
from fastdl.graph.value import Value, last_line

_ABSENT: Any = object()
# A trace is made so often at most, until two in a row agree.
MOST_TRACES = 3
# The most bytes of an array in an attribute that is looked at for changes.
MOST_BYTES = 2**16


def traced_alike(
    trace: Callable[[Graph | None], tuple[Graph, Any]], modules: Sequence[Any], passing: frozenset[str]
) -> Any:
    """What a trace gives, which is made twice and compared; attributes of modules are as they were.

    Args:
        trace: makes a trace, given the graph of the one before, and returns its graph and anything else.
        modules: those that it goes through; a part that runs in Python may change in another thread meanwhile.
        passing: names of attributes that may change.

    Raises:
        ValueError: if the traces differ, with the line.
        TypeError: if a module's attribute is another, or a traced value.
    """
    held = _Attributes(modules, passing)
    latest: list[tuple[Graph, Any]] = []
    difference: InvalidValueError | None = None
    # Once more, where another thread or a signal handler may have changed the model between the first two.
    for _ in range(MOST_TRACES):
        try:
            latest.append(trace(latest[-1][0] if latest else None))
        except RecursionError as error:
            expected = "calls in modules that come to an end"
            line = last_line(error)
            raise InvalidValueError(line, expected, "more of them one in another than Python allows") from None
        finally:
            for graph, _ in latest[:-1]:
                graph.end()
            change = held.first_change()
            held.put_back()
        if change is not None:
            module, name, what = change
            raise InvalidTypeError(
                f"{type(module).__name__}.forward",
                "to leave the module's attributes as they are",
                f"{what} in {name}",
                "return what is computed, or set traced = False",
            )
        if len(latest) > 1:
            difference = _difference(latest[-2][0], latest[-1][0])
            if difference is None:
                break
    if difference is not None:
        raise difference
    return latest[-1][1]


class _Attributes:
    """What the attributes of modules hold, and lists, dictionaries, sets and small arrays in these.

    Modules, parameters and modes may be changed by others than a trace: what a trace alone does, it does each time.
    """

    def __init__(self, modules: Sequence[Any], passing: frozenset[str]) -> None:
        self._modules, self._passing = modules, {*passing, "training"}
        self._before = [dict(vars(module)) for module in modules]
        self._contents = [
            (module, name, value, value.copy())
            for module, own in zip(modules, self._before, strict=True)
            for name, value in own.items()
            if (type(value) in (list, dict, set) or (type(value) is np.ndarray and value.nbytes <= MOST_BYTES))
            and name not in self._passing
            and name not in module._buffer_names  # values in a trace, which others may write to
        ]
        # The parts that the trace before has put in attributes, and those that were there then.
        self._parts: set[tuple[int, str]] = set()
        self._latest = self._before

    def first_change(self) -> tuple[Any, str, str] | None:
        """The first attribute that is another than before, with words for what it is; None where there is none."""
        now, parts = [dict(vars(module)) for module in self._modules], set[tuple[int, str]]()
        for module, before, latest, own in zip(self._modules, self._before, self._latest, now, strict=True):
            for name, value in own.items():
                if name in self._passing:
                    continue
                was = before.get(name, _ABSENT)
                if _is_part(value):
                    if latest.get(name, _ABSENT) is not value:
                        parts.add((id(module), name))
                        if (id(module), name) in self._parts:
                            return module, name, f"another {type(value).__name__}"
                elif was is not value and not same(was, value):
                    return module, name, _spelled(value)
            for name in before.keys() - own.keys() - self._passing:
                if not _is_part(before[name]):
                    return module, name, "nothing"
        self._parts, self._latest = parts, now
        for module, name, value, content in self._contents:
            if not _holds(value, content):
                more = [each for each in _inside(value) if type(each) is Value] if type(value) is not np.ndarray else []
                return module, name, _spelled(more[0]) if more else "other contents"
        return None

    def put_back(self) -> None:
        """Let the attributes be what they were, but for parts that a trace has not put there twice."""
        for module, before in zip(self._modules, self._before, strict=True):
            own = vars(module)
            for name, value in dict(own).items():
                was = before.get(name, _ABSENT)
                changed = was is not value and name not in self._passing
                if changed and (not _is_part(value) or (id(module), name) in self._parts):
                    if was is _ABSENT:
                        own.pop(name, None)
                    else:
                        own[name] = was
            for name in before.keys() - own.keys() - self._passing:
                if not _is_part(before[name]):
                    own[name] = before[name]
        for _, _, value, content in self._contents:
            if _holds(value, content):
                continue
            if isinstance(value, np.ndarray):
                value[...] = content
            else:
                value.clear()
                value.extend(content) if type(value) is list else value.update(content)


def _is_part(value: Any) -> bool:
    """Whether something is a module, a parameter or a buffer."""
    return hasattr(value, "_forward_only") or hasattr(value, "_requires_grad")


def _spelled(value: Any) -> str:
    return "a traced value" if isinstance(value, Value) else "another value"


def _inside(container: Any) -> list[Any]:
    return [*container.keys(), *container.values()] if type(container) is dict else [*container]


def _holds(container: Any, content: Any) -> bool:
    """Whether a list, dictionary, set or array holds what it held."""
    if type(container) is np.ndarray:
        return same(container, content)
    inside, before = [*map(id, _inside(container))], [*map(id, _inside(content))]
    return set(inside) == set(before) if type(container) is set else inside == before


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
    return unchanged(one, other)
