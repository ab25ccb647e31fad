"""Conv2d and Conv1d: cross-correlation with learned filters."""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdl._kernels.array import empty, empty_like, ready
from fastdl._kernels.conv import conv_backward_input, conv_backward_weight, conv_forward
from fastdl.messages import shown
from fastdl.nn.grad_mode import mode
from fastdl.nn.initializer import Initializer
from fastdl.nn.weighted import Weighted
from fastdl.validation import one_of, pair, positive_integer, size

FURTHEST = 2**31
# The bytes that a process can address; sizes below it may be multiplied by small numbers without overflow.
ADDRESSABLE = 2**47


class _Convolution(Weighted):
    """A convolution over the axes behind the channels; to the kernels an image has two."""

    _axes: ClassVar[str]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] | str = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        weight_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        rng: int | np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        name = type(self).__name__
        self.in_channels = positive_integer(in_channels, "in_channels", name)
        self.out_channels = positive_integer(out_channels, "out_channels", name)
        self.kernel_size = self._lengths(kernel_size, "kernel_size", 1)
        self.stride = self._lengths(stride, "stride", 1)
        if isinstance(padding, str):
            self.padding = one_of(("same", "valid"), padding, "padding", name)
        else:
            self.padding = self._lengths(padding, "padding", 0)
        self.dilation = self._lengths(dilation, "dilation", 1)
        self.groups = positive_integer(groups, "groups", name)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"{name}: expected in_channels and out_channels that groups divides, got {shown(in_channels)} and"
                f" {shown(out_channels)} in {shown(groups)} groups"
            )
        if self.padding == "same" and max(self.stride) > 1:
            raise ValueError(f"{name}: expected stride 1 with padding 'same', got {stride}")
        self._make(bias, weight_init, bias_init, rng, dtype)

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the cross-correlation of x with W, plus b."""
        bias = self.bias
        W, b = self.weight._data, None if bias is None else bias._data
        if W is not self._fitting[0] or b is not self._fitting[1]:
            self._fit(W, b)
        x = ready(x, W.dtype, self)
        y = empty(self._output_shape(x.shape, x.itemsize), x.dtype)
        conv_forward(as_image(x), as_image(W), b, *self._geometry(), as_image(y))
        if mode.enabled:
            self._kept = x, y.shape, W
        return y

    def _plan(self, plan: Any, x: Any) -> Any:
        shape = self._output_shape((1, *x.shape), 1)[1:]
        (C, *image), (O, *output), kernel = x.shape, shape, self.kernel_size
        stride, padding, dilation, groups = self._geometry()
        (H, W), (OH, OW), (KH, KW) = ((1, *sizes)[-2:] for sizes in (image, output, kernel))
        s = 0, C, H, W, O, KH, KW, OH, OW, *stride, *padding, *dilation, groups
        return plan.add("conv", self, x, shape, self._parameters_of_plan(), s=s)

    def backward(self, grad_output: NDArray[Any]) -> NDArray[Any]:
        """Add to the gradients of W and b; return the gradient with respect to x."""
        x, gy = self._add_gradients(grad_output)
        gx = empty_like(x)
        conv_backward_input(as_image(gy), as_image(self.weight._data), *self._geometry(), as_image(gx))
        return gx

    def backward_parameters(self, grad_output: NDArray[Any]) -> None:
        """Add to the gradients of W and b."""
        if type(self).backward is not _Convolution.backward:
            self.backward(grad_output)  # a subclass has its own
        else:
            self._add_gradients(grad_output)

    def _backward_weight(
        self, gy: NDArray[Any], x: NDArray[Any], accumulate: bool, gW: NDArray[Any] | None, gb: NDArray[Any] | None
    ) -> None:
        conv_backward_weight(
            as_image(gy), as_image(x), *self._geometry(), accumulate, None if gW is None else as_image(gW), gb
        )

    def _weight_shape(self) -> tuple[int, ...]:
        return self.out_channels, self.in_channels // self.groups, *self.kernel_size

    def _lengths(self, value: Any, name: str, least: int) -> tuple[int, ...]:
        """An argument that is one int or one for each axis of the image, as a tuple."""
        raise NotImplementedError

    def _edges(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The zeros before and behind the image, along each axis; where `same` is an odd number, one more lies behind."""
        if not isinstance(self.padding, str):
            return self.padding, self.padding
        if self.padding == "valid":
            return (0,) * len(self._axes), (0,) * len(self._axes)
        around = [d * (k - 1) for k, d in zip(self.kernel_size, self.dilation, strict=True)]
        return tuple(n // 2 for n in around), tuple(n - n // 2 for n in around)

    def _geometry(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]:
        """Stride, padding before the image and dilation as pairs (rows, columns), and the groups."""
        stride, padding, dilation = self.stride, self._edges()[0], self.dilation
        if len(stride) == 1:
            return (1, *stride), (0, *padding), (1, *dilation), self.groups
        return stride, padding, dilation, self.groups

    def _output_shape(self, shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
        """The shape of y for an x of this shape, when the kernel fits in and memory could hold it."""
        if len(shape) != 2 + len(self._axes) or shape[1] != self.in_channels:
            wanted = f"(N, {self.in_channels}, {', '.join(self._axes)})"
            raise ValueError(f"{shown(self)}: expected input of shape {wanted}, got {shape}")
        out, padded = [shape[0], self.out_channels], [self.in_channels]
        for length, kernel, stride, dilation, before, behind in zip(
            shape[2:], self.kernel_size, self.stride, self.dilation, *self._edges(), strict=True
        ):
            spare = length + before + behind - dilation * (kernel - 1) - 1
            if spare < 0 or length < 1:
                extent = tuple(d * (k - 1) + 1 for k, d in zip(self.kernel_size, self.dilation, strict=True))
                raise ValueError(
                    f"{shown(self)}: expected images that hold a kernel of {extent} with their padding, got {shape[2:]}"
                )
            out.append(spare // stride + 1)
            padded.append(length + before + behind)
        if prod(out[1:]) * max(out[0], 1) * itemsize > ADDRESSABLE:
            raise ValueError(f"{shown(self)}: expected an output that memory can hold, got one of shape {tuple(out)}")
        if prod(padded) * itemsize > ADDRESSABLE:
            raise ValueError(f"{shown(self)}: expected padded images that memory can hold, got {tuple(padded)}")
        return tuple(out)

    def _argument(self, name: str) -> Any:
        value = super()._argument(name)
        return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value


class Conv2d(_Convolution):
    """y[n, o] = b[o] + sum_c x[n, c] * W[o, c], where * is cross-correlation over rows and columns.

    Args:
        in_channels: C, the channels of x.
        out_channels: O, the filters.
        kernel_size: rows and columns of a filter; this and the next three are an int or a pair of ints.
        stride: how far the filter moves from one output to the next.
        padding: rows of zeros above and below, columns left and right; "valid" for none, "same" (stride 1 only) for an
            output of the size of x, one more below and to the right where the zeros are odd in number.
        dilation: how far the filter's elements lie apart in x.
        groups: the channels are cut into so many groups; each output channel sees one. in_channels for depthwise.
        bias: whether b is there.
        weight_init: initializer of W; None is torch's, uniform in +-1/sqrt(C / groups * KH * KW).
        bias_init: initializer of b; None as for W.
        rng: seed or numpy.random.Generator for the draw; None takes the default generator.
        dtype: float32 or float64.

    Shape:
        x (N, C, H, W), y (N, O, OH, OW), weight (O, C / groups, KH, KW), bias (O,), with
        OH = (H + 2 padding - dilation (KH - 1) - 1) // stride + 1, and OW likewise.

    Raises:
        TypeError, ValueError: for sizes that are not such integers, groups that do not divide the channels, for x of another
            dtype, rank or number of channels, or smaller than the kernel.

    Example:
        >>> layer = Conv2d(1, 8, 5, rng=0)
        >>> layer(np.zeros((64, 1, 28, 28), dtype=np.float32)).shape
        (64, 8, 24, 24)
        >>> layer
        Conv2d(1, 8, 5)

    Source: torch.nn.Conv2d.
    """

    _axes = "HW"

    def _lengths(self, value: Any, name: str, least: int) -> tuple[int, ...]:
        return pair(value, name, type(self).__name__, least)


class Conv1d(_Convolution):
    """y[n, o] = b[o] + sum_c x[n, c] * W[o, c], where * is cross-correlation over one axis.

    Args:
        in_channels: C, the channels of x.
        out_channels: O, the filters.
        kernel_size: K, the length of a filter; this and the next three are an int, or a tuple of one.
        stride: how far the filter moves from one output to the next.
        padding: zeros on either side; "valid" for none, "same" (stride 1 only) for an output of the length of x, one more
            behind it where they are odd in number.
        dilation: how far the filter's elements lie apart in x.
        groups: the channels are cut into so many groups; each output channel sees one.
        bias: whether b is there.
        weight_init: initializer of W; None is torch's, uniform in +-1/sqrt(C / groups * K).
        bias_init: initializer of b; None as for W.
        rng: seed or numpy.random.Generator for the draw; None takes the default generator.
        dtype: float32 or float64.

    Shape:
        x (N, C, L), y (N, O, OL), weight (O, C / groups, K), bias (O,), with
        OL = (L + 2 padding - dilation (K - 1) - 1) // stride + 1.

    Raises:
        TypeError, ValueError: as for Conv2d.

    Example:
        >>> layer = Conv1d(2, 4, 3, padding="same", rng=0)
        >>> layer(np.zeros((10, 2, 100), dtype=np.float32)).shape
        (10, 4, 100)

    Source: torch.nn.Conv1d.
    """

    _axes = "L"

    def _lengths(self, value: Any, name: str, least: int) -> tuple[int, ...]:
        value = value[0] if isinstance(value, (tuple, list)) and len(value) == 1 else value
        return (size(value, name, type(self).__name__, least),)


def as_image(array: NDArray[Any]) -> NDArray[Any]:
    """An array with two axes behind its channels: a sequence is an image of one row."""
    return array if array.ndim == 4 else array[:, :, None]
