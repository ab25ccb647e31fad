"""Pooling: x (N, C, H, W) seen through windows, y (N, C, OH, OW); sizes, strides, paddings and dilations are pairs."""

import math
from collections.abc import Iterator
from itertools import product

import numpy as np

from fastdl.reference.elements import elements

Pair = tuple[int, int]


def places(output: int, size: int, taps: int, stride: int, padding: int, dilation: int = 1) -> list[int]:
    """The elements, of `size` along an axis, that an output's window sees."""
    start = output * stride - padding
    return [place for place in range(start, start + taps * dilation, dilation) if 0 <= place < size]


def places_with_padding(output: int, size: int, taps: int, stride: int, padding: int) -> int:
    """How many places of an output's window lie in the image or in its padding."""
    start = output * stride - padding
    return len([place for place in range(start, start + taps) if place < size + padding])


def share(output: int, size: int, outputs: int) -> range:
    """The elements of one of `outputs` equal shares of an axis, rounded outwards."""
    return range(output * size // outputs, -(-(output + 1) * size // outputs))


def outputs_of(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The index of every element of an array."""
    return product(*map(range, shape))


def max_pool_forward(
    x: np.ndarray,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    y: np.ndarray,
    index: np.ndarray | None,
) -> None:
    """y = max of the window, index = its h W + w: of equals the first, of NaNs the last, -1 where the window is empty."""
    x, y, index = elements(x, y, index)
    H, W = x.shape[2:]
    for n, c, oh, ow in outputs_of(y.shape):
        best, position = -math.inf, -1
        for h in places(oh, H, kernel_size[0], stride[0], padding[0], dilation[0]):
            for w in places(ow, W, kernel_size[1], stride[1], padding[1], dilation[1]):
                value = x[n, c, h, w]
                if position < 0 or value > best or math.isnan(value):
                    best, position = value, h * W + w
        y[n, c, oh, ow] = best
        if index is not None:
            index[n, c, oh, ow] = position


def max_pool_backward(
    gy: np.ndarray,
    index: np.ndarray,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    gx: np.ndarray,
) -> None:
    """gx[h, w] = sum of the gy whose index is h W + w."""
    gy, index, gx = elements(gy, index, gx)
    W = gx.shape[3]
    for each in outputs_of(gx.shape):
        gx[each] = 0.0
    for n, c, oh, ow in outputs_of(gy.shape):
        position = index[n, c, oh, ow]
        if position >= 0:
            gx[n, c, position // W, position % W] += gy[n, c, oh, ow]


def avg_pool_forward(
    x: np.ndarray,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    count_include_pad: bool,
    divisor_override: int | None,
    y: np.ndarray,
) -> None:
    """y = sum of the window / its number of places, in the image or also in the padding, or / divisor_override."""
    x, y = elements(x, y)
    H, W = x.shape[2:]
    for n, c, oh, ow in outputs_of(y.shape):
        hs = places(oh, H, kernel_size[0], stride[0], padding[0])
        ws = places(ow, W, kernel_size[1], stride[1], padding[1])
        total = sum(x[n, c, h, w] for h in hs for w in ws)
        divisor = len(hs) * len(ws)
        if count_include_pad:
            divisor = places_with_padding(oh, H, kernel_size[0], stride[0], padding[0])
            divisor *= places_with_padding(ow, W, kernel_size[1], stride[1], padding[1])
        y[n, c, oh, ow] = total / (divisor if divisor_override is None else divisor_override)


def avg_pool_backward(
    gy: np.ndarray,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    count_include_pad: bool,
    divisor_override: int | None,
    gx: np.ndarray,
) -> None:
    """gx = sum of gy / divisor over the windows that see this element."""
    gy, gx = elements(gy, gx)
    H, W = gx.shape[2:]
    for each in outputs_of(gx.shape):
        gx[each] = 0.0
    for n, c, oh, ow in outputs_of(gy.shape):
        hs = places(oh, H, kernel_size[0], stride[0], padding[0])
        ws = places(ow, W, kernel_size[1], stride[1], padding[1])
        divisor = len(hs) * len(ws)
        if count_include_pad:
            divisor = places_with_padding(oh, H, kernel_size[0], stride[0], padding[0])
            divisor *= places_with_padding(ow, W, kernel_size[1], stride[1], padding[1])
        for h, w in product(hs, ws):
            gx[n, c, h, w] += gy[n, c, oh, ow] / (divisor if divisor_override is None else divisor_override)


def adaptive_avg_pool_forward(x: np.ndarray, y: np.ndarray) -> None:
    """y = mean of share (oh, ow) of the plane cut into OH x OW."""
    x, y = elements(x, y)
    (H, W), (OH, OW) = x.shape[2:], y.shape[2:]
    for n, c, oh, ow in outputs_of(y.shape):
        hs, ws = share(oh, H, OH), share(ow, W, OW)
        y[n, c, oh, ow] = sum(x[n, c, h, w] for h in hs for w in ws) / (len(hs) * len(ws))


def adaptive_avg_pool_backward(gy: np.ndarray, gx: np.ndarray) -> None:
    """gx = sum of gy / the share's size over the shares that hold this element."""
    gy, gx = elements(gy, gx)
    (H, W), (OH, OW) = gx.shape[2:], gy.shape[2:]
    for each in outputs_of(gx.shape):
        gx[each] = 0.0
    for n, c, oh, ow in outputs_of(gy.shape):
        hs, ws = share(oh, H, OH), share(ow, W, OW)
        for h, w in product(hs, ws):
            gx[n, c, h, w] += gy[n, c, oh, ow] / (len(hs) * len(ws))
