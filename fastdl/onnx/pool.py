"""Pooling: maxima and means of windows, and means of a given number of shares."""

from __future__ import annotations

import math
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl import nn
from fastdl.onnx import operation
from fastdl.onnx.conv import Windows
from fastdl.onnx.table import exports, imports

if TYPE_CHECKING:
    from fastdl.onnx.reading import Node, Reader
    from fastdl.onnx.writing import Value, Writer

# Windows up to which a constant may say how many of their places count.
MOST_FACTORS = 2**24


@exports(nn.MaxPool1d, nn.MaxPool2d)
def _(layer: nn.MaxPool1d | nn.MaxPool2d, graph: Writer, x: Value) -> str:
    kernel, strides, padding, dilations = zip(*layer._along_axes(), strict=True)
    behind, ceil_mode = _behind(layer, x.array.shape[2:]), 0
    if any(p >= k for p, k in zip(behind, kernel, strict=True)):  # onnxruntime does not take so much
        behind, ceil_mode = padding, 1
    return graph.node(
        "MaxPool",
        x.name,
        kernel_shape=kernel,
        strides=strides,
        pads=(*padding, *behind),
        dilations=dilations,
        ceil_mode=ceil_mode,
    )


@imports("MaxPool", 12, 22)
def _(graph: Reader, node: Node) -> None:
    x, windows, ceil_mode = node.inputs[0], _windows(graph, node), bool(node.attribute("ceil_mode", 0))
    layer = nn.MaxPool1d if len(windows.kernel) == 1 else nn.MaxPool2d
    kernel, stride, dilation = _sizes(windows.kernel), _stride(windows), _sizes(windows.dilations)
    padding = windows.before
    if not _fits(windows):
        ceiling = _halves(windows) and layer(kernel, stride, _sizes(padding), dilation, ceil_mode=True)
        if ceil_mode:
            raise node.refusal("with ceil_mode equal pads of at most half the kernel", windows.before + windows.behind)
        if ceiling and _ends_alike(ceiling, windows, graph.shape(x)):
            ceil_mode = True
        else:
            x = graph.add(node, windows.edge(-math.inf), x, output=node.between("padded"))
            padding = (0,) * len(padding)
    graph.add(node, layer(kernel, stride, _sizes(padding), dilation, ceil_mode=ceil_mode), x)


@exports(nn.AvgPool1d, nn.AvgPool2d)
def _(layer: nn.AvgPool1d | nn.AvgPool2d, graph: Writer, x: Value) -> str:
    kernel, strides, padding, _ = zip(*layer._along_axes(), strict=True)
    sizes, divisor = x.array.shape[2:], layer.divisor_override
    behind = _behind(layer, sizes)
    counted = layer.count_include_pad or divisor is not None
    y = graph.node(
        "AveragePool",
        x.name,
        kernel_shape=kernel,
        strides=strides,
        pads=(*padding, *behind),
        count_include_pad=int(counted),
    )
    if divisor is not None:
        return graph.node("Mul", y, graph.constant(prod(kernel) / divisor))
    if counted and behind != padding:  # places behind the padding do not count
        return graph.node("Mul", y, graph.constant(_correction(layer, sizes)))
    return y


@imports("AveragePool", 11, 19, 22)
def _(graph: Reader, node: Node) -> None:
    x, windows, ceil_mode = node.inputs[0], _windows(graph, node), bool(node.attribute("ceil_mode", 0))
    counted = bool(node.attribute("count_include_pad", 0))
    if set(windows.dilations) != {1}:
        raise node.refusal("dilations of 1", windows.dilations)
    layer = nn.AvgPool1d if len(windows.kernel) == 1 else nn.AvgPool2d
    kernel, stride, padding = _sizes(windows.kernel), _stride(windows), windows.before
    if not _fits(windows):
        ceiling = _halves(windows) and layer(kernel, stride, _sizes(padding), True, False)
        if not ceil_mode and not counted and ceiling and _ends_alike(ceiling, windows, graph.shape(x)):
            ceil_mode = True
        elif ceil_mode:
            raise node.refusal("with ceil_mode equal pads of at most half the kernel", windows.before + windows.behind)
        else:
            _add_padded(graph, node, windows, layer(kernel, stride), counted)
            return
    graph.add(node, layer(kernel, stride, _sizes(padding), ceil_mode, counted), x)


