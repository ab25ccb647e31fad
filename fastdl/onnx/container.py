"""Containers: layers in a row, a sum, branches side by side, one body for several inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastdl import nn
from fastdl.errors import InvalidValueError
from fastdl.messages import shown
from fastdl.nn.container import concatenate
from fastdl.onnx.table import exports
from fastdl.onnx.writing import Value

if TYPE_CHECKING:
    from fastdl.onnx.writing import Writer


@exports(nn.Sequential)
def _(layer: nn.Sequential, graph: Writer, x: Value) -> Value:
    for name, each in layer.named_children():
        x = graph.through(each, x, name)
    return x


@exports(nn.Residual)
def _(layer: nn.Residual, graph: Writer, x: Value) -> Value:
    y = graph.through(layer.body, x, "body")
    around = x if layer.shortcut is None else graph.through(layer.shortcut, x, "shortcut")
    if y.array.shape != around.array.shape:
        layer.forward(x.array)  # it tells what is wrong
    return Value(graph.node("Add", y.name, around.name), y.array)


@exports(nn.Parallel)
def _(layer: nn.Parallel, graph: Writer, x: Value) -> Value:
    return _side_by_side(layer, graph, [graph.through(each, x, name) for name, each in layer.named_children()])


@exports(nn.Siamese)
def _(layer: nn.Siamese, graph: Writer, x: Value) -> Value:
    if x.array.ndim < 2:
        raise InvalidValueError("onnx.export", f"an input_shape of at least one axis for {shown(layer)}", "none")
    outputs = []
    for number in range(x.array.shape[1]):
        part = Value(
            graph.node("Gather", x.name, graph.integers(number), axis=1), np.ascontiguousarray(x.array[:, number])
        )
        outputs.append(graph.through(layer.body, part, "body"))
    return _side_by_side(layer, graph, outputs)


def _side_by_side(layer: nn.Parallel | nn.Siamese, graph: Writer, outputs: list[Value]) -> Value:
    y = concatenate([output.array for output in outputs], layer)
    return Value(graph.node("Concat", *[output.name for output in outputs], axis=1), y)
