"""Arrangement: parts of an array, axes of size 1 put in and left out, and numbers in another dtype; forward beside backward."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl.errors import InvalidValueError
from fastdl.onnx.operation import Operation

Array = NDArray[Any]


class Slice(Operation):
    """Parts along axes.

    Args:
        parts: (axis, start, stop, step) for each; those beyond the ends stand for the ends.
    """

    def __init__(self, parts: tuple[tuple[int, int, int, int], ...]) -> None:
        self.parts = parts

    def _forward(self, x: Array) -> tuple[Array, Any]:
        """The parts of x."""
        place = [slice(None)] * x.ndim
        for axis, start, stop, step in self.parts:
            if not -x.ndim <= axis < x.ndim:
                raise InvalidValueError(self.spec(), f"an input with an axis {axis}", f"shape {x.shape}")
            size = x.shape[axis]
            if step < 0 and stop < -size:
                place[axis] = slice(start, None, step)
            else:
                place[axis] = slice(start, stop, step)
        return np.ascontiguousarray(x[tuple(place)]), (x.shape, tuple(place))

    def _backward(self, saved: Any, grad_output: Array, with_input: bool, with_parameters: bool) -> Array:
        """gy in its places, zeros elsewhere."""
        shape, place = saved
        gx = np.zeros(shape, grad_output.dtype)
        gx[place] = grad_output
        return gx


class Squeeze(Operation):
    """Axes of size 1 left out; None for all of them."""

    def __init__(self, axes: tuple[int, ...] | None = None) -> None:
        self.axes = axes

    def _forward(self, x: Array) -> tuple[Array, Any]:
        """x without them."""
        try:
            y = x.squeeze(self.axes)
        except (ValueError, np.exceptions.AxisError):
            raise InvalidValueError(self.spec(), "axes of size 1", f"shape {x.shape}") from None
        return y, x.shape

    def _backward(self, saved: Any, grad_output: Array, with_input: bool, with_parameters: bool) -> Array:
        """gy in x's shape."""
        return grad_output.reshape(saved)


class Unsqueeze(Operation):
    """Axes of size 1 put in, at these places of the output."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def _forward(self, x: Array) -> tuple[Array, Any]:
        """x with them."""
        try:
            y = np.expand_dims(x, self.axes)
        except (ValueError, np.exceptions.AxisError):
            raise InvalidValueError(
                self.spec(), f"different places among {x.ndim + len(self.axes)} axes", f"shape {x.shape}"
            ) from None
        return y, x.shape

    def _backward(self, saved: Any, grad_output: Array, with_input: bool, with_parameters: bool) -> Array:
        """gy in x's shape."""
        return grad_output.reshape(saved)


class Cast(Operation):
    """The same numbers in another dtype; it has a gradient between floats."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def _forward(self, x: Array) -> tuple[Array, Any]:
        """x in the dtype."""
        return x.astype(self.dtype), x.dtype

    def _backward(self, saved: Any, grad_output: Array, with_input: bool, with_parameters: bool) -> Array | tuple[None]:
        """gy in x's dtype; nothing for numbers that are none of the real line."""
        return grad_output.astype(saved) if saved.kind == "f" else (None,)
