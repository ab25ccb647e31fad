"""The interpreter: a graph computed node by node with NumPy; the oracle of all that runs graphs faster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import erf
from typing import Any

import numpy as np

from fastdl._kernels.quiet import Quiet
from fastdl.errors import InvalidValueError
from fastdl.graph.graph import Graph, Node
from fastdl.graph.size import factors, numbers
from fastdl.graph.ufuncs import ALL, EXTREMES, SPECIAL
from fastdl.graph.value import Value

# What computes an operation: a function of the node, the numbers of symbols and the inputs' arrays.
COMPUTE: dict[str, Callable[..., Any]] = {}


class Symbols(dict[str, int]):
    """What symbols stand for in a run, and what its layers and losses keep for backward, by their nodes' numbers."""

    def __init__(self, values: Mapping[str, int], moves: bool = False) -> None:
        super().__init__(values)
        self.kept: dict[Any, Any] = {}
        # Whether layers move their running statistics, and modules in Python add to the gradients of their parameters.
        self.moves, self.adds = moves, True


def run(graph: Graph, outputs: Sequence[Value], inputs: Mapping[str, Any]) -> list[Any]:
    """The arrays of some values of a graph.

    Args:
        graph: the graph.
        outputs: the values.
        inputs: arrays by the inputs' names; those that share a symbol agree in its size.
    """
    wanted = needed(graph, [value.number for value in outputs])
    values = Symbols(symbols_of(graph, inputs))
    arrays: dict[int, Any] = {}
    with Quiet(all="ignore"):
        for number in sorted(wanted):
            node = graph.nodes[number]
            if node.operation == "input":
                array = np.asarray(inputs[node.attributes["name"]])
            elif node.operation == "parameter":
                array = graph.parameters[number]._data
            else:
                array = computed(node, values, [arrays[each] for each in node.inputs])
            arrays[number] = np.asarray(array, dtype=node.dtype)
    return [arrays[value.number] for value in outputs]


def failure(operation: str, line: str) -> Exception:
    """The error where an operation failed: an index is out of range, or there is no element to find an extreme among."""
    if operation in EXTREMES:
        return InvalidValueError(f"{line}: np.{operation}", "at least one element", "none")
    return IndexError(f"{line}: expected indices within the axis that they index, got others")


def computed(node: Node, values: Symbols, inputs: Sequence[Any]) -> Any:
    """What a node comes to for these inputs."""
    try:
        return COMPUTE[node.operation](node, values, *inputs)
    except IndexError:
        if node.operation == "python":
            raise
        raise failure(node.operation, node.line) from None
    except ValueError:
        if node.operation not in EXTREMES or inputs[0].size:
            raise
        raise failure(node.operation, node.line) from None


def first_not_finite(graph: Graph, outputs: Sequence[Value], inputs: Mapping[str, Any]) -> tuple[str, str] | None:
    """The operation and the user's line of the first value among those that the outputs need that is not finite."""
    values = [
        Value(graph, n, graph.nodes[n].shape, graph.nodes[n].dtype, frozenset())
        for n in sorted(needed(graph, [value.number for value in outputs]))
    ]
    for value, array in zip(values, run(graph, values, inputs), strict=True):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            node = graph.nodes[value.number]
            return node.operation, node.line
    return None


def needed(graph: Graph, these: Sequence[int]) -> set[int]:
    """The nodes that these depend on, and themselves, by their numbers."""
    found: set[int] = set()
    waiting = list(these)
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting += graph.nodes[number].inputs
    return found


