"""Weighted: what layers with a weight and perhaps a bias have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdl._kernels.array import empty_like, ready_gradient_of_rows
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import shown
from fastdl.nn import init
from fastdl.nn.initializer import Initializer
from fastdl.nn.layer import Layer
from fastdl.nn.parameter import Parameter
from fastdl.random import as_generator
from fastdl.validation import as_float_dtype, true_or_false


class Weighted(Layer):
    """A layer with a weight W (out, in, ...) and a bias b (out,) or None: made, drawn, looked at anew and differentiated.

    A subclass declares the shape of W, stores its sizes and calls `_make`; its forward saves x, W, W's shape, the output's
    (None for rows through a matrix) and its geometry: what its kernels are given beside arrays.
    """

    _held = "weight", "bias"

    weight: Parameter
    bias: Parameter | None
    # The kernel of all gradients: (gy, x, W, *geometry, accumulate, gx, gW, gb).
    _backward_kernel: Callable[..., None]
    # The arrays of weight and bias that the kernels have last been given, and the weight's shape: a user may assign others.
    _fitting: tuple[Any, Any, Any] = (None, None, None)

    def _make(
        self,
        bias: bool,
        weight_init: Initializer | None,
        bias_init: Initializer | None,
        rng: int | np.random.Generator | None,
        dtype: DTypeLike,
    ) -> None:
        """Make W and b and draw them; None is torch's initializer, uniform in +-1/sqrt(inputs of an output)."""
        name, shape = type(self).__name__, self._weight_shape()
        bias = true_or_false(bias, "bias", name)
        for argument, initializer in (("weight_init", weight_init), ("bias_init", bias_init)):
            if initializer is not None and not isinstance(initializer, Initializer):
                raise InvalidTypeError(
                    name, "an initializer such as init.xavier_normal()", shown(initializer), argument=argument
                )
        self.weight_init, self.bias_init = weight_init, bias_init
        dtype = as_float_dtype(dtype, name)
        if prod(shape) * dtype.itemsize > sys.maxsize:
            raise InvalidValueError(name, "sizes whose product memory can hold", f"a weight of shape {shown(shape)}")
        self.weight = Parameter(np.empty(shape, dtype))
        self.bias = Parameter(np.empty(shape[:1], dtype)) if bias else None
        self._draw(as_generator(rng))

    @classmethod
    def _shape_of(cls, *_: Any, **sizes: Any) -> tuple[int, ...]:
        """The shape of W, for sizes as the constructor takes them."""
        raise NotImplementedError

    @classmethod
    def _state_shapes(cls, *_: Any, bias: bool = True, **sizes: Any) -> dict[str, tuple[int, ...]]:
        """See Module."""
        shape = cls._shape_of(**sizes)
        return {"weight": shape} | ({"bias": shape[:1]} if bias else {})

    def _weight_shape(self) -> tuple[int, ...]:
        """The shape of W."""
        raise NotImplementedError

    def _draw(self, generator: np.random.Generator) -> None:
        bound = prod(self._weight_shape()[1:]) ** -0.5
        default = _within(bound)
        (self.weight_init or default).apply(self.weight, generator)
        if self.bias is not None:
            (self.bias_init or default).apply(self.bias, generator)

    def _weights(self, shape: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """The arrays of W, which must be of this shape, and b."""
        bias, fitting = self.bias, self._fitting
        W, b = self.weight._data, None if bias is None else bias._data
        if W is not fitting[0] or b is not fitting[1] or shape != fitting[2]:
            self._fit(W, b, shape)
        return W, b

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        """Add to the gradients of W and b; the gradient with respect to x."""
        x, forward_W, weight_shape, shape, geometry = saved
        W, b = self._weights(weight_shape)
        if W is not forward_W and x.dtype != W.dtype:
            raise RuntimeError(
                f"{shown(self)}: weights became {W.dtype} after a forward in {x.dtype}; call the model again"
            )
        rows = shape is None
        gy = ready_gradient_of_rows(grad_output, x, W, self) if rows else self._gradient(grad_output, shape, x.dtype)
        gx = empty_like(x) if with_input else None
        self._turns.run_backward(self, self._backward_kernel, (gy, x, W, *geometry), (gx,), with_parameters, W, b)
        return gx

    def _fit(self, W: NDArray[Any], b: NDArray[Any] | None, shape: tuple[int, ...]) -> None:
        """Look at W and b, when they or the sizes are others than the latest time: anyone may assign another Parameter."""
        if W.shape != shape:
            raise InvalidValueError(shown(self), f"a weight of shape {shown(shape)}", W.shape)
        if b is not None and (b.shape != shape[:1] or b.dtype != W.dtype):
            raise InvalidValueError(
                shown(self), f"a bias of {W.dtype} and shape {shape[:1]}", f"{b.dtype} and {b.shape}"
            )
        self._turns = self._make_turns()  # first: another thread takes it as soon as the arrays fit
        self._fitting = W, b, shape

    def _parameters_of_plan(self) -> dict[str, Parameter | None]:
        self._weights(self._weight_shape())
        return {"W": self.weight, "b": self.bias}

    def multiply_adds(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
        """Each output is a product with as many inputs as a row of W has elements."""
        return prod(output_shape) * prod(self._weight_shape()[1:])

    def _argument(self, name: str) -> Any:
        return self.bias is not None if name == "bias" else getattr(self, name)


@lru_cache(maxsize=256)
def _within(bound: float) -> Initializer:
    """torch's initializer, of which layers of a size share one."""
    return init.uniform(-bound, bound)
