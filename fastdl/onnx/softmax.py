"""Softmax and LogSoftmax over one axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastdl import nn
from fastdl.onnx.table import exports, imports

if TYPE_CHECKING:
    from fastdl.onnx.reading import Node, Reader
    from fastdl.onnx.writing import Value, Writer


@exports(nn.Softmax, nn.LogSoftmax)
def _(layer: nn.Softmax | nn.LogSoftmax, graph: Writer, x: Value) -> str:
    return graph.node(type(layer).__name__, x.name, axis=layer.dim)


@imports("Softmax", 13)
def _(graph: Reader, node: Node) -> None:
    graph.add(node, nn.Softmax(node.attribute("axis", -1)), node.inputs[0])


@imports("LogSoftmax", 13)
def _(graph: Reader, node: Node) -> None:
    graph.add(node, nn.LogSoftmax(node.attribute("axis", -1)), node.inputs[0])
