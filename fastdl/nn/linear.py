"""Linear: the fully connected layer."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdl._kernels.array import rows_through
from fastdl._kernels.linear import linear_backward, linear_forward
from fastdl.messages import shown
from fastdl.nn.initializer import Initializer
from fastdl.nn.weighted import Weighted
from fastdl.validation import positive_integer


class Linear(Weighted):
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
        >>> from fastdl.nn import init
        >>> layer = Linear(2, 25, weight_init=init.xavier_normal(gain=1.4), rng=0)
        >>> layer(np.zeros((100, 2), dtype=np.float32)).shape
        (100, 25)

    Source: torch.nn.Linear.
    """

    _backward_kernel = staticmethod(linear_backward)
    _last_axes = 1

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
        self._make(bias, weight_init, bias_init, rng, dtype)

    @classmethod
    def _shape_of(cls, in_features: int, out_features: int, **_: Any) -> tuple[int, ...]:
        return out_features, in_features

    def _weight_shape(self) -> tuple[int, ...]:
        return self._shape_of(self.in_features, self.out_features)

    def _forward(self, x: Any) -> tuple[NDArray[Any], Any]:
        """x W^T + b."""
        shape = self.out_features, self.in_features
        W, b = self._weights(shape)
        x, y = rows_through(x, W, self)
        self._turns.run(linear_forward, x, W, b, y)
        return y, (x, W, shape, None, ())

    def _plan(self, plan: Any, x: Any) -> Any:
        lead, (O, I) = x.shape[:-1], self._weight_shape()
        if x.shape and x.shape[-1] != I:
            raise plan.refused_shape(shown(self), f"input of shape (..., {I})", x)
        if not x.shape:
            raise plan.refusal(f"{shown(self)} runs over the samples")
        parameters = self._parameters_of_plan()
        return plan.add("linear", self, x, (*lead, O), parameters=parameters, rows=prod(lead), I=I, O=O)

    def _formula(self, node: Any, x: Any, W: Any, b: Any) -> Any:
        y: Any = np.matmul(x, np.transpose(W))
        return y if b is None else y + b
