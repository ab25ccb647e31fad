"""Normalization over each sample (LayerNorm), forward beside backward."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdl._kernels.array import empty, empty_like, ready
from fastdl._kernels.layer_norm import layer_norm_backward, layer_norm_forward
from fastdl._kernels.option import Option
from fastdl.errors import InvalidShapeError, InvalidValueError
from fastdl.messages import shown
from fastdl.nn.normalization import Normalization
from fastdl.validation import as_float_dtype, positive_integer, true_or_false

Array = NDArray[Any]


class LayerNorm(Normalization):
    """y = (x - mean) / sqrt(var + eps) W + b, with mean and variance over the last axes of each sample.

    Args:
        normalized_shape: sizes of those axes, a tuple; an integer for the last one alone.
        eps: added to the variance.
        elementwise_affine: whether W and b are there; they begin as ones and zeros.
        bias: whether b is there, beside W.
        dtype: float32 or float64.

    Shape:
        x and y (..., *normalized_shape), W and b normalized_shape.

    Raises:
        TypeError, ValueError: for arguments of another kind or out of range, for x of another dtype or shape.

    Example:
        >>> LayerNorm(2)(np.array([[0, 2], [5, 5]], dtype=np.float32)).round(3)
        array([[-1.,  1.],
               [ 0.,  0.]], dtype=float32)

    Source: torch.nn.LayerNorm; J. Ba et al., "Layer normalization", 2016.
    """

    elementwise_affine = Option(true_or_false, fixed="whether there are weights")

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...] | list[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        sizes = normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        if not sizes:
            raise InvalidValueError("LayerNorm", "at least one size", "none", argument="normalized_shape")
        self.normalized_shape = tuple(positive_integer(size, "normalized_shape", "LayerNorm") for size in sizes)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        bias = true_or_false(bias, "bias", "LayerNorm")
        shapes = self._state_shapes(self.normalized_shape, self.elementwise_affine, bias)
        self._make(self.normalized_shape, shapes, as_float_dtype(dtype, "LayerNorm"))

    @classmethod
    def _state_shapes(
        cls, normalized_shape: Any, elementwise_affine: bool = True, bias: bool = True, **_: Any
    ) -> dict[str, tuple[int, ...]]:
        """See Module."""
        shape = tuple(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        return cls._affine_shapes(shape, elementwise_affine, bias)

    def _arrays(self) -> tuple[Any, Any, Any]:
        """The shape that is normalized; weight and bias, each an array or None."""
        weight, bias, old, shape = self.weight, self.bias, self._fitting, self.normalized_shape
        W, b = None if weight is None else weight._data, None if bias is None else bias._data
        if old[0] != shape or W is not old[1] or b is not old[2]:
            self._fit(shape, W, b)
        return shape, W, b

    def _forward(self, x: Any) -> tuple[Array, Any]:
        """Each sample normalized by its own statistics."""
        shape, W, b = self._arrays()
        x = ready(x, self._dtype, self)
        if x.shape[-len(shape) :] != shape:
            raise InvalidShapeError(shown(self), f"input of shape (..., {', '.join(map(str, shape))})", x.shape)
        n = prod(shape)
        N = x.size // n
        mean, inverse, y = empty((N,), x.dtype), empty((N,), x.dtype), empty_like(x)
        self._turns.run(layer_norm_forward, x.reshape(N, n), W, b, self.eps, mean, inverse, y)
        return y, (x, mean, inverse)

    @property
    def _last_axes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self.normalized_shape)

    def _plan(self, plan: Any, x: Any) -> Any:
        shape, _, _ = self._arrays()
        if x.shape[-len(shape) :] != shape:
            if x.shape == shape[1:]:
                raise plan.refusal(f"{shown(self)} runs over the samples")
            raise plan.refused_shape(shown(self), f"input of shape (..., {', '.join(map(str, shape))})", x)
        n = prod(shape)
        rows = x.size // n
        size = rows * plan.batch_size * plan.dtype.itemsize
        return plan.add(
            "layer_norm",
            self,
            x,
            x.shape,
            parameters={"W": self.weight, "b": self.bias},
            saved=dict.fromkeys(("mean", "inverse"), (size, 0)),
            rows=rows,
            n=n,
            eps=self.eps,
        )

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        """Add to the gradients of W and b; the gradient with respect to x."""
        x, mean, inverse = saved
        shape, W, b = self._arrays()
        gy = self._checked(grad_output, x)
        gx = empty_like(x) if with_input else None
        read = gy, x.reshape(len(mean), prod(shape)), W, mean, inverse
        self._turns.run_backward(self, layer_norm_backward, read, (gx,), with_parameters, W, b)
        return gx

    def _formula(self, node: Any, x: Any, W: Any, b: Any) -> Any:
        axes = tuple(range(-len(self.normalized_shape), 0))
        y = (x - np.mean(x, axis=axes, keepdims=True)) / np.sqrt(np.var(x, axis=axes, keepdims=True) + self.eps)
        y = y if W is None else y * W
        return y if b is None else y + b

    def _argument(self, name: str) -> Any:
        return not self.elementwise_affine or self.bias is not None if name == "bias" else getattr(self, name)
