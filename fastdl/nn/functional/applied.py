"""Layers as functions: of arrays, or of traced values with a node in their graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph import layers
from fastdl.graph import operations as op
from fastdl.graph.size import Size
from fastdl.graph.value import Value, where
from fastdl.nn.buffer import Buffer
from fastdl.nn.grad_mode import no_grad
from fastdl.nn.layer import Layer
from fastdl.nn.parameter import Parameter
from fastdl.nn.traced_operators import traced


def applied(layer: Any, x: Any) -> Any:
    """A layer without parameters, of an array or of traced values of any shape."""
    x = array_or_value(x)
    if isinstance(x, Value):
        if x.ndim:
            return layer(x)
        return op.reshape(layer(op.reshape(x, (1,))), ())
    with no_grad():
        return layer(x)


def applied_with(layer: Layer, x: Any, weights: dict[str, Any]) -> Any:
    """A layer with given weights, of an array or of traced values.

    Args:
        layer: has no parameters of its own but those that are given here.
        x: its input.
        weights: the layer's parameters by their attributes: arrays or traced values, or None where there is none.
    """
    given = {name: value for name, value in weights.items() if value is not None}
    if not any(isinstance(each, Value) for each in (x, *given.values())):
        for name, value in given.items():
            setattr(layer, name, Parameter(value, requires_grad=False))
        with no_grad():
            return layer(x)
    graph = op.graph_of(x, *given.values())
    values = [op.cast(op.as_value(graph, value), graph.dtype) for value in given.values()]
    for name, value in zip(given, values, strict=True):
        wanted = getattr(layer, name).shape
        if value.shape != wanted:
            raise InvalidValueError(f"{where()}: {type(layer).__name__}", f"a {name} of shape {wanted}", str(value))
    return layers.layer(layer, op.as_value(graph, x), values)


def array_or_value(given: Any) -> Any:
    """An argument as an array or a traced value."""
    given = traced(given)
    if isinstance(given, Value):
        return given
    return given.data if isinstance(given, (Parameter, Buffer)) else np.asarray(given)


def as_weight(given: Any, name: str, owner: str) -> Any:
    """Weights as a floating array or a traced value, whose sizes are fixed; None as it is."""
    if given is None:
        return None
    found = array_or_value(given)
    if isinstance(found, Value) and any(isinstance(size, Size) for size in found.shape):
        raise InvalidValueError(f"{where()}: {owner}", f"a {name} of fixed sizes", str(found))
    if found.dtype.kind != "f":
        raise InvalidTypeError(owner, "float32 or float64 values", f"dtype {found.dtype}", argument=name)
    return found
