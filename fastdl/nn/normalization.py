"""Normalization: what batch and layer normalization have in common."""

from __future__ import annotations

import sys
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.option import Option
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import shown
from fastdl.nn.layer import Layer
from fastdl.nn.parameter import Parameter
from fastdl.validation import real_number

Array = NDArray[Any]
BUFFERS = "running_mean", "running_var", "num_batches_tracked"


class Normalization(Layer):
    """y = (x - mean) / sqrt(var + eps) W + b, where W and b may be missing."""

    _keeps_shape = True
    _held = "weight", "bias"
    eps = Option(partial(real_number, low=0))
    weight: Parameter | None
    bias: Parameter | None
    # The size and arrays that the kernels have last been given, and their dtype (None for none): a user may assign others.
    _fitting: tuple[Any, ...] = (None,) * 6
    _dtype: np.dtype[Any] | None = None

    @staticmethod
    def _affine_shapes(shape: tuple[int, ...], weight: bool, bias: bool) -> dict[str, tuple[int, ...]]:
        return ({"weight": shape} if weight else {}) | ({"bias": shape} if weight and bias else {})

    def _make(self, shape: tuple[int, ...], shapes: dict[str, tuple[int, ...]], dtype: np.dtype[Any]) -> None:
        """Make W and b of the declared shapes, for samples of a shape."""
        if prod(shape) * dtype.itemsize > sys.maxsize:
            raise InvalidValueError(type(self).__name__, "sizes that memory can hold", shown(shape))
        self.weight = Parameter(np.ones(shapes["weight"], dtype)) if "weight" in shapes else None
        self.bias = Parameter(np.zeros(shapes["bias"], dtype)) if "bias" in shapes else None

    def _draw(self, generator: np.random.Generator) -> None:
        for parameter, value in ((self.weight, 1), (self.bias, 0)):
            if parameter is not None:
                parameter.data = np.full(parameter.shape, value)

    def _fit(self, size: Any, W: Any, b: Any, *buffers: Any) -> None:
        """Look at what the kernels read and write, when it is other arrays than the latest time."""
        dtype = None
        for name, array in zip(("weight", "bias", *BUFFERS), (W, b, *buffers), strict=False):
            if array is None:
                continue
            counter = name == "num_batches_tracked"
            kinds = ("int64",) if counter else ("float32", "float64")
            if not isinstance(array, np.ndarray) or array.dtype not in map(np.dtype, kinds):
                raise InvalidTypeError(shown(self), f"an array of {' or '.join(kinds)}", shown(array), argument=name)
            dtype = dtype or array.dtype
            wanted = (array.dtype, ()) if counter else (dtype, size if isinstance(size, tuple) else (size,))
            if (array.dtype, array.shape) != wanted:
                raise InvalidValueError(
                    shown(self), f"{name} of {wanted[0]} and shape {wanted[1]}", f"{array.dtype} and {array.shape}"
                )
            if not array.flags.carray:
                raise InvalidValueError(shown(self), f"a contiguous, writeable {name}", hint=f"write {name}.copy()")
        self._dtype, self._turns = (
            dtype,
            self._make_turns(),
        )  # first: another thread takes them as soon as the arrays fit
        self._fitting = size, W, b, *buffers

    def _checked(self, grad_output: Array, x: Array) -> Array:
        if self._dtype is not None and self._dtype != x.dtype:
            raise RuntimeError(
                f"{shown(self)}: weights became {self._dtype} after a forward in {x.dtype}; call the model again"
            )
        return self._gradient(grad_output, x.shape, x.dtype)
