"""Pooling: each output is the maximum or the mean of a window of one image plane, forward beside backward."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.array import empty, ready
from fastdl._kernels.option import Option
from fastdl._kernels.pool import (
    adaptive_avg_pool_backward,
    adaptive_avg_pool_forward,
    avg_pool_backward,
    avg_pool_forward,
    max_pool_backward,
    max_pool_forward,
)
from fastdl.errors import InvalidShapeError, InvalidValueError
from fastdl.messages import shown
from fastdl.nn.grad_mode import mode
from fastdl.nn.layer import Layer
from fastdl.validation import as_given, pair, size, true_or_false

Array = NDArray[Any]
Shape = tuple[int, ...]
Pair = tuple[int, int]
INDEX = np.dtype(np.int32)


class _Pool(Layer):
    """y (N, C, OH, OW) from x (N, C, H, W), or (N, C, OL) from (N, C, L) as images of one row."""

    _axes: ClassVar[str] = "HW"
    # The least sizes along these axes.
    _least: Shape = (1, 1)
    # The latest input's shape and its output's.
    _shapes: tuple[Shape | None, Shape] = (None, ())

    def _outputs(self, sizes: Shape) -> Shape:
        """The output's sizes along the axes for an input's."""
        raise NotImplementedError

    def _start(self, x: Array) -> tuple[Array, Array]:
        """x as kernels take it, and room for y."""
        x = ready(x, None, self)
        before, shape = self._shapes
        if x.shape != before:
            shape = self._measured(x.shape)
            self._shapes = x.shape, shape
        return x, empty(shape, x.dtype)

    def _start_back(self, saved: Any, grad_output: Any) -> tuple[Array, Array, Any]:
        """gy as kernels take it, room for gx, and what else forward saved."""
        x_shape, y_shape, dtype, kept = saved
        return self._gradient(grad_output, y_shape, dtype), empty(x_shape, dtype), kept

    def _measured(self, shape: Shape) -> Shape:
        """The output's shape, for an input that fits."""
        sizes = shape[2:]
        if len(shape) != 2 + len(self._axes) or any(n < m for n, m in zip(sizes, self._least, strict=True)):
            wanted = ", ".join(f"{axis} >= {m}" for axis, m in zip(self._axes, self._least, strict=True))
            raise InvalidShapeError(shown(self), f"input of shape (N, C, {wanted})", shape)
        outputs = self._outputs(sizes)
        for each in (sizes, outputs):
            if prod(each) >= 2**31:
                raise InvalidValueError(shown(self), "planes of fewer than 2**31 elements", each)
        return *shape[:2], *outputs

    def _plan_windows(
        self, plan: Any, x: Any, name: str, pairs: Any, *, count_padding: int = 0, divisor: int = 0, **rest: Any
    ) -> Any:
        shape = self._measured((1, *x.shape))[1:]
        (C, *image), (_, *output) = x.shape, shape
        (H, W), (OH, OW) = ((1, *sizes)[-2:] for sizes in (image, output))
        (KH, KW), stride, padding, dilation = pairs
        (SH, SW), (PH, PW), (DH, DW) = stride, padding, dilation
        sizes = {"planes": C, "H": H, "W": W, "OH": OH, "OW": OW, "KH": KH, "KW": KW, "SH": SH, "SW": SW}
        sizes |= {"PH": PH, "PW": PW, "DH": DH, "DW": DW, "count_padding": count_padding, "divisor": divisor}
        return plan.add(name, self, x, shape, **sizes, **rest)

    def _images(self, array: Array) -> Array:
        return array if self._axes == "HW" else array[:, :, None]


