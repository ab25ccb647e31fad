"""Conv2d and Conv1d: cross-correlation with learned filters."""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdl._kernels.array import empty, ready
from fastdl._kernels.conv import conv_backward, conv_forward
from fastdl.errors import InvalidShapeError, InvalidValueError
from fastdl.messages import shown
from fastdl.nn.initializer import Initializer
from fastdl.nn.weighted import Weighted
from fastdl.validation import one_of, pair, positive_integer, size

# The bytes that a process can address; sizes below it may be multiplied by small numbers without overflow.
ADDRESSABLE = 2**47


class _Sizes(NamedTuple):
    """A convolution's sizes; a tuple has an entry for each axis behind the channels."""

    in_channels: int
    out_channels: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    dilation: tuple[int, ...]
    groups: int
    weight: tuple[int, ...]

    def edges(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The zeros before and behind the image, along each axis; where `same` is an odd number, one more lies behind."""
        if not isinstance(self.padding, str):
            return self.padding, self.padding
        if self.padding == "valid":
            return (0,) * len(self.kernel), (0,) * len(self.kernel)
        around = [d * (k - 1) for k, d in zip(self.kernel, self.dilation, strict=True)]
        return tuple(n // 2 for n in around), tuple(n - n // 2 for n in around)

    def geometry(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]:
        """Stride, padding before the image and dilation as pairs (rows, columns), and the groups."""
        stride, padding, dilation = self.stride, self.edges()[0], self.dilation
        if len(stride) == 1:
            return (1, *stride), (0, *padding), (1, *dilation), self.groups
        return stride, padding, dilation, self.groups


class _Convolution(Weighted):
    """A convolution over the axes behind the channels; to the kernels an image has two."""

    _axes: ClassVar[str]
    _backward_kernel = staticmethod(conv_backward)

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
        sizes = self._checked_sizes(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        self.in_channels, self.out_channels, self.kernel_size = sizes.in_channels, sizes.out_channels, sizes.kernel
        self.stride, self.padding, self.dilation, self.groups = (
            sizes.stride,
            sizes.padding,
            sizes.dilation,
            sizes.groups,
        )
        self._make(bias, weight_init, bias_init, rng, dtype)

    def _checked_sizes(
        self,
        in_channels: Any,
        out_channels: Any,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: Any,
    ) -> _Sizes:
        """The constructor's arguments in their plain form, or an error."""
        name = type(self).__name__
        C, O = positive_integer(in_channels, "in_channels", name), positive_integer(out_channels, "out_channels", name)
        kernel, steps = self._lengths(kernel_size, "kernel_size", 1), self._lengths(stride, "stride", 1)
        if isinstance(padding, str):
            around: tuple[int, ...] | str = one_of(("same", "valid"), padding, "padding", name)
        else:
            around = self._lengths(padding, "padding", 0)
        apart, parts = self._lengths(dilation, "dilation", 1), positive_integer(groups, "groups", name)
        if C % parts or O % parts:
            raise InvalidValueError(
                name,
                "in_channels and out_channels that groups divides",
                f"{shown(in_channels)} and {shown(out_channels)} in {shown(groups)} groups",
            )
        if around == "same" and max(steps) > 1:
            raise InvalidValueError(name, "stride 1 with padding 'same'", stride)
        return _Sizes(C, O, kernel, steps, around, apart, parts, self._shape_of(C, O, kernel, parts))

    # The attributes as they were last looked at, and what they say.
    _seen: tuple[Any, Any] = (None, None)

    def _sizes(self) -> _Sizes:
        """The sizes; whoever sets one of the attributes anew hears what the constructor would say."""
        given = (
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )
        before, sizes = self._seen
        if given != before:
            sizes = self._checked_sizes(*given)
            self._seen = given, sizes
        return sizes

    def _forward(self, x: Any) -> tuple[NDArray[Any], Any]:
        """The cross-correlation of x with W, plus b."""
        sizes = self._sizes()
        W, b = self._weights(sizes.weight)
        x = ready(x, W.dtype, self)
        shape, geometry = self._output_shape(sizes, x.shape, x.itemsize), sizes.geometry()
        y = empty(shape, x.dtype)
        self._turns.run(conv_forward, x, W, b, *geometry, y)
        return y, (x, W, sizes.weight, shape, geometry)

    def _plan(self, plan: Any, x: Any) -> Any:
        sizes = self._sizes()
        shape = self._output_shape(sizes, (1, *x.shape), 1)[1:]
        (C, *image), (O, *output), kernel = x.shape, shape, sizes.kernel
        stride, padding, dilation, groups = sizes.geometry()
        (H, W), (OH, OW), (KH, KW) = ((1, *each)[-2:] for each in (image, output, kernel))
        (SH, SW), (PH, PW), (DH, DW) = stride, padding, dilation
        geometry = {"N": 0, "C": C, "H": H, "W": W, "O": O, "KH": KH, "KW": KW, "OH": OH, "OW": OW, "G": groups}
        geometry |= {"SH": SH, "SW": SW, "PH": PH, "PW": PW, "DH": DH, "DW": DW}
        return plan.add("conv", self, x, shape, parameters=self._parameters_of_plan(), **geometry)

    def _formula(self, node: Any, x: Any, W: Any, b: Any) -> Any:
        """A sum over the kernel's places, each a product of its weights and the pixels that it meets."""
        sizes = self._sizes()
        (SH, SW), _, (DH, DW), G = sizes.geometry()
        before, behind = sizes.edges()
        x = np.pad(x, ((0, 0), (0, 0), *zip(before, behind, strict=True)))
        N, C, *image = x.shape
        H, width = (1, *image)[-2:]
        O, K, *kernel = W.shape
        KH, KW = (1, *kernel)[-2:]
        OH, OW = (
            (n - d * (k - 1) - 1) // s + 1 for n, d, k, s in zip((H, width), (DH, DW), (KH, KW), (SH, SW), strict=True)
        )
        x, W = np.reshape(x, (N, G, C // G, H, width)), np.reshape(W, (G, O // G, K, KH, KW))
        y: Any = 0.0
        for row in range(KH):
            for column in range(KW):
                rows = slice(row * DH, row * DH + (OH - 1) * SH + 1, SH)
                columns = slice(column * DW, column * DW + (OW - 1) * SW + 1, SW)
                pixels = np.reshape(x[:, :, :, rows, columns], (N, G, C // G, OH * OW))
                y = y + np.matmul(W[:, :, :, row, column], pixels)
        y = np.reshape(y, node.y.shape)
        return y if b is None else y + np.reshape(b, (O, *[1] * len(image)))

    @classmethod
    def _shape_of(
        cls, in_channels: int, out_channels: int, kernel_size: int | tuple[int, ...], groups: int = 1, **_: Any
    ) -> tuple[int, ...]:
        kernel = tuple(kernel_size) if isinstance(kernel_size, (tuple, list)) else (kernel_size,) * len(cls._axes)
        return out_channels, in_channels // groups, *kernel

    def _weight_shape(self) -> tuple[int, ...]:
        return self._sizes().weight

    def _lengths(self, value: Any, name: str, least: int) -> tuple[int, ...]:
        """An argument that is one int or one for each axis of the image, as a tuple."""
        raise NotImplementedError

    def _output_shape(self, sizes: _Sizes, shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
        """The shape of y for an x of this shape, when the kernel fits in and memory could hold it."""
        if len(shape) != 2 + len(self._axes) or shape[1] != sizes.in_channels:
            wanted = f"(N, {sizes.in_channels}, {', '.join(self._axes)})"
            raise InvalidShapeError(shown(self), f"input of shape {wanted}", shape)
        out, padded = [shape[0], sizes.out_channels], [sizes.in_channels]
        for length, kernel, stride, dilation, before, behind in zip(
            shape[2:], sizes.kernel, sizes.stride, sizes.dilation, *sizes.edges(), strict=True
        ):
            spare = length + before + behind - dilation * (kernel - 1) - 1
            if spare < 0 or length < 1:
                extent = tuple(d * (k - 1) + 1 for k, d in zip(sizes.kernel, sizes.dilation, strict=True))
                wanted = f"images that hold a kernel of {extent} with their padding"
                raise InvalidShapeError(shown(self), wanted, shape[2:], shape=shape)
            out.append(spare // stride + 1)
            padded.append(length + before + behind)
        if prod(out[1:]) * max(out[0], 1) * itemsize > ADDRESSABLE:
            raise InvalidValueError(shown(self), "an output that memory can hold", f"one of shape {tuple(out)}")
        if prod(padded) * itemsize > ADDRESSABLE:
            raise InvalidValueError(shown(self), "padded images that memory can hold", tuple(padded))
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
