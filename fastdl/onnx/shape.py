"""Shapes: axes made one, turned, joined, picked from and averaged over."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from fastdl import nn
from fastdl.onnx import operation
from fastdl.onnx.table import exports, imports

if TYPE_CHECKING:
    from fastdl.onnx.reading import Node, Reader
    from fastdl.onnx.writing import Value, Writer


@exports(nn.Flatten)
def _(layer: nn.Flatten, graph: Writer, x: Value) -> str:
    shape, axes = x.array.shape, x.array.ndim
    first, last = layer.start_dim % axes, layer.end_dim % axes
    if first == 1 and last == axes - 1:
        return graph.node("Flatten", x.name, axis=1)
    sizes = [0 if axis == 0 else n for axis, n in enumerate(shape)]
    joined = -1 if first == 0 else prod(shape[first : last + 1])
    return graph.node("Reshape", x.name, graph.integers([*sizes[:first], joined, *sizes[last + 1 :]]))


@imports("Flatten", 13, 21, 23, 24, 25)
def _(graph: Reader, node: Node) -> None:
    axis, shape = node.attribute("axis", 1), graph.shape(node.inputs[0])
    samples = axis == 1 and (shape is None or len(shape) > 1)
    graph.add(node, nn.Flatten() if samples else operation.Matrix(axis), node.inputs[0])


@imports("Reshape", 13, 14, 19, 21, 23, 24, 25)
def _(graph: Reader, node: Node) -> None:
    shape = graph.integers(node.input(1), node, "the shape")
    if any(n < -1 for n in shape) or shape.count(-1) > 1:
        raise node.refusal("sizes of at least 0, and -1 at most once,", shape)
    samples = shape == (0, -1) and len(graph.shape(node.inputs[0]) or ()) > 1
    allow_zero = bool(node.attribute("allowzero", 0))
    module = nn.Flatten() if samples and not allow_zero else operation.Reshape(shape, allow_zero)
    graph.add(node, module, node.inputs[0])


@imports("Transpose", 13, 21, 23, 24, 25)
def _(graph: Reader, node: Node) -> None:
    graph.add(node, operation.Transpose(node.attribute("perm")), node.inputs[0])


@imports("Concat", 13)
def _(graph: Reader, node: Node) -> None:
    graph.add(node, operation.Concat(node.attribute("axis")), *node.inputs)


@imports("Gather", 13)
def _(graph: Reader, node: Node) -> None:
    indices = graph.array(node.input(1), node, "the indices")
    if indices.dtype != "int64":
        raise node.refusal("integers as indices", indices.dtype)
    graph.add(node, operation.Take(indices.tolist(), node.attribute("axis", 0)), node.inputs[0])


@imports("ReduceMean", 13, 18)
def _(graph: Reader, node: Node) -> None:
    axes = node.attribute("axes")
    if node.version >= 18 and node.input(1) is not None:
        axes = graph.integers(node.input(1), node, "the axes")
    if not axes and node.attribute("noop_with_empty_axes", 0):
        graph.add(node, nn.Identity(), node.inputs[0])
    else:
        graph.add(node, operation.Mean(axes or None, bool(node.attribute("keepdims", 1))), node.inputs[0])