class _Windows(_Pool):
    """Windows of one size, at one distance from each other."""

    # kernel_size, stride, padding and dilation along H and W; one row has 1, 1, 0 and 1.
    _pairs: tuple[Pair, Pair, Pair, Pair]
    kernel_size = Option(method="_change")
    stride = Option(method="_change")
    padding = Option(method="_change")
    dilation = Option(method="_change")
    ceil_mode = Option(method="_change")

    def _change(self, **options: Any) -> None:
        """Take these options beside the others as they are."""
        names = "kernel_size", "stride", "padding", "dilation", "ceil_mode"
        self._take(**({name: getattr(self, name) for name in names} | options))

    def _take(self, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any) -> None:
        owner = type(self).__name__

        def both(value: Any, name: str, least: int) -> Pair:
            return pair(value, name, owner, least) if self._axes == "HW" else (least, size(value, name, owner, least))

        kernel = both(kernel_size, "kernel_size", 1)
        steps = kernel if stride is None else both(stride, "stride", 1)
        around, gaps = both(padding, "padding", 0), both(dilation, "dilation", 1)
        if any(2 * p > k for p, k in zip(around, kernel, strict=True)):
            raise InvalidValueError(
                owner, f"padding of at most half the kernel_size {shown(kernel_size)}", shown(padding)
            )
        ceil_mode, pairs = true_or_false(ceil_mode, "ceil_mode", owner), (kernel, steps, around, gaps)
        along = list(zip(*pairs, strict=True))[-len(self._axes) :]
        least = [max(1, d * (k - 1) + 1 - 2 * p - (s - 1) * ceil_mode) for k, s, p, d in along]
        vars(self).update(
            kernel_size=as_given(kernel_size, kernel),
            stride=None if stride is None else as_given(stride, steps),
            padding=as_given(padding, around),
            dilation=as_given(dilation, gaps),
            ceil_mode=ceil_mode,
            _pairs=pairs,
            _least=tuple(least),
            _shapes=_Pool._shapes,
        )

    def _along_axes(self) -> list[tuple[int, ...]]:
        return list(zip(*self._pairs, strict=True))[-len(self._axes) :]

    def _outputs(self, sizes: Shape) -> Shape:
        """By torch's rule: with ceil_mode, windows may pass the end, but start in the image or in the padding before it."""
        outputs = []
        for n, (k, s, p, d) in zip(sizes, self._along_axes(), strict=True):
            room = n + 2 * p - d * (k - 1) - 1
            count = (room + (s - 1 if self.ceil_mode else 0)) // s + 1
            outputs.append(count - 1 if (count - 1) * s >= n + p else count)
        return tuple(outputs)

    def _in_windows(self, x: Any, padding: float) -> Any:
        """What each window holds, in a first axis; `padding` where it passes the image."""
        sizes, outputs = x.shape[2:], self._outputs(tuple(int(n) for n in x.shape[2:]))
        along = list(zip(sizes, outputs, self._along_axes(), strict=True))
        edges = [(p, max(0, (m - 1) * s + d * (k - 1) + 1 - n - p)) for n, m, (k, s, p, d) in along]
        x = np.pad(x, ((0, 0), (0, 0), *edges), constant_values=padding)
        places = product(*[range(k) for _, _, (k, _, _, _) in along])
        parts = [
            x[
                :,
                :,
                *[
                    slice(at * d, at * d + (m - 1) * s + 1, s)
                    for at, (_, m, (_, s, _, d)) in zip(place, along, strict=True)
                ],
            ]
            for place in places
        ]
        return np.stack(parts)


class _MaxPool(_Windows):
    """Windows whose largest element counts."""

    def _forward(self, x: Any) -> tuple[Array, Any]:
        """The maximum of each window."""
        x, y = self._start(x)
        if not mode.enabled:
            max_pool_forward(self._images(x), *self._pairs, self._images(y), None)
            return y, None
        index = empty(y.shape, INDEX)
        max_pool_forward(self._images(x), *self._pairs, self._images(y), self._images(index))
        return y, (x.shape, y.shape, x.dtype, index)

    def _plan(self, plan: Any, x: Any) -> Any:
        sample = prod(self._measured((1, *x.shape))) * INDEX.itemsize
        saved = {"index": (plan.batch_size * sample, sample)}
        return self._plan_windows(plan, x, "max_pool", self._pairs, saved=saved)

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        """Gy where the maxima were, summed where they are maxima of several windows."""
        gy, gx, index = self._start_back(saved, grad_output)
        max_pool_backward(self._images(gy), self._images(index), *self._pairs, self._images(gx))
        return gx

    def _formula(self, node: Any, x: Any) -> Any:
        windows = self._in_windows(x, -np.inf)
        return np.take_along_axis(windows, np.expand_dims(np.argmax(windows, axis=0), 0), axis=0)[0]


def _divisor(value: int | None, name: str, owner: str) -> int | None:
    return None if value is None else size(value, name, owner, 1)


