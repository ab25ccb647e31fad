"""A graph's content, by which two traces of models of one structure are known to be alike, whatever their weights are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastdl.graph.graph import Graph
from fastdl.graph.layers import LayerRecord, LossRecord
from fastdl.graph.registered import Registered
from fastdl.graph.size import Size

# Modules in Python are called by what is planned, and second derivatives of layers are what their modules say.
_OF_MODULES = frozenset({"python", "layer_backward", "layer_gradient", "loss_backward"})
# The most bytes of a graph's constants, which its content holds copies of.
MOST_BYTES = 2**16


class _UnknownError(Exception):
    """Something that has no content."""


def content(graph: Graph) -> Any:
    """What two graphs have in common that are planned alike, to be compared and hashed; None where there is no telling.

    That is a graph's operations with their attributes, shapes and lines, and which parameters, buffers and modules are the same,
    but neither whose they are nor what they hold.
    """
    numbers: dict[int, int] = {}

    def number_of(thing: Any) -> int:
        """The number of a module or an array among those that the graph names."""
        return numbers.setdefault(id(thing), len(numbers))

    nodes: list[Any] = []
    left = MOST_BYTES
    for operation, inputs, attributes, shape, dtype, line in graph.nodes:
        if operation in _OF_MODULES:
            return None
        if operation == "constant":
            left -= attributes["array"].nbytes
            if left < 0:
                return None
        try:
            own = [(name, _plain(attributes[name], number_of)) for name in sorted(attributes)] if attributes else ()
        except _UnknownError:
            return None
        nodes.append((operation, inputs, _sizes(shape), dtype.char, line, *own))
    leaves = [
        (number, type(leaf), number_of(leaf.module) if isinstance(leaf, Registered) else None)
        for number, leaf in graph.parameters.items()
    ]
    updates = [(number, value.number) for number, value in graph.updates.items()]
    whole = graph.dtype.char, graph.capacity, graph.draws
    return whole, tuple(nodes), tuple(leaves), tuple(updates), tuple(sorted(graph.cut))


def _sizes(shape: Any) -> Any:
    """A shape whose open sizes may be compared with others."""
    for size in shape:
        if type(size) is not int:
            return tuple([size if type(size) is int else (size.count, size.symbols) for size in shape])
    return shape


def _plain(value: Any, number_of: Callable[[Any], int]) -> Any:
    """What is equal for equal things, to be hashed."""
    kind = type(value)
    if kind in (int, str, bool) or value is None:
        return value
    if kind is float:
        return repr(value)  # 0.0 and -0.0 are two numbers, and NaN is one
    if kind in (tuple, list):
        return tuple([_plain(each, number_of) for each in value])
    if kind is dict:
        return tuple([(name, _plain(value[name], number_of)) for name in sorted(value)])
    if kind is Size:
        return Size, value.count, value.symbols
    if kind is np.ndarray:
        return value.dtype.str, value.shape, value.tobytes()
    if kind is LayerRecord:
        return _of_layer(value, number_of)
    if kind is LossRecord:
        arrays = [_plain(each, number_of) for each in (value.weight, value.pos_weight)]
        options = value.attributes, value.samples, value.losses, value.mean, value.batchmean
        return value.descriptor.name, type(value.module), *arrays, _plain(options, number_of)
    if isinstance(value, np.generic):
        return value.dtype.str, value.tobytes()
    raise _UnknownError


def _of_layer(record: LayerRecord, number_of: Callable[[Any], int]) -> Any:
    there = [name for name, parameter in record.parameters.items() if parameter is not None]
    buffers = [(name, None if each is None else number_of(each)) for name, each in record.buffers.items()]
    facts = record.attributes, record.saved, record.activation, record.samples, record.weights_given
    module = type(record.module), number_of(record.module)
    return record.descriptor.name, *module, *there, *buffers, record.shapes, _plain(facts, number_of)
