"""Normalization by running statistics, by the batch's (through ReduceMean), and of each sample."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from fastdl import nn
from fastdl.errors import InvalidValueError
from fastdl.messages import shown
from fastdl.onnx.table import exports, imports

if TYPE_CHECKING:
    from fastdl.nn.parameter import Parameter
    from fastdl.onnx.expression import Formula
    from fastdl.onnx.reading import Node, Reader
    from fastdl.onnx.writing import Value, Writer

MEAN: Formula = ("ReduceMean", "x")
CENTRED: Formula = ("Sub", "x", ("ReduceMean", "x"))
VARIANCE: Formula = ("ReduceMean", ("Mul", CENTRED, CENTRED))


@exports(nn.BatchNorm1d, nn.BatchNorm2d)
def _(layer: nn.BatchNorm1d | nn.BatchNorm2d, graph: Writer, x: Value) -> str:
    shape = (layer.num_features,)
    scale, shift = _or_constant(layer.weight, np.ones(shape), graph), _or_constant(layer.bias, np.zeros(shape), graph)
    if layer.running_mean is not None and layer.running_var is not None:
        mean, variance = graph.weight(layer.running_mean), graph.weight(layer.running_var)
    else:
        axes = tuple(axis for axis in range(x.array.ndim) if axis != 1)
        centred = graph.node("Sub", x.name, graph.node("ReduceMean", x.name, axes=axes, keepdims=1))
        mean = graph.node("ReduceMean", x.name, axes=axes, keepdims=0)
        variance = graph.node("ReduceMean", graph.node("Mul", centred, centred), axes=axes, keepdims=0)
    momentum = None if layer.momentum is None else 1 - layer.momentum
    return graph.node("BatchNormalization", x.name, scale, shift, mean, variance, epsilon=layer.eps, momentum=momentum)


@imports("BatchNormalization", 9, 14, 15)
def _(graph: Reader, node: Node) -> None:
    x, scale, shift, mean, variance = node.inputs
    if node.attribute("training_mode", 0):
        raise node.refusal("training_mode 0", 1)
    rank = len(graph.shape(x) or ())
    if rank not in (2, 3, 4):
        raise node.refusal("an input of two to four axes whose number is known", rank or "one of unknown rank")
    tracks = graph.is_constant(mean) and graph.is_constant(variance)
    if not tracks and not _of_batch(graph, x, mean, variance, rank):
        raise node.refusal("mean and variance in the file, or ReduceMeans of the same input,", "others")
    W, b = graph.array(scale, node, "the scale"), graph.array(shift, node, "the shift")
    arrays = {"scale": W, "shift": b}
    if tracks:
        arrays |= {"mean": graph.array(mean, node, "the mean"), "variance": graph.array(variance, node, "the variance")}
    for name, array in arrays.items():
        graph.check_dtype(name, array)
        if array.shape != W.shape or array.ndim != 1:
            raise node.refusal(f"vectors of one size, {name} too", f"shapes {[a.shape for a in arrays.values()]}")
    layer = (nn.BatchNorm2d if rank == 4 else nn.BatchNorm1d)(
        len(W),
        node.number("epsilon", 1e-5),
        round(1 - node.number("momentum", 0.9), 7),
        affine=not _left_out(graph, scale, W, 1),
        track_running_stats=tracks,
        bias=not _left_out(graph, shift, b, 0),
        dtype=W.dtype,
    )
    if tracks:
        assert layer.running_mean is not None
        assert layer.running_var is not None
        layer.running_mean[...], layer.running_var[...] = arrays["mean"], arrays["variance"]
    _set_affine(layer, graph, scale, W, shift, b)
    graph.add(node, layer, x, name=graph.layer_name(scale, node))


@exports(nn.LayerNorm)
def _(layer: nn.LayerNorm, graph: Writer, x: Value) -> str:
    axes = len(layer.normalized_shape)
    if x.array.ndim <= axes:
        raise InvalidValueError("onnx.export", f"an input_shape of {axes} or more axes for {shown(layer)}", "fewer")
    scale = _or_constant(layer.weight, np.ones(layer.normalized_shape), graph)
    shifts = [] if layer.bias is None else [graph.weight(layer.bias)]
    return graph.node("LayerNormalization", x.name, scale, *shifts, axis=-axes, epsilon=layer.eps)


@imports("LayerNormalization", 17)
def _(graph: Reader, node: Node) -> None:
    x, scale, shift = node.inputs[0], node.inputs[1], node.input(2)
    W = graph.array(scale, node, "the scale")
    b = None if shift is None else graph.array(shift, node, "the shift")
    axis, shape = node.attribute("axis", -1), graph.shape(x)
    if axis >= 0 and shape is None:
        raise node.refusal("an axis counted from the end, or an input of known rank,", axis)
    axes = -axis if axis < 0 else len(shape or ()) - axis
    if W.ndim != axes or (b is not None and b.shape != W.shape) or not prod(W.shape):
        raise node.refusal(
            f"scale and shift over the last {axes} axes", f"shapes {W.shape} and {b if b is None else b.shape}"
        )
    graph.check_dtype(scale, W)
    affine = not _left_out(graph, scale, W, 1) or b is not None
    layer = nn.LayerNorm(W.shape, node.number("epsilon", 1e-5), affine, b is not None, dtype=W.dtype)
    if b is not None and shift is not None:
        graph.check_dtype(shift, b)
    _set_affine(layer, graph, scale, W, shift, b)
    graph.add(node, layer, x, name=graph.layer_name(scale, node))


def _or_constant(parameter: Parameter | None, missing: np.ndarray, graph: Writer) -> str:
    """The name of W or b, or of what stands for it, which is no weight, in a layer that does not have it."""
    return graph.constant(missing) if parameter is None else graph.weight(parameter)


def _left_out(graph: Reader, value: str, array: np.ndarray, number: float) -> bool:
    return not graph.learns(value) and bool((array == number).all())


def _set_affine(
    layer: nn.Module, graph: Reader, scale: str, W: np.ndarray, shift: str | None, b: np.ndarray | None
) -> None:
    for name, value, array in (("weight", scale, W), ("bias", shift, b)):
        if getattr(layer, name) is not None and value is not None and array is not None:
            setattr(layer, name, graph.weight(value, array))


def _of_batch(graph: Reader, x: str, mean: str, variance: str, rank: int) -> bool:
    """Whether mean and variance are those of x over all axes but the channels'."""
    axes = tuple(axis for axis in range(rank) if axis != 1)
    found = [graph.match(MEAN, mean), graph.match(VARIANCE, variance)]
    if found != [{"x": x}] * 2:
        return False
    product = graph.maker(graph.maker(variance).inputs[0])
    inner = graph.maker(graph.maker(product.inputs[0]).inputs[1])
    return all(
        tuple(sorted(axis % rank for axis in node.attribute("axes", ()))) == axes
        and bool(node.attribute("keepdims", 1)) == keeps
        for node, keeps in ((graph.maker(mean), False), (graph.maker(variance), False), (inner, True))
    )