def symbols_of(graph: Graph, inputs: Mapping[str, Any]) -> dict[str, int]:
    """What each symbol of the inputs' shapes stands for."""
    values: dict[str, int] = {}
    for node in graph.nodes:
        if node.operation != "input":
            continue
        name = node.attributes["name"]
        array = np.asarray(inputs[name])
        if array.ndim != len(node.shape):
            raise InvalidValueError(f"graph: {name}", f"{len(node.shape)} axes", f"shape {array.shape}")
        for size, given in zip(node.shape, array.shape, strict=True):
            count, symbols = factors(size)
            if len(symbols) > 1 or given % max(1, count):
                raise InvalidValueError(f"graph: {name}", f"a multiple of {size} along an axis", str(given))
            found = values.setdefault(symbols[0], given // count) * count if symbols else count
            if found != given:
                raise InvalidValueError(f"graph: {name}", f"shape {node.shape}", array.shape)
    return values


def computes(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter what computes these operations."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        COMPUTE.update(dict.fromkeys(names, function))
        return function

    return enter


def _ufunc(name: str) -> Callable[..., Any]:
    ufunc = getattr(np, name)
    return lambda node, values, *arrays: ufunc(*arrays)


def _reduction(name: str) -> Callable[..., Any]:
    function = getattr(np, name)
    return lambda node, values, x: function(x, axis=node.attributes["axes"], keepdims=True)


COMPUTE |= {name: _ufunc(name) for name in ALL if name not in SPECIAL}
COMPUTE |= {name: _reduction(name) for name in ("sum", "prod", "max", "min", "any", "all")}
COMPUTE |= {
    "erf": lambda node, values, x: np.reshape([erf(each) for each in x.ravel()], x.shape),
    "constant": lambda node, values: node.attributes["array"],
    "size": lambda node, values: numbers((node.attributes["of"],), values)[0],
    "where": lambda node, values, c, x, y: np.where(c, x, y),
    "cast": lambda node, values, x: x,
    "stop_gradient": lambda node, values, x: x,
    "alias": lambda node, values, x: x,
    "given_slope": lambda node, values, y, *_: y,
    "broadcast_to": lambda node, values, x: np.broadcast_to(x, numbers(node.shape, values)),
    "reshape": lambda node, values, x: np.reshape(x, numbers(node.shape, values)),
    "transpose": lambda node, values, x: np.transpose(x, node.attributes["axes"]),
    "concatenate": lambda node, values, *arrays: np.concatenate(arrays, node.attributes["axis"]),
    "cumsum": lambda node, values, x: np.cumsum(x, node.attributes["axis"]),
    "matmul": lambda node, values, a, b: np.matmul(a, b),
    "take_along": lambda node, values, x, index: np.take_along_axis(x, index, node.attributes["axis"]),
    "take": lambda node, values, x, index: np.take(x, index, node.attributes["axis"]),
    "argsort": lambda node, values, x: np.argsort(x, node.attributes["axis"], kind="stable"),
    "cut": lambda node, values, x: x[_slices(node, values)],
}


@computes("argmax", "argmin")
def _(node: Node, values: Any, x: Any) -> Any:
    (axis,) = node.attributes["axes"]
    return getattr(np, node.operation)(x, axis=axis, keepdims=True)


@computes("put")
def _(node: Node, values: Any, x: Any) -> Any:
    found = np.zeros(numbers(node.shape, values), x.dtype)
    found[_slices(node, values)] = x
    return found


@computes("put_along")
def _(node: Node, values: Any, x: Any, index: Any) -> Any:
    found, axis = np.zeros(numbers(node.shape, values), x.dtype), node.attributes["axis"]
    shape = np.broadcast_shapes(x.shape, index.shape)
    places = list(np.indices(shape, sparse=True))
    places[axis] = np.broadcast_to(index, shape)
    np.add.at(found, tuple(places), np.broadcast_to(x, shape))
    return found


@computes("put_taken")
def _(node: Node, values: Any, x: Any, index: Any) -> Any:
    found, axis = np.zeros(numbers(node.shape, values), x.dtype), node.attributes["axis"]
    np.add.at(found, (*[slice(None)] * axis, index), x)
    return found


def _slices(node: Node, values: dict[str, int]) -> tuple[slice, ...]:
    def number(end: Any) -> int | None:
        return None if end is None else numbers((end,), values)[0]

    return tuple(slice(number(start), number(stop), step) for start, stop, step in node.attributes["slices"])
