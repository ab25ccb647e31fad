"""Operations: what ONNX computes with and fastdl has no layer for, on NumPy, forward beside backward.

Those of several inputs take them as arguments, and backward returns a tuple with a gradient for each.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.quiet import Quiet
from fastdl.errors import InvalidValueError
from fastdl.messages import shown
from fastdl.nn.grad_mode import mode
from fastdl.nn.layer import Layer
from fastdl.nn.module import Module

Array = NDArray[Any]


class Operation(Layer):
    """y = f(a, b, ...) of arrays."""

    def __call__(self, *inputs: Any, **named: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return Module.__call__(self, *inputs, **named)

    def forward(self, *inputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the output for the inputs; outside no_grad, what backward needs is kept until the next forward."""
        y, saved = self._forward(*inputs)
        if mode.enabled:
            self._kept = saved
        return y

    def _refused(self, *arrays: Array) -> ValueError:
        """The error for arrays whose shapes do not go together."""
        shapes = " and ".join(str(array.shape) for array in arrays)
        return InvalidValueError(shown(self), "inputs whose shapes go together", shapes)

    def _broadcast(self, *arrays: Array) -> None:
        try:
            np.broadcast_shapes(*(array.shape for array in arrays))
        except ValueError:
            raise self._refused(*arrays) from None


class Add(Operation):
    """y = a + b, broadcast as by NumPy."""

    def _forward(self, a: Array, b: Array) -> tuple[Array, Any]:
        """a + b."""
        self._broadcast(a, b)
        return a + b, (a.shape, b.shape)

    def _backward(self, saved: Any, grad_output: Array, with_input: bool, with_parameters: bool) -> tuple[Array, Array]:
        """gy for both."""
        a, b = saved
        return summed(grad_output, a), summed(grad_output, b)


class Sub(Operation):
    """y = a - b, broadcast as by NumPy."""

    def _forward(self, a: Array, b: Array) -> tuple[Array, Any]:
        """a - b."""
        self._broadcast(a, b)
        return a - b, (a.shape, b.shape)

    def _backward(self, saved: Any, grad_output: Array, with_input: bool, with_parameters: bool) -> tuple[Array, Array]:
        """gy and -gy."""
        a, b = saved
        return summed(grad_output, a), summed(-grad_output, b)


class Mul(Operation):
    """y = a b, element by element, broadcast as by NumPy."""

    def _forward(self, a: Array, b: Array) -> tuple[Array, Any]:
        """a b."""
        self._broadcast(a, b)
        return a * b, (a, b)

    def _backward(self, saved: Any, grad_output: Array, with_input: bool, with_parameters: bool) -> tuple[Array, Array]:
        """gy b and gy a."""
        a, b = saved
        return summed(grad_output * b, a.shape), summed(grad_output * a, b.shape)


class Div(Operation):
    """y = a / b, element by element, broadcast as by NumPy; of integers without the remainder."""

    def _forward(self, a: Array, b: Array) -> tuple[Array, Any]:
        """a / b."""
        self._broadcast(a, b)
        with Quiet(divide="ignore", invalid="ignore", over="ignore"):
            y = a / b if a.dtype.kind == "f" else np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))
        return y, (a.shape, b, y)

    def _backward(self, saved: Any, grad_output: Array, with_input: bool, with_parameters: bool) -> tuple[Array, Array]:
        """gy / b and -gy y / b."""
        a, b, y = saved
        with Quiet(divide="ignore", invalid="ignore", over="ignore"):
            ga = grad_output / b
            return summed(ga, a), summed(-ga * y, b.shape)


class MatMul(Operation):
    """y = a @ b, as numpy.matmul takes matrices in more than two axes, and vectors."""

    def _forward(self, a: Array, b: Array) -> tuple[Array, Any]:
        """a @ b."""
        try:
            y = np.asarray(a @ b)
        except ValueError:
            raise self._refused(a, b) from None
        return y, (a, b)

    def _backward(self, saved: Any, grad_output: Array, with_input: bool, with_parameters: bool) -> tuple[Array, Array]:
        """gy b^T and a^T gy."""
        a, b = saved
        rows, columns = a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b
        gy = grad_output
        if b.ndim == 1:
            gy = gy[..., None]
        if a.ndim == 1:
            gy = gy[..., None, :]
        ga, gb = gy @ columns.swapaxes(-1, -2), rows.swapaxes(-1, -2) @ gy
        return summed(ga, rows.shape).reshape(a.shape), summed(gb, columns.shape).reshape(b.shape)