def _add_padded(graph: Reader, node: Node, windows: Windows, layer: nn.Module, counted: bool) -> None:
    """Pool an image with its edge of zeros, which is taken out of the means again where it does not count."""
    x, sizes = node.inputs[0], _known_sizes(graph.shape(node.inputs[0]), windows)
    padded = graph.add(node, windows.edge(0.0), x, output=node.between("padded"))
    if counted:
        graph.add(node, layer, padded)
    elif sizes is None or prod(windows.counts(sizes)) > MOST_FACTORS:
        raise node.refusal("images of a known, moderate size, with such pads that do not count,", sizes)
    else:
        factors = np.ones(())
        for n, m, k, s, p in zip(
            sizes, windows.counts(sizes), windows.kernel, windows.strides, windows.before, strict=True
        ):
            starts = np.arange(m) * s
            places = np.minimum(starts + k, n + p) - np.maximum(starts, p)
            factors = np.multiply.outer(factors, k / np.maximum(places, 1))
        y = graph.add(node, layer, padded, output=node.between("pooled"))
        graph.add(node, operation.Mul(), y, graph.constant(node.between("factors"), factors.astype(graph.dtype)))


@exports(nn.AdaptiveAvgPool2d)
def _(layer: nn.AdaptiveAvgPool2d, graph: Writer, x: Value) -> str:
    sizes = x.array.shape[2:]
    outputs = layer._outputs(sizes)
    if outputs == sizes:
        return graph.node("Identity", x.name)
    if outputs == (1, 1):
        return graph.node("GlobalAveragePool", x.name)
    if all(n % m == 0 for n, m in zip(sizes, outputs, strict=True)):
        shares = tuple(n // m for n, m in zip(sizes, outputs, strict=True))
        return graph.node("AveragePool", x.name, kernel_shape=shares, strides=shares)
    # Shares of several sizes: each output is a mean of rows, then of columns, as a product with a matrix.
    y = x.name
    if outputs[0] != sizes[0]:
        y = graph.node("MatMul", graph.constant(_shares(sizes[0], outputs[0])), y)
    if outputs[1] != sizes[1]:
        y = graph.node("MatMul", y, graph.constant(_shares(sizes[1], outputs[1]).T))
    return y


@imports("GlobalAveragePool", 1, 22)
def _(graph: Reader, node: Node) -> None:
    x = node.inputs[0]
    images = len(graph.shape(x) or ()) == 4
    graph.add(node, nn.AdaptiveAvgPool2d(1) if images else operation.Mean(...), x)


def _behind(layer: Any, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The padding behind an image with which the windows are the layer's: with ceil_mode the last one may pass its end.

    ONNX's own ceil_mode says less about such windows than one would like, and versions differ.
    """
    behind = []
    for n, m, (k, s, p, d) in zip(sizes, layer._outputs(sizes), layer._along_axes(), strict=True):
        behind.append(max(p, (m - 1) * s + d * (k - 1) + 1 - n - p))
    return tuple(behind)


def _correction(layer: Any, sizes: tuple[int, ...]) -> np.ndarray:
    """For each output the window's number of places over how many of them count."""
    factors = np.ones(())
    for n, m, (k, s, p, _) in zip(sizes, layer._outputs(sizes), layer._along_axes(), strict=True):
        starts = np.arange(m) * s
        factors = np.multiply.outer(factors, k / (np.minimum(starts + k, n + 2 * p) - starts))
    return factors


def _ends_alike(layer: Any, windows: Windows, shape: tuple[int | None, ...] | None) -> bool:
    """Whether a layer with ceil_mode has as many windows as these, on images of a size that is known."""
    sizes = _known_sizes(shape, windows)
    return sizes is not None and layer._outputs(sizes) == windows.counts(sizes)


def _known_sizes(shape: tuple[int | None, ...] | None, windows: Windows) -> tuple[int, ...] | None:
    sizes = tuple(n for n in (shape or ())[2:] if n is not None)
    return sizes if len(sizes) == len(windows.kernel) else None


def _shares(n: int, m: int) -> np.ndarray:
    """The matrix (m, n) whose product with n numbers is the means of their m shares."""
    matrix = np.zeros((m, n))
    for i in range(m):
        start, stop = i * n // m, -(-(i + 1) * n // m)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


def _windows(graph: Reader, node: Node) -> Windows:
    kernel = node.attribute("kernel_shape", ())
    if len(kernel) not in (1, 2):
        raise node.refusal("windows of one or two axes", kernel)
    return Windows.of(graph, node, kernel)


def _fits(windows: Windows) -> bool:
    """Whether fastdl's layers take these windows as they are."""
    return windows.before == windows.behind and _halves(windows)


def _halves(windows: Windows) -> bool:
    """Whether the places before the image are at most half the windows."""
    return all(2 * p <= k for p, k in zip(windows.before, windows.kernel, strict=True))


def _sizes(sizes: tuple[int, ...]) -> Any:
    """Sizes along the axes as fastdl's layers take them: one number where they are equal."""
    return sizes[0] if len(set(sizes)) == 1 else sizes


def _stride(windows: Windows) -> Any:
    return None if windows.strides == windows.kernel else _sizes(windows.strides)
