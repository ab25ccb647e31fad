"""Normalization over the batch (BatchNorm1d, BatchNorm2d), forward beside backward."""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdl._kernels.access import Access
from fastdl._kernels.array import empty, empty_like, ready
from fastdl._kernels.batch_norm import batch_norm_backward, batch_norm_evaluate, batch_norm_forward
from fastdl._kernels.option import Option
from fastdl.errors import InvalidShapeError, InvalidValueError
from fastdl.messages import shown
from fastdl.nn.normalization import BUFFERS, Normalization
from fastdl.validation import as_float_dtype, positive_integer, real_number, true_or_false

Array = NDArray[Any]


def _share(value: float | None, name: str, owner: str) -> float | None:
    return None if value is None else real_number(value, name, owner, low=0, high=1)


class _BatchNorm(Normalization):
    momentum = Option(_share)
    affine = Option(true_or_false, fixed="whether there are weights")
    track_running_stats = Option(true_or_false)
    _shapes: ClassVar[dict[int, str]]
    running_mean: Array | None
    running_var: Array | None
    num_batches_tracked: Array | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        name = type(self).__name__
        self.num_features = positive_integer(num_features, "num_features", name)
        self.eps, self.momentum, self.affine, self.track_running_stats = eps, momentum, affine, track_running_stats
        bias = true_or_false(bias, "bias", name)
        dtype = as_float_dtype(dtype, name)
        shapes = self._state_shapes(self.num_features, self.affine, self.track_running_stats, bias)
        self._make((self.num_features,), shapes, dtype)
        self.running_mean = self.running_var = self.num_batches_tracked = None
        if self.track_running_stats:
            self.register_buffer("running_mean", np.zeros(shapes["running_mean"], dtype))
            self.register_buffer("running_var", np.ones(shapes["running_var"], dtype))
            self.register_buffer("num_batches_tracked", np.zeros(shapes["num_batches_tracked"], np.int64))

    @classmethod
    def _state_shapes(
        cls, num_features: int, affine: bool = True, track_running_stats: bool = True, bias: bool = True, **_: Any
    ) -> dict[str, tuple[int, ...]]:
        """See Module."""
        shape = (num_features,)
        shapes = cls._affine_shapes(shape, affine, bias)
        if track_running_stats:
            shapes |= {"running_mean": shape, "running_var": shape, "num_batches_tracked": ()}
        return shapes

    def reset_running_stats(self) -> None:
        """Set the running mean to zeros, the running variance to ones, the number of batches to 0."""
        with Access(writes=[self]):
            for array, value in zip(self._running(), (0, 1, 0), strict=True):
                if array is not None:
                    array.fill(value)

    def _draw(self, generator: np.random.Generator) -> None:
        super()._draw(generator)
        self.reset_running_stats()

    def _running(self) -> tuple[Any, Any, Any]:
        """The running mean and variance and the number of batches, also in traced code as arrays."""
        own = self.__dict__
        return own["running_mean"], own["running_var"], own["num_batches_tracked"]

    def _arrays(self) -> tuple[Any, Any, Any, Any, Any, Any]:
        """The number of channels; weight, bias, running mean, running variance and the number of batches, an array or None."""
        weight, bias = self.weight, self.bias
        running_mean, running_var, batches = self._running()
        W, b = None if weight is None else weight._data, None if bias is None else bias._data
        channels = self.num_features
        size, *old = self._fitting
        if not (
            size == channels
            and W is old[0]
            and b is old[1]
            and running_mean is old[2]
            and running_var is old[3]
            and batches is old[4]
        ):
            buffers = running_mean, running_var, batches
            if len({buffer is None for buffer in buffers}) > 1:
                raise InvalidValueError(shown(self), f"{', '.join(BUFFERS)} or none of them", "only some")
            self._fit(channels, W, b, *buffers)
        return channels, W, b, running_mean, running_var, batches

    def _wanted(self) -> str:
        return f"input of shape {' or '.join(shape.format(C=self.num_features) for shape in self._shapes.values())}"

    def _forward(self, x: Any) -> tuple[Array, Any]:
        """x normalized by its own statistics in training, which move the running ones, else by the running ones."""
        channels, W, b, running_mean, running_var, batches = self._arrays()
        x = ready(x, self._dtype, self)
        if x.ndim not in self._shapes or x.shape[1] != channels:
            raise InvalidShapeError(shown(self), self._wanted(), x.shape)
        mean, inverse, y = empty((channels,), x.dtype), empty((channels,), x.dtype), empty_like(x)
        by_batch = self.training or batches is None
        if by_batch:
            if x.size == channels:
                raise InvalidValueError(
                    shown(self),
                    "more than one value per channel when training",
                    f"input of shape {x.shape}",
                    "write a larger batch, or eval()",
                )
            if not (self.training and self.track_running_stats):
                running_mean = running_var = batches = None
            momentum = -1.0 if self.momentum is None else self.momentum
            running = running_mean, running_var, batches
            run = self._turns.run_training if self.training else self._turns.run
            run(batch_norm_forward, x, W, b, self.eps, momentum, *running, mean, inverse, y)
        else:
            self._turns.run(batch_norm_evaluate, x, W, b, running_mean, running_var, self.eps, mean, inverse, y)
        return y, (x, mean, inverse, by_batch)

    def _plan(self, plan: Any, x: Any) -> Any:
        C, _, _, running_mean, running_var, batches = self._arrays()
        D = prod(x.shape[1:])
        if len(x.shape) + 1 not in self._shapes or x.shape[0] != C:
            raise plan.refused_shape(shown(self), self._wanted(), x)
        by_batch = self.training or batches is None
        if by_batch and D == 1:
            plan.at_least(2, self)
        if by_batch and not (self.training and self.track_running_stats):
            running_mean = running_var = batches = None
        return plan.add(
            "batch_norm",
            self,
            x,
            x.shape,
            parameters={"W": self.weight, "b": self.bias},
            buffers={"running_mean": running_mean, "running_var": running_var, "num_batches_tracked": batches},
            saved=dict.fromkeys(("mean", "inverse"), (C * plan.dtype.itemsize, 0)),
            C=C,
            D=D,
            training=by_batch,
            eps=self.eps,
            momentum=-1.0 if self.momentum is None else self.momentum,
        )

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        """Add to the gradients of W and b; the gradient with respect to x."""
        x, mean, inverse, by_batch = saved
        channels, W, b, *_ = self._arrays()
        if x.shape[1] != channels:
            raise RuntimeError(f"{shown(self)}: the latest forward was of {x.shape[1]} channels; call the model again")
        gy = self._checked(grad_output, x)
        gx = empty_like(x) if with_input else None
        read = gy, x, W, mean, inverse, by_batch
        self._turns.run_backward(self, batch_norm_backward, read, (gx,), with_parameters, W, b)
        return gx

    def _formula(self, node: Any, x: Any, W: Any, b: Any) -> Any:
        from fastdl.graph.operations import given_slope, stop_gradient

        if node.record.attributes["training"]:
            axes = (0, *range(2, x.ndim))
            y = (x - np.mean(x, axis=axes, keepdims=True)) / np.sqrt(np.var(x, axis=axes, keepdims=True) + self.eps)
        else:  # x less one number, times another
            plain = node.without_parameters()
            y = given_slope(x, plain.y, stop_gradient(plain.slope()))
        along = (-1, *[1] * (x.ndim - 2))
        y = y if W is None else y * np.reshape(W, along)
        return y if b is None else y + np.reshape(b, along)

    def _argument(self, name: str) -> Any:
        if name == "track_running_stats":
            return self.running_mean is not None
        return not self.affine or self.bias is not None if name == "bias" else getattr(self, name)


