"""Flatten: several axes made one."""

from __future__ import annotations

from math import prod
from typing import Any

from numpy.typing import NDArray

from fastdl._kernels.array import ready
from fastdl._kernels.option import Option
from fastdl.errors import InvalidValueError
from fastdl.messages import shown
from fastdl.nn.layer import Layer
from fastdl.validation import integer


class Flatten(Layer):
    """y = x with the axes start_dim to end_dim made one; y shares x's memory.

    Args:
        start_dim: the first of these axes; negative counts from the end.
        end_dim: the last of them.

    Shape:
        x (N, C, H, W), y (N, C H W) by default; of any number of axes that has both.

    Raises:
        TypeError, ValueError: for axes that are no integers, that x does not have, or where start_dim comes after end_dim.

    Example:
        >>> import numpy as np
        >>> Flatten()(np.zeros((5, 2, 3, 4))).shape
        (5, 24)

    Source: torch.nn.Flatten.
    """

    start_dim = Option(integer)
    end_dim = Option(integer)

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def _forward(self, x: Any) -> tuple[NDArray[Any], Any]:
        """x in its new shape."""
        x = ready(x, None, self)
        shape = x.shape or (1,)
        axes, first, last = len(shape), self.start_dim, self.end_dim
        for dim in (first, last):
            if not -axes <= dim < axes:
                raise InvalidValueError(shown(self), f"an input with an axis {dim}", f"shape {x.shape}")
        first, last = first % axes, last % axes
        if first > last:
            raise InvalidValueError(shown(self), "an input whose axes are in this order", f"shape {x.shape}")
        y = x.reshape(*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :])
        return y, (x.shape, y.shape, x.dtype)

    def _plan(self, plan: Any, x: Any) -> Any:
        axes = len(x.shape) + 1
        for dim in (self.start_dim, self.end_dim):
            if not -axes <= dim < axes:
                raise plan.refused_shape(shown(self), f"an input with an axis {dim}", x)
        first, last = self.start_dim % axes, self.end_dim % axes
        if first == 0 < last or first > last:
            raise plan.refusal(f"{shown(self)} joins samples")
        shape = (1, *x.shape)
        return x.reshaped((*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :])[1:])

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        """gy in x's shape."""
        x_shape, y_shape, dtype = saved
        return self._gradient(grad_output, y_shape, dtype).reshape(x_shape)
