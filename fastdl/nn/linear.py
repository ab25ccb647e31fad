"""Linear: the fully connected layer."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdl._kernels.array import empty_like, empty_rows, ready
from fastdl._kernels.linear import linear_backward_input, linear_backward_weight, linear_forward
from fastdl.arguments import as_float_dtype, positive_integer, true_or_false
from fastdl.nn import init
from fastdl.nn.grad_mode import mode
from fastdl.nn.initializer import Initializer
from fastdl.nn.module import Layer
from fastdl.nn.parameter import Parameter, accumulates, learning_grad
from fastdl.random import as_generator


class Linear(Layer):
    """y = x W^T + b.

    Args:
        in_features: size of the last axis of x.
        out_features: size of the last axis of y.
        bias: whether b is there.
        weight_init: initializer of W; None is torch's, uniform in +-1/sqrt(in_features).
        bias_init: initializer of b; None as for W.
        rng: seed or numpy.random.Generator for the draw; None takes the default generator.
        dtype: float32 or float64.

    Shape:
        x (..., in_features), y (..., out_features), weight W (out_features, in_features), bias b (out_features,).

    Raises:
        TypeError, ValueError: for sizes that are not positive integers, for x of another dtype or last axis.

    Example:
        >>> layer = Linear(2, 25, weight_init=init.xavier_normal(gain=1.4), rng=0)
        >>> layer(np.zeros((100, 2), dtype=np.float32)).shape
        (100, 25)

    Source: torch.nn.Linear.
    """

    # The arrays of weight and bias that the kernels have last been given: a user may assign others.
    _fitting: tuple[Any, Any] = (None, None)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        weight_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        rng: int | np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.in_features = positive_integer(in_features, "in_features", "Linear")
        self.out_features = positive_integer(out_features, "out_features", "Linear")
        bias = true_or_false(bias, "bias", "Linear")
        for name, initializer in (("weight_init", weight_init), ("bias_init", bias_init)):
            if initializer is not None and not isinstance(initializer, Initializer):
                raise TypeError(
                    f"Linear: expected an initializer such as init.xavier_normal() for {name}, got {initializer!r}"
                )
        self.weight_init, self.bias_init = weight_init, bias_init
        dtype = as_float_dtype(dtype, "Linear")
        if self.in_features * self.out_features * dtype.itemsize > sys.maxsize:
            raise ValueError(f"Linear({in_features}, {out_features}): expected sizes whose product memory can hold")
        self.weight = Parameter(np.empty((self.out_features, self.in_features), dtype))
        self.bias = Parameter(np.empty(self.out_features, dtype)) if bias else None
        self._draw(as_generator(rng))

    def _draw(self, generator: np.random.Generator) -> None:
        bound = self.in_features**-0.5
        default = init.uniform(-bound, bound)
        (self.weight_init or default).apply(self.weight, generator)
        if self.bias is not None:
            (self.bias_init or default).apply(self.bias, generator)

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return x W^T + b."""
        bias = self.bias
        W, b = self.weight._data, None if bias is None else bias._data
        if W is not self._fitting[0] or b is not self._fitting[1]:
            self._fit(W, b)
        x = ready(x, W.dtype, self)
        if not x.ndim or x.shape[-1] != self.in_features:
            raise ValueError(f"{self.spec()}: expected input of shape (..., {self.in_features}), got {x.shape}")
        y = empty_rows(x, self.out_features)
        linear_forward(x, W, b, y)
        if mode.enabled:
            self._kept = x, y.shape, W
        return y

    def backward(self, grad_output: NDArray[Any]) -> NDArray[Any]:
        """Add to the gradients of W and b; return gy W, the gradient with respect to x."""
        x, gy = self._add_gradients(grad_output)
        gx = empty_like(x)
        linear_backward_input(gy, self.weight._data, gx)
        return gx

    def backward_parameters(self, grad_output: NDArray[Any]) -> None:
        """Add to the gradients of W and b."""
        if type(self).backward is not Linear.backward:
            self.backward(grad_output)  # a subclass has its own
        else:
            self._add_gradients(grad_output)

    def _add_gradients(self, grad_output: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Add to the gradients of W and b; return x and gy."""
        x, shape, forward_W = self._recall()
        weight, bias = self.weight, self.bias
        W, b = weight._data, None if bias is None else bias._data
        if W is not self._fitting[0] or b is not self._fitting[1]:
            self._fit(W, b)
        if W is not forward_W and x.dtype != W.dtype:
            raise RuntimeError(
                f"{self.spec()}: weights became {W.dtype} after a forward in {x.dtype}; call the model again"
            )
        gy = ready(grad_output, x.dtype, self)
        if gy.shape != shape:
            raise ValueError(f"{self.spec()}: expected a gradient of shape {shape}, got {gy.shape}")
        gW, gb = learning_grad(weight), learning_grad(bias)
        if gW is not None or gb is not None:
            linear_backward_weight(gy, x, accumulates(weight, bias), gW, gb)
        return x, gy

    def _fit(self, W: NDArray[Any], b: NDArray[Any] | None) -> None:
        """Look at W and b, when they are others than the latest time: anyone may assign another Parameter."""
        shape = self.out_features, self.in_features
        if W.shape != shape:
            raise ValueError(f"{self.spec()}: expected a weight of shape {shape}, got {W.shape}")
        if b is not None and (b.shape != shape[:1] or b.dtype != W.dtype):
            raise ValueError(
                f"{self.spec()}: expected a bias of {W.dtype} and shape {shape[:1]}, got {b.dtype} and {b.shape}"
            )
        self._fitting = W, b

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("_fitting", None)
        return state

    def _argument(self, name: str) -> Any:
        return self.bias is not None if name == "bias" else getattr(self, name)
