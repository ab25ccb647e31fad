"""Convolution (cross-correlation) of images x (N, C, IH, IW) with filters W (O, C / groups, KH, KW), y (N, O, OH, OW).

Output pixel (oh, ow) sees the input pixels (oh SH + kh DH - PH, ow SW + kw DW - PW); what lies outside the image is zero.
`stride`, `padding` (above and to the left) and `dilation` are pairs (rows, columns). Output channel o sees the input channels
of its group. Signals (N, C, L) with filters (O, C / groups, K) are images of one row.
"""

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

import numpy as np

from fastdl.reference.elements import elements

Pair = tuple[int, int]


def conv_forward(
    x: np.ndarray,
    W: np.ndarray,
    b: np.ndarray | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    y: np.ndarray,
) -> None:
    """y[n, o, oh, ow] = sum_{c, kh, kw} x[n, c, ih, iw] W[o, c, kh, kw] + b[o]."""
    x, W, y = map(images, (x, W, y))
    (_, _, IH, IW), (N, OUT, OH, OW), (_, CG, KH, KW) = x.shape, y.shape, W.shape
    x, W, b, y = elements(x, W, b, y)
    for n, o, oh, ow in product(range(N), range(OUT), range(OH), range(OW)):
        first = o // (OUT // groups) * CG
        total = 0.0 if b is None else b[o]
        for _, kh, ih in seen([oh], range(KH), IH, stride[0], padding[0], dilation[0]):
            for _, kw, iw in seen([ow], range(KW), IW, stride[1], padding[1], dilation[1]):
                for c in range(CG):
                    total += x[n, first + c, ih, iw] * W[o, c, kh, kw]
        y[n, o, oh, ow] = total


def _input_gradient(
    gy: np.ndarray, W: np.ndarray, stride: Pair, padding: Pair, dilation: Pair, groups: int, gx: np.ndarray
) -> None:
    """gx[n, c, ih, iw] = sum of gy[n, o, oh, ow] W[o, c, kh, kw] over all that see it: (oh, kh), (ow, kw), o of its group."""
    (N, C, IH, IW), (_, OUT, OH, OW), (_, CG, KH, KW) = gx.shape, gy.shape, W.shape
    gy, W, gx = elements(gy, W, gx)
    OG = OUT // groups
    for n, c, ih, iw in product(range(N), range(C), range(IH), range(IW)):
        first = c // CG * OG
        total = 0.0
        for oh, kh in seeing(ih, OH, KH, stride[0], padding[0], dilation[0]):
            for ow, kw in seeing(iw, OW, KW, stride[1], padding[1], dilation[1]):
                for o in range(first, first + OG):
                    total += gy[n, o, oh, ow] * W[o, c % CG, kh, kw]
        gx[n, c, ih, iw] = total


def _weight_gradients(
    gy: np.ndarray,
    x: np.ndarray,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    accumulate: bool,
    gW: np.ndarray | None,
    gb: np.ndarray | None,
) -> None:
    """gW[o, c, kh, kw] = sum_{n, oh, ow} gy[n, o, oh, ow] x[n, c, ih, iw] and gb[o] = sum_{n, oh, ow} gy[n, o, oh, ow].

    They are added to what is there with `accumulate`.
    """
    (_, _, IH, IW), (N, OUT, OH, OW) = x.shape, gy.shape
    gy, x, gW, gb = elements(gy, x, gW, gb)
    if gW is not None:
        _, CG, KH, KW = gW.shape
        for o, c, kh, kw in product(range(OUT), range(CG), range(KH), range(KW)):
            channel = o // (OUT // groups) * CG + c
            total = gW[o, c, kh, kw] if accumulate else 0.0
            for oh, _, ih in seen(range(OH), [kh], IH, stride[0], padding[0], dilation[0]):
                for ow, _, iw in seen(range(OW), [kw], IW, stride[1], padding[1], dilation[1]):
                    for n in range(N):
                        total += gy[n, o, oh, ow] * x[n, channel, ih, iw]
            gW[o, c, kh, kw] = total
    if gb is not None:
        for o in range(OUT):
            total = gb[o] if accumulate else 0.0
            for n, oh, ow in product(range(N), range(OH), range(OW)):
                total += gy[n, o, oh, ow]
            gb[o] = total


def conv_backward(
    gy: np.ndarray,
    x: np.ndarray,
    W: np.ndarray,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    accumulate: bool,
    gx: np.ndarray | None,
    gW: np.ndarray | None,
    gb: np.ndarray | None,
) -> None:
    """The gradients with respect to x, W and b, each of which may be None."""
    gy, x, W, gx, gW = map(images, (gy, x, W, gx, gW))
    if gx is not None:
        _input_gradient(gy, W, stride, padding, dilation, groups, gx)
    _weight_gradients(gy, x, stride, padding, dilation, groups, accumulate, gW, gb)


def images(array: Any) -> Any:
    """Signals and their filters with an axis of one row."""
    return array[:, :, None] if array is not None and array.ndim == 3 else array


def seen(
    outputs: Iterable[int], taps: Iterable[int], size: int, stride: int, padding: int, dilation: int
) -> Iterator[tuple[int, int, int]]:
    """What outputs see through taps of the kernel, along one axis of the image: (output, tap, place inside the image)."""
    for out, k in product(outputs, taps):
        place = out * stride + k * dilation - padding
        if 0 <= place < size:
            yield out, k, place


def seeing(place: int, size: int, K: int, stride: int, padding: int, dilation: int) -> Iterator[Pair]:
    """Who sees a place of the image, along one axis: (output, tap)."""
    for k in range(K):
        out, rest = divmod(place + padding - k * dilation, stride)
        if rest == 0 and 0 <= out < size:
            yield out, k
