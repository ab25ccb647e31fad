"""Uniform: random numbers between 0 and 1 in the shape of an input, for the random functions of nn.functional."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from fastdl._kernels.array import empty_like, ready
from fastdl._kernels.uniform import uniform_forward
from fastdl.nn.layer import Layer
from fastdl.random import stream


class Uniform(Layer):
    """y uniform between 0 and 1, in training and in evaluation: a function of the seed, the call's number and the place.

    Shape:
        x and y have the same shape, any.
    """

    _keeps_shape = True
    _last_axes = 0

    def _forward(self, x: Any) -> tuple[NDArray[Any], Any]:
        """The numbers."""
        y = empty_like(ready(x, None, self))
        uniform_forward(*stream().next(), y)
        return y, (y.shape, y.dtype)

    def _plan(self, plan: Any, x: Any) -> Any:
        return plan.add("uniform", self, x, x.shape, draw=plan.draw())

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        """Zeros: the numbers do not depend on x."""
        return 0 * self._gradient(grad_output, *saved)

    def _formula(self, node: Any, x: Any) -> Any:
        return node.y + 0 * x