class Where(Operation):
    """y = a where the condition holds, else b, broadcast as by NumPy."""

    def _forward(self, condition: Array, a: Array, b: Array) -> tuple[Array, Any]:
        """a or b, element by element."""
        self._broadcast(condition, a, b)
        return np.where(condition, a, b), (condition, a.shape, b.shape)

    def _backward(
        self, saved: Any, grad_output: Array, with_input: bool, with_parameters: bool
    ) -> tuple[None, Array, Array]:
        """gy for the one that was chosen, zeros for the other."""
        condition, a, b = saved
        zeros = np.zeros_like(grad_output)
        return (
            None,
            summed(np.where(condition, grad_output, zeros), a),
            summed(np.where(condition, zeros, grad_output), b),
        )


class Greater(Operation):
    """y = whether a > b, element by element; it has no gradient."""

    def _forward(self, a: Array, b: Array) -> tuple[Array, Any]:
        """a > b."""
        self._broadcast(a, b)
        return np.greater(a, b), ()

    def _backward(self, saved: Any, grad_output: Array, with_input: bool, with_parameters: bool) -> tuple[None, None]:
        """No gradients."""
        return None, None


class Concat(Operation):
    """Arrays side by side along an axis."""

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def _forward(self, *arrays: Array) -> tuple[Array, Any]:
        """The arrays as one."""
        try:
            y = np.concatenate(arrays, self.axis)
        except ValueError:
            raise self._refused(*arrays) from None
        return y, [array.shape[self.axis] for array in arrays]

    def _backward(self, saved: Any, grad_output: Array, with_input: bool, with_parameters: bool) -> tuple[Array, ...]:
        """Each array's part of gy."""
        return tuple(np.split(grad_output, np.cumsum(saved[:-1]), self.axis))


class Reshape(Operation):
    """The same elements in another shape.

    Args:
        shape: -1 for what is left, and 0 for the input's own size there (unless allow_zero, when 0 is 0).
        allow_zero: see shape.
    """

    def __init__(self, shape: tuple[int, ...], allow_zero: bool = False) -> None:
        self.shape, self.allow_zero = tuple(shape), allow_zero

    def _forward(self, x: Array) -> tuple[Array, Any]:
        """x in its new shape."""
        try:
            shape = [x.shape[i] if n == 0 and not self.allow_zero else n for i, n in enumerate(self.shape)]
            if -1 in shape and x.size == 0:  # NumPy cannot tell what is left of nothing
                rest = math.prod(n for n in shape if n != -1)
                shape[shape.index(-1)] = 0 if rest else x.shape[shape.index(-1)]
            y = x.reshape(shape)
        except (ValueError, IndexError):
            raise InvalidValueError(shown(self), "an input that this shape holds", x.shape) from None
        return y, x.shape

    def _backward(self, saved: Any, grad_output: Array, with_input: bool, with_parameters: bool) -> Array:
        """gy in x's shape."""
        return grad_output.reshape(saved)


class Matrix(Operation):
    """The same elements as a matrix: the axes before `axis` are its rows, the others its columns."""

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def _forward(self, x: Array) -> tuple[Array, Any]:
        """x as a matrix."""
        axis = self.axis + x.ndim if self.axis < 0 else self.axis
        if not 0 <= axis <= x.ndim:
            raise InvalidValueError(shown(self), f"an input with an axis {self.axis}", f"shape {x.shape}")
        return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:])), x.shape

    def _backward(self, saved: Any, grad_output: Array, with_input: bool, with_parameters: bool) -> Array:
        """gy in x's shape."""
        return grad_output.reshape(saved)


class Transpose(Operation):
    """The axes in another order; None turns it around."""

    def __init__(self, axes: tuple[int, ...] | None = None) -> None:
        self.axes = axes

    def _forward(self, x: Array) -> tuple[Array, Any]:
        """x with its axes in this order."""
        axes = tuple(reversed(range(x.ndim))) if self.axes is None else self.axes
        if sorted(axes) != list(range(x.ndim)):
            raise InvalidValueError(shown(self), f"an input of {len(axes)} axes", f"shape {x.shape}")
        return np.ascontiguousarray(x.transpose(axes)), axes

    def _backward(self, saved: Any, grad_output: Array, with_input: bool, with_parameters: bool) -> Array:
        """gy with its axes back in x's order."""
        return np.ascontiguousarray(grad_output.transpose(np.argsort(saved)))


