"""Shapes: axes made one, turned, joined, picked from and averaged over."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from fastdl import nn
from fastdl.onnx import arrangement, operation
from fastdl.onnx.checking import TENSORS, spelled
from fastdl.onnx.sizes import taken, target
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
    x, wanted = node.inputs[0], target(graph, node)
    if any(n < -1 for n in wanted) or wanted.count(-1) > 1:
        raise node.refusal("sizes of at least 0, and -1 at most once,", wanted)
    allow_zero = bool(node.attribute("allowzero", 0)) and node.inputs[1] not in graph.sizes
    shape = graph.shape(x) or ()
    if not graph.is_constant(x) and wanted[:1] == shape[:1] and 0 not in wanted:
        # A file for batches of one size: that stays, whatever it is, so that the model takes others too.
        wanted, allow_zero = (0, *wanted[1:]), False
    flatten = None if allow_zero else _flatten(shape, wanted)
    graph.add(node, flatten or operation.Reshape(wanted, allow_zero), x)


def _flatten(shape: tuple[int | None, ...], wanted: tuple[int, ...]) -> nn.Flatten | None:
    """The Flatten that takes samples of this shape to a wanted one; None where there is none."""
    axes = len(shape)
    if wanted == (0, -1) and axes > 1:
        return nn.Flatten()
    sizes = [0, *(size for size in shape[1:] if size)]
    if wanted[:1] != (0,) or 0 in wanted[1:] or axes < 2 or len(sizes) < axes:
        return None
    for first in range(1, axes):
        last = first + axes - len(wanted)
        if first < last < axes:
            found = [*sizes[:first], prod(sizes[first : last + 1]), *sizes[last + 1 :]]
            if all(n in (-1, size) for n, size in zip(wanted, found, strict=True)):
                return nn.Flatten(first, -1 if last == axes - 1 else last)
    return None


@imports("Transpose", 13, 21, 23, 24, 25)
def _(graph: Reader, node: Node) -> None:
    graph.add(node, operation.Transpose(node.attribute("perm")), node.inputs[0])


@imports("Squeeze", 13, 21, 23, 24, 25)
def _(graph: Reader, node: Node) -> None:
    if not taken(graph, node):
        axes = None if node.input(1) is None else graph.integers(node.input(1), node, "the axes")
        graph.add(node, arrangement.Squeeze(axes), node.inputs[0])


@imports("Unsqueeze", 13, 21, 23, 24, 25)
def _(graph: Reader, node: Node) -> None:
    if not taken(graph, node):
        graph.add(node, arrangement.Unsqueeze(graph.integers(node.input(1), node, "the axes")), node.inputs[0])


@imports("Cast", 13, 19, 21, 23, 24, 25)
def _(graph: Reader, node: Node) -> None:
    kind = node.attribute("to")
    if kind not in TENSORS:
        raise node.refusal("float32, float64, int64 or bool", spelled(kind))
    dtype, x = TENSORS[kind][0], node.inputs[0]
    if dtype == np.int64 and taken(graph, node):
        return
    if graph.is_constant(x):
        graph.add(node, arrangement.Cast(dtype.name), x)
    elif dtype == graph.dtype and graph.kind(x) == dtype:
        graph.add(node, nn.Identity(), x)
    else:
        raise node.refusal(f"values of {graph.dtype} that stay what they are, or constants,", dtype)


@imports("Concat", 13)
def _(graph: Reader, node: Node) -> None:
    if not taken(graph, node):
        graph.add(node, operation.Concat(node.attribute("axis")), *node.inputs)


@imports("Slice", 13)
def _(graph: Reader, node: Node) -> None:
    if taken(graph, node):
        return
    starts, stops = (graph.integers(node.input(n), node, what) for n, what in ((1, "the starts"), (2, "the ends")))
    axes = range(len(starts)) if node.input(3) is None else graph.integers(node.input(3), node, "the axes")
    steps = (1,) * len(starts) if node.input(4) is None else graph.integers(node.input(4), node, "the steps")
    if not len(starts) == len(stops) == len(axes) == len(steps) or 0 in steps:
        raise node.refusal(
            "starts, ends, axes and steps other than 0, as many of each,", (starts, stops, tuple(axes), steps)
        )
    graph.add(node, arrangement.Slice(tuple(zip(axes, starts, stops, steps, strict=True))), node.inputs[0])


@imports("Gather", 13)
def _(graph: Reader, node: Node) -> None:
    if taken(graph, node):
        return
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
