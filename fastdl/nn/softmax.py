"""Softmax and LogSoftmax over one axis."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels import softmax as kernels
from fastdl._kernels.array import empty_like, ready
from fastdl._kernels.option import Option
from fastdl.errors import InvalidValueError
from fastdl.graph.size import Size
from fastdl.graph.value import Value
from fastdl.messages import shown
from fastdl.nn.layer import Layer
from fastdl.validation import integer


class _OverAxis(Layer):
    """y = f(x) along axis `dim`, backward from y."""

    _keeps_shape = True
    _kernels: ClassVar[tuple[Callable[..., None], Callable[..., None]]]
    _operation: ClassVar[str]

    dim = Option(integer)

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def _apply(self, *inputs: Any, **named: Any) -> Any:
        """f of a traced value: by its formula where sizes are open behind the first axis."""
        (x,) = (*inputs, *named.values())
        is_open = isinstance(x, Value) and any(isinstance(size, Size) for size in x.shape[1:])
        return self._formula(None, x) if is_open else super()._apply(x)

    def _forward(self, x: Any) -> tuple[NDArray[Any], Any]:
        """f(x)."""
        x = ready(x, None, self)
        shape = self._split(x.shape)
        y = empty_like(x)
        if y.size:
            self._kernels[0](x.reshape(shape), y.reshape(shape))
        return y, y

    def _plan(self, plan: Any, x: Any) -> Any:
        if self.dim % (len(x.shape) + 1) == 0:
            raise plan.refusal(f"{shown(self)} runs over the samples")
        rows, I, O = self._split((1, *x.shape))
        return plan.add(self._operation, self, x, x.shape, outer=rows, n=I, inner=O)

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        """The gradient with respect to x."""
        gy, y = self._gradient(grad_output, saved.shape, saved.dtype), saved
        shape = self._split(y.shape)
        gx = empty_like(y)
        if y.size:
            self._kernels[1](gy.reshape(shape), y.reshape(shape), gx.reshape(shape))
        return gx

    def _formula(self, node: Any, x: Any) -> Any:
        from fastdl.graph.operations import stop_gradient

        shifted: Any = x - stop_gradient(np.max(x, axis=self.dim, keepdims=True))
        sums: Any = np.sum(np.exp(shifted), axis=self.dim, keepdims=True)
        return np.exp(shifted) / sums if self._operation == "softmax" else shifted - np.log(sums)

    def _split(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """The shape as (outer, n, inner) around axis dim."""
        dim = self.dim
        if not -len(shape) <= dim < len(shape):
            raise InvalidValueError(shown(self), f"an input with an axis {dim}", f"shape {shape}")
        axis = dim % len(shape)
        return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


class Softmax(_OverAxis):
    """y_i = exp(x_i) / sum_j exp(x_j) along axis dim, computed from x - max x.

    Args:
        dim: the axis; by default the last.

    Example:
        >>> Softmax()(np.zeros((1, 4)))
        array([[0.25, 0.25, 0.25, 0.25]])

    Source: torch.nn.Softmax (dim=None, which torch deprecates, is -1 here).
    """

    _kernels = kernels.softmax_forward, kernels.softmax_backward
    _operation = "softmax"


class LogSoftmax(_OverAxis):
    """y_i = x_i - log sum_j exp(x_j) along axis dim, computed from x - max x.

    Args:
        dim: the axis; by default the last.

    Example:
        >>> np.exp(LogSoftmax()(np.zeros((1, 4))))
        array([[0.25, 0.25, 0.25, 0.25]])

    Source: torch.nn.LogSoftmax.
    """

    _kernels = kernels.log_softmax_forward, kernels.log_softmax_backward
    _operation = "log_softmax"
