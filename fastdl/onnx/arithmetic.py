"""Arithmetic, element by element: what formulas are written with and residual sums are.

Where such an operator is the last one of an activation or of a linear layer, that comes back instead, and what stood for it
is left out, as nothing reads it any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastdl.onnx import operation
from fastdl.onnx.activation import known
from fastdl.onnx.linear import with_bias
from fastdl.onnx.table import imports

if TYPE_CHECKING:
    from fastdl.onnx.reading import Node, Reader


@imports("Constant", 13, 19, 21, 23, 24, 25)
def _(graph: Reader, node: Node) -> None:
    graph.constant(node.outputs[0], node.tensor("value"))


@imports("Add", 13, 14)
def _(graph: Reader, node: Node) -> None:
    if not with_bias(graph, node):
        graph.add(node, operation.Add(), *node.inputs)


@imports("Sub", 13, 14)
def _(graph: Reader, node: Node) -> None:
    graph.add(node, operation.Sub(), *node.inputs)


@imports("Mul", 13, 14)
def _(graph: Reader, node: Node) -> None:
    _activation_or(operation.Mul(), graph, node)


@imports("Div", 13, 14)
def _(graph: Reader, node: Node) -> None:
    _activation_or(operation.Div(), graph, node)


@imports("Greater", 13)
def _(graph: Reader, node: Node) -> None:
    graph.add(node, operation.Greater(), *node.inputs)


@imports("Where", 9, 16)
def _(graph: Reader, node: Node) -> None:
    _activation_or(operation.Where(), graph, node)


def _activation_or(module: operation.Operation, graph: Reader, node: Node) -> None:
    found = known(graph, node)
    if found is None:
        graph.add(node, module, *node.inputs)
    else:
        layer, x = found
        graph.add(node, layer, x)