class _AvgPool(_Windows):
    """Windows whose mean counts."""

    count_include_pad = Option(true_or_false)
    divisor_override: Any = None

    def _forward(self, x: Any) -> tuple[Array, Any]:
        """The mean of each window."""
        x, y = self._start(x)
        avg_pool_forward(
            self._images(x), *self._pairs[:3], self.count_include_pad, self.divisor_override, self._images(y)
        )
        return y, (x.shape, y.shape, x.dtype, None)

    def _plan(self, plan: Any, x: Any) -> Any:
        pairs, divisor = (*self._pairs[:3], (1, 1)), self.divisor_override or 0
        count_padding = int(self.count_include_pad)
        return self._plan_windows(plan, x, "avg_pool", pairs, count_padding=count_padding, divisor=divisor)

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        """What each element's windows send it: gy over their number of places."""
        gy, gx, _ = self._start_back(saved, grad_output)
        avg_pool_backward(
            self._images(gy), *self._pairs[:3], self.count_include_pad, self.divisor_override, self._images(gx)
        )
        return gx

    def _formula(self, node: Any, x: Any) -> Any:
        ones = np.ones((1, 1, *(int(n) for n in x.shape[2:])))
        counts = np.sum(self._in_windows(ones, 0.0), axis=0)
        return np.sum(self._in_windows(x, 0.0), axis=0) * (self._forward(ones)[0] / np.maximum(counts, 1))