class Take(Operation):
    """What lies at given places along an axis, by numpy.take; a single integer takes the axis away."""

    def __init__(self, indices: int | tuple[Any, ...], axis: int) -> None:
        self.indices, self.axis = indices, axis

    def _forward(self, x: Array) -> tuple[Array, Any]:
        """What lies there."""
        indices = np.asarray(self.indices, np.int64)
        if not -x.ndim <= self.axis < x.ndim or (
            indices.size and not (-x.shape[self.axis] <= indices.min() and indices.max() < x.shape[self.axis])
        ):
            raise InvalidValueError(shown(self), "an input with these places", f"shape {x.shape}")
        return np.ascontiguousarray(x.take(indices, self.axis)), (x.shape, x.dtype)

    def _backward(self, saved: Any, grad_output: Array, with_input: bool, with_parameters: bool) -> Array:
        """gy where it was taken from, summed where a place was taken several times."""
        shape, dtype = saved
        place: Any = (slice(None),) * (self.axis % len(shape)) + (np.asarray(self.indices, np.int64),)
        gx = np.zeros(shape, dtype)
        np.add.at(gx, place, grad_output)
        return gx


class Mean(Operation):
    """The mean over some axes.

    Args:
        axes: which; None for all, an Ellipsis for those of images' planes (all but the first two).
        keepdims: whether they stay, of size 1.
    """

    def __init__(self, axes: Any = None, keepdims: bool = True) -> None:
        self.axes, self.keepdims = axes, keepdims

    def _forward(self, x: Array) -> tuple[Array, Any]:
        """The means."""
        axes = tuple(range(2, x.ndim)) if self.axes is ... else self.axes
        if axes is not None and any(not -x.ndim <= axis < x.ndim for axis in axes):
            raise InvalidValueError(shown(self), "an input with these axes", f"shape {x.shape}")
        y = np.asarray(x.mean(axis=axes, keepdims=True))
        return (y if self.keepdims else np.asarray(x.mean(axis=axes))), (x.shape, y.shape)

    def _backward(self, saved: Any, grad_output: Array, with_input: bool, with_parameters: bool) -> Array:
        """Each element's share of gy."""
        shape, kept = saved
        count = math.prod(n // m for n, m in zip(shape, kept, strict=True) if m)
        share = (grad_output / count).astype(grad_output.dtype)
        return np.ascontiguousarray(np.broadcast_to(share.reshape(kept), shape))


class Pad(Operation):
    """An edge of one number around the axes behind the channels.

    Args:
        before: how much before each of those axes.
        behind: how much behind each.
        value: the number.
    """

    def __init__(self, before: tuple[int, ...], behind: tuple[int, ...], value: float = 0.0) -> None:
        self.before, self.behind, self.value = before, behind, value

    def _forward(self, x: Array) -> tuple[Array, Any]:
        """x with its edge."""
        if x.ndim != 2 + len(self.before):
            raise InvalidValueError(shown(self), f"an input of {2 + len(self.before)} axes", f"shape {x.shape}")
        return np.pad(
            x, [(0, 0), (0, 0), *zip(self.before, self.behind, strict=True)], constant_values=self.value
        ), x.shape

    def _backward(self, saved: Any, grad_output: Array, with_input: bool, with_parameters: bool) -> Array:
        """gy without the edge."""
        places = tuple(slice(p, p + n) for p, n in zip(self.before, saved[2:], strict=True))
        return np.ascontiguousarray(grad_output[:, :, *places])


def summed(gradient: Array, shape: tuple[int, ...]) -> Array:
    """The gradient with respect to an array of this shape that was broadcast to the gradient's."""
    if gradient.shape == shape:
        return gradient
    lead = gradient.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(lead + i for i, n in enumerate(shape) if n == 1 and gradient.shape[lead + i] != 1)
    return np.asarray(gradient.sum(axis=axes)).reshape(shape)