class BatchNorm1d(_BatchNorm):
    """y = (x - mean) / sqrt(var + eps) W + b for each channel: in training with mean and variance of the batch.

    They move the running statistics, with which evaluation computes:
    running = (1 - momentum) running + momentum (the batch's mean, and its variance over n - 1).

    Args:
        num_features: C, the number of channels.
        eps: added to the variance.
        momentum: the batch's share in the running statistics; None for the average over all batches so far.
        affine: whether W and b are there; they begin as ones and zeros.
        track_running_stats: False keeps no running statistics, and evaluation computes with the batch's too. Assigned
            later, False lets those that there are stand still; specs and files tell which there are, not whether they move.
        bias: whether b is there, beside W.
        dtype: float32 or float64.

    Shape:
        x and y (N, C) or (N, C, L), W, b, running_mean and running_var (C,), num_batches_tracked ().

    Raises:
        TypeError, ValueError: for arguments of another kind or out of range, for x of another dtype or shape, for one
            value per channel where the batch's statistics are taken.

    Example:
        >>> layer = BatchNorm1d(2)
        >>> layer(np.array([[0, 5], [2, 5]], dtype=np.float32)).round(3)
        array([[-1.,  0.],
               [ 1.,  0.]], dtype=float32)
        >>> layer.running_mean, layer.running_var
        (array([0.1, 0.5], dtype=float32), array([1.1, 0.9], dtype=float32))

    Source: torch.nn.BatchNorm1d; S. Ioffe and C. Szegedy, "Batch normalization", 2015.
    """

    _shapes = {2: "(N, {C})", 3: "(N, {C}, L)"}  # noqa: RUF012


class BatchNorm2d(_BatchNorm):
    """y = (x - mean) / sqrt(var + eps) W + b for each channel of images; see BatchNorm1d.

    Args:
        num_features: C, the number of channels.
        eps: added to the variance.
        momentum: the batch's share in the running statistics; None for the average over all batches so far.
        affine: whether W and b are there; they begin as ones and zeros.
        track_running_stats: False keeps no running statistics, and evaluation computes with the batch's too. Assigned
            later, False lets those that there are stand still; specs and files tell which there are, not whether they move.
        bias: whether b is there, beside W.
        dtype: float32 or float64.

    Shape:
        x and y (N, C, H, W), the rest as in BatchNorm1d.

    Raises:
        TypeError, ValueError: as BatchNorm1d.

    Example:
        >>> layer = BatchNorm2d(3).eval()
        >>> layer(np.ones((2, 3, 4, 4), dtype=np.float32)).shape
        (2, 3, 4, 4)

    Source: torch.nn.BatchNorm2d; S. Ioffe and C. Szegedy, "Batch normalization", 2015.
    """

    _shapes = {4: "(N, {C}, H, W)"}  # noqa: RUF012