class MaxPool2d(_MaxPool):
    """y[n, c, i, j] = max over k, l of x[n, c, i s + k d - p, j s + l d - p], k and l below the kernel size.

    Places in the padding do not count. Of equal maxima the first gets the gradient, and a NaN is a maximum.

    Args:
        kernel_size: the window's size, an integer or a pair (height, width), as all sizes here.
        stride: s, from one window to the next; None is the kernel size.
        padding: p, places around the image, at most half the kernel size.
        dilation: d, from one place of the window to the next.
        ceil_mode: whether a last window may pass the end of the image; by name only, for torch has another option before it.

    Shape:
        x (N, C, H, W), y (N, C, OH, OW), OH = floor((H + 2 p - d (kernel_size - 1) - 1) / s) + 1; with ceil_mode the ceiling,
        where the last window starts in the image or in the padding before it.

    Raises:
        TypeError, ValueError: for sizes that are not such integers, for x of another rank or smaller than a window.

    Example:
        >>> MaxPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4))
        array([[[[ 5.,  7.],
                 [13., 15.]]]])

    Source: torch.nn.MaxPool2d.
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        *,
        ceil_mode: bool = False,
    ) -> None:
        self._take(kernel_size, stride, padding, dilation, ceil_mode)


class MaxPool1d(_MaxPool):
    """y[n, c, i] = max over k of x[n, c, i s + k d - p], k below the kernel size.

    Args:
        kernel_size: the window's size, an integer as all sizes here.
        stride: s; None is the kernel size.
        padding: p, at most half the kernel size.
        dilation: d.
        ceil_mode: whether a last window may pass the end; by name only.

    Shape:
        x (N, C, L), y (N, C, OL), by MaxPool2d's rule.

    Raises:
        TypeError, ValueError: for sizes that are not such integers, for x of another rank or shorter than a window.

    Example:
        >>> MaxPool1d(2)(np.array([[[1.0, 3.0, 2.0, 0.0]]]))
        array([[[3., 2.]]])

    Source: torch.nn.MaxPool1d.
    """

    _axes = "L"

    def __init__(
        self,
        kernel_size: int,
        stride: int | None = None,
        padding: int = 0,
        dilation: int = 1,
        *,
        ceil_mode: bool = False,
    ) -> None:
        self._take(kernel_size, stride, padding, dilation, ceil_mode)


class AvgPool2d(_AvgPool):
    """y[n, c, i, j] = the mean over k, l of x[n, c, i s + k - p, j s + l - p], k and l below the kernel size.

    Args:
        kernel_size: the window's size, an integer or a pair (height, width), as all sizes here.
        stride: s, from one window to the next; None is the kernel size.
        padding: p, places around the image that hold zeros, at most half the kernel size.
        ceil_mode: whether a last window may pass the end of the image.
        count_include_pad: whether places in the padding count in the mean.
        divisor_override: what the sum is divided by instead of the window's number of places, a positive integer.

    Shape:
        x (N, C, H, W), y (N, C, OH, OW), by MaxPool2d's rule with dilation 1.

    Raises:
        TypeError, ValueError: for sizes that are not such integers, for x of another rank or smaller than a window.

    Example:
        >>> AvgPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4))
        array([[[[ 2.5,  4.5],
                 [10.5, 12.5]]]])

    Source: torch.nn.AvgPool2d.
    """

    divisor_override = Option(_divisor)

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self._take(kernel_size, stride, padding, 1, ceil_mode)
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override


class AvgPool1d(_AvgPool):
    """y[n, c, i] = the mean over k of x[n, c, i s + k - p], k below the kernel size.

    Args:
        kernel_size: the window's size, an integer as all sizes here.
        stride: s; None is the kernel size.
        padding: p, places that hold zeros, at most half the kernel size.
        ceil_mode: whether a last window may pass the end.
        count_include_pad: whether places in the padding count in the mean.

    Shape:
        x (N, C, L), y (N, C, OL), by MaxPool2d's rule with dilation 1.

    Raises:
        TypeError, ValueError: for sizes that are not such integers, for x of another rank or shorter than a window.

    Example:
        >>> AvgPool1d(2)(np.array([[[1.0, 3.0, 2.0, 0.0]]]))
        array([[[2., 1.]]])

    Source: torch.nn.AvgPool1d.
    """

    _axes = "L"

    def __init__(
        self,
        kernel_size: int,
        stride: int | None = None,
        padding: int = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self._take(kernel_size, stride, padding, 1, ceil_mode)
        self.count_include_pad = count_include_pad


class AdaptiveAvgPool2d(_Pool):
    """y[n, c, i, j] = the mean of the rows floor(i H / OH) to ceil((i + 1) H / OH) - 1, and so the columns, of x[n, c].

    Args:
        output_size: OH and OW, an integer for both or a pair; None in it is the input's own size.

    Shape:
        x (N, C, H, W), y (N, C, OH, OW).

    Raises:
        TypeError, ValueError: for sizes that are not positive integers, for x of another rank or without elements in a plane.

    Example:
        >>> AdaptiveAvgPool2d((1, None))(np.arange(16.0).reshape(1, 1, 4, 4))
        array([[[[6., 7., 8., 9.]]]])

    Source: torch.nn.AdaptiveAvgPool2d.
    """

    output_size = Option(method="_take")
    _wanted: tuple[int | None, ...]

    def __init__(self, output_size: int | tuple[int | None, int | None]) -> None:
        self.output_size = output_size

    def _take(self, output_size: Any) -> None:
        several = isinstance(output_size, (tuple, list))
        parts = tuple(output_size) if several else (output_size,) * 2
        if len(parts) != 2:
            raise InvalidValueError(
                "AdaptiveAvgPool2d", "an integer or a pair", shown(output_size), argument="output_size"
            )
        wanted = tuple(None if n is None and several else size(n, "output_size", "AdaptiveAvgPool2d", 1) for n in parts)
        vars(self).update(output_size=wanted if several else wanted[0], _wanted=wanted, _shapes=_Pool._shapes)

    def _outputs(self, sizes: Shape) -> Shape:
        return tuple(n if m is None else m for n, m in zip(sizes, self._wanted, strict=True))

    def _forward(self, x: Any) -> tuple[Array, Any]:
        """The mean of each share."""
        x, y = self._start(x)
        adaptive_avg_pool_forward(x, y)
        return y, (x.shape, y.shape, x.dtype, None)

    def _plan(self, plan: Any, x: Any) -> Any:
        return self._plan_windows(plan, x, "avg_pool", ((0, 0), (0, 0), (0, 0), (0, 0)))  # shares, not windows

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        """What each element's shares send it: gy over their size."""
        gy, gx, _ = self._start_back(saved, grad_output)
        adaptive_avg_pool_backward(gy, gx)
        return gx

    def _formula(self, node: Any, x: Any) -> Any:
        rows, columns = (_shares(int(n), int(m)) for n, m in zip(x.shape[2:], node.y.shape[2:], strict=True))
        return np.matmul(rows, np.matmul(x, np.transpose(columns)))


def _shares(size: int, count: int) -> Array:
    """The matrix (count, size) that takes the means of an axis's shares."""
    matrix = np.zeros((count, size))
    for n in range(count):
        share = slice(n * size // count, -(-(n + 1) * size // count))
        matrix[n, share] = 1 / (share.stop - share.start)
    return matrix
