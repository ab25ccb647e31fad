"""Dropout of elements and of whole channels, forward beside backward."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

from numpy.typing import NDArray

from fastdl._kernels.array import empty_like, ready
from fastdl._kernels.dropout import dropout_backward, dropout_forward
from fastdl._kernels.option import Option
from fastdl.errors import InvalidShapeError
from fastdl.messages import shown
from fastdl.nn.layer import Layer
from fastdl.random import stream
from fastdl.validation import real_number


class Dropout(Layer):
    """y = x mask / (1 - p) in training, where each element of the mask is 0 with probability p, else 1; y = x in evaluation.

    The mask is a function of the stream's seed, the number of the call and the element's place, so that it is not stored
    and does not depend on the number of threads. `Trainer.fit(seed=...)` or `fastdl.manual_seed` fixes the seed.

    Args:
        p: probability of an element to be zeroed.

    Shape:
        x and y have the same shape, any.

    Raises:
        TypeError, ValueError: for a p that is not a number from 0 to 1.

    Example:
        >>> import numpy as np
        >>> from fastdl import manual_seed
        >>> manual_seed(2)
        >>> layer = Dropout(0.5)
        >>> layer(np.ones(8))
        array([2., 2., 2., 2., 0., 2., 0., 2.])
        >>> layer.eval()(np.ones(3))
        array([1., 1., 1.])

    Source: torch.nn.Dropout; N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting",
    2014.
    """

    _keeps_shape = True
    _last_axes: int | None = 0
    p = Option(partial(real_number, low=0, high=1))

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def _forward(self, x: Any) -> tuple[NDArray[Any], Any]:
        """x mask / (1 - p) in training, x in evaluation."""
        x = ready(x, None, self)
        run = self._run(x.shape)
        p = self.p
        drawn = (p, *stream().next(), run) if self.training and p > 0 else None
        saved = x.shape, x.dtype, drawn
        if drawn is None:
            return x, saved
        y = empty_like(x)
        dropout_forward(x, *drawn, y)
        return y, saved

    def _plan(self, plan: Any, x: Any) -> Any:
        if not (self.training and self.p > 0):
            return x
        return plan.add("dropout", self, x, x.shape, p=self.p, run=self._run((1, *x.shape)), draw=plan.draw())

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        """gy mask / (1 - p), with the forward's mask."""
        shape, dtype, drawn = saved
        gy = self._gradient(grad_output, shape, dtype)
        if drawn is None:
            return gy
        gx = empty_like(gy)
        p, seed, call, run = drawn
        dropout_backward(gy, p, seed, call, run, gx)
        return gx

    def _formula(self, node: Any, x: Any) -> Any:
        from fastdl.graph.operations import stop_gradient

        return x * stop_gradient(node.slope())

    def _run(self, shape: tuple[int, ...]) -> int:
        """How many elements in a row are kept or dropped together."""
        return 1


class Dropout2d(Dropout):
    """y = x mask / (1 - p) in training, where each channel of the mask is 0 with probability p, else 1; y = x in evaluation.

    Args:
        p: probability of a channel to be zeroed.

    Shape:
        x and y (N, C, ...); a channel is what is behind the second axis.

    Raises:
        TypeError, ValueError: for a p that is not a number from 0 to 1.

    Example:
        >>> import numpy as np
        >>> from fastdl import manual_seed
        >>> manual_seed(3)
        >>> Dropout2d()(np.ones((1, 4, 2))).tolist()
        [[[2.0, 2.0], [2.0, 2.0], [2.0, 2.0], [0.0, 0.0]]]

    Source: torch.nn.Dropout2d; J. Tompson et al., "Efficient object localization using convolutional networks", 2015.
    """

    _last_axes = None

    def _run(self, shape: tuple[int, ...]) -> int:
        if len(shape) < 2:
            raise InvalidShapeError(shown(self), "input of shape (N, C, ...)", shape)
        return prod(shape[2:])
