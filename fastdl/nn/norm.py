"""Normalization over the batch (BatchNorm1d, BatchNorm2d) and over each sample (LayerNorm), forward beside backward."""

from __future__ import annotations

import sys
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdl._kernels.access import Access
from fastdl._kernels.array import empty, empty_like, ready
from fastdl._kernels.layer_norm import layer_norm_backward, layer_norm_forward
from fastdl._kernels.norm import batch_norm_backward, batch_norm_evaluate, batch_norm_forward
from fastdl.messages import shown
from fastdl.nn.grad_mode import mode
from fastdl.nn.module import Layer
from fastdl.nn.parameter import Parameter, accumulates, learning_grad
from fastdl.validation import as_float_dtype, positive_integer, real_number, true_or_false

Array = NDArray[Any]
_BUFFERS = "running_mean", "running_var", "num_batches_tracked"


class _Normalization(Layer):
    """y = (x - mean) / sqrt(var + eps) W + b, where W and b may be missing."""

    _keeps_shape = True
    weight: Parameter | None
    bias: Parameter | None
    # The size and arrays that the kernels have last been given, and their dtype (None for none): a user may assign others.
    _fitting: tuple[Any, ...] = (None,) * 6
    _dtype: np.dtype[Any] | None = None

    def _set_affine(self, shape: tuple[int, ...], weight: bool, bias: bool, dtype: np.dtype[Any]) -> None:
        if prod(shape) * dtype.itemsize > sys.maxsize:
            raise ValueError(f"{type(self).__name__}: expected sizes that memory can hold, got {shown(shape)}")
        self.weight = Parameter(np.ones(shape, dtype)) if weight else None
        self.bias = Parameter(np.zeros(shape, dtype)) if weight and bias else None

    def _draw(self, generator: np.random.Generator) -> None:
        for parameter, value in ((self.weight, 1), (self.bias, 0)):
            if parameter is not None:
                parameter.data = np.full(parameter.shape, value)

    def backward(self, grad_output: Array) -> Array:
        """Add to the gradients of W and b; return the gradient with respect to x."""
        return self._backward(grad_output, True)

    def backward_parameters(self, grad_output: Array) -> None:
        """Add to the gradients of W and b."""
        if type(self).backward is not _Normalization.backward:
            self.backward(grad_output)  # a subclass has its own
        else:
            self._backward(grad_output, False)

    def _backward(self, grad_output: Array, with_input: bool) -> Any:
        raise NotImplementedError

    def _fit(self, size: Any, W: Any, b: Any, *buffers: Any) -> None:
        """Look at what the kernels read and write, when it is other arrays than the latest time."""
        dtype = None
        for name, array in zip(("weight", "bias", *_BUFFERS), (W, b, *buffers), strict=False):
            if array is None:
                continue
            counter = name == "num_batches_tracked"
            kinds = ("int64",) if counter else ("float32", "float64")
            if not isinstance(array, np.ndarray) or array.dtype not in map(np.dtype, kinds):
                raise TypeError(
                    f"{shown(self)}: expected an array of {' or '.join(kinds)} for {name}, got {shown(array)}"
                )
            dtype = dtype or array.dtype
            wanted = (array.dtype, ()) if counter else (dtype, size if isinstance(size, tuple) else (size,))
            if (array.dtype, array.shape) != wanted:
                raise ValueError(
                    f"{shown(self)}: expected {name} of {wanted[0]} and shape {wanted[1]}, got {array.dtype} and {array.shape}"
                )
            if not array.flags.carray:
                raise ValueError(f"{shown(self)}: expected a contiguous, writeable {name}; write {name}.copy()")
        self._fitting, self._dtype = (size, W, b, *buffers), dtype

    def _checked(self, grad_output: Array, x: Array) -> Array:
        if self._dtype is not None and self._dtype != x.dtype:
            raise RuntimeError(
                f"{shown(self)}: weights became {self._dtype} after a forward in {x.dtype}; call the model again"
            )
        return self._gradient(grad_output, x.shape, x.dtype)


class _BatchNorm(_Normalization):
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
        self.eps = real_number(eps, "eps", name, low=0)
        self.momentum = None if momentum is None else real_number(momentum, "momentum", name, low=0, high=1)
        self.affine = true_or_false(affine, "affine", name)
        self.track_running_stats = true_or_false(track_running_stats, "track_running_stats", name)
        bias = true_or_false(bias, "bias", name)
        dtype = as_float_dtype(dtype, name)
        self._set_affine((self.num_features,), self.affine, bias, dtype)
        self.running_mean = self.running_var = self.num_batches_tracked = None
        if self.track_running_stats:
            self.register_buffer("running_mean", np.zeros(self.num_features, dtype))
            self.register_buffer("running_var", np.ones(self.num_features, dtype))
            self.register_buffer("num_batches_tracked", np.zeros((), np.int64))

    def reset_running_stats(self) -> None:
        """Set the running mean to zeros, the running variance to ones, the number of batches to 0."""
        with Access(writes=[self]):
            for array, value in ((self.running_mean, 0), (self.running_var, 1), (self.num_batches_tracked, 0)):
                if array is not None:
                    array.fill(value)

    def _draw(self, generator: np.random.Generator) -> None:
        super()._draw(generator)
        self.reset_running_stats()

    def _arrays(self) -> tuple[Any, Any, Any, Any, Any, Any]:
        """The number of channels; weight, bias, running mean, running variance and the number of batches, an array or None."""
        weight, bias, batches = self.weight, self.bias, self.num_batches_tracked
        running_mean, running_var = self.running_mean, self.running_var
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
                raise ValueError(f"{shown(self)}: expected {', '.join(_BUFFERS)} or none of them, got only some")
            self._fit(channels, W, b, *buffers)
        return channels, W, b, running_mean, running_var, batches

    def forward(self, x: Array) -> Array:
        """Return x normalized by its own statistics in training, which move the running ones, else by the running ones."""
        channels, W, b, running_mean, running_var, batches = self._arrays()
        x = ready(x, self._dtype, self)
        if x.ndim not in self._shapes or x.shape[1] != channels:
            wanted = " or ".join(shape.format(C=channels) for shape in self._shapes.values())
            raise ValueError(f"{shown(self)}: expected input of shape {wanted}, got {x.shape}")
        mean, inverse, y = empty((channels,), x.dtype), empty((channels,), x.dtype), empty_like(x)
        by_batch = self.training or batches is None
        if by_batch:
            if x.size == channels:
                raise ValueError(
                    f"{shown(self)}: expected more than one value per channel when training, got input of shape {x.shape};"
                    " write a larger batch, or eval()"
                )
            if not (self.training and self.track_running_stats):
                running_mean = running_var = batches = None
            momentum = -1.0 if self.momentum is None else self.momentum
            batch_norm_forward(x, W, b, self.eps, momentum, running_mean, running_var, batches, mean, inverse, y)
        else:
            batch_norm_evaluate(x, W, b, running_mean, running_var, self.eps, mean, inverse, y)
        if mode.enabled:
            self._kept = x, mean, inverse, by_batch
        return y

    def _plan(self, plan: Any, x: Any) -> Any:
        C, _, _, running_mean, running_var, batches = self._arrays()
        D = prod(x.shape[1:])
        if len(x.shape) + 1 not in self._shapes or x.shape[0] != C:
            raise plan.refusal(f"a {type(self).__name__} was given samples of shape {x.shape}")
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
            {"W": self.weight, "b": self.bias},
            kept={"mean": C * plan.dtype.itemsize, "inverse": C * plan.dtype.itemsize},
            rows=C,
            I=D,
            training=int(by_batch),
            running_mean=0 if running_mean is None else running_mean,
            running_var=0 if running_var is None else running_var,
            batches=0 if batches is None else batches,
            eps=self.eps,
            momentum=-1.0 if self.momentum is None else self.momentum,
        )

    def _backward(self, grad_output: Array, with_input: bool) -> Any:
        x, mean, inverse, by_batch = self._recall()
        channels, W, *_ = self._arrays()
        if x.shape[1] != channels:
            raise RuntimeError(f"{shown(self)}: the latest forward was of {x.shape[1]} channels; call the model again")
        gy = self._checked(grad_output, x)
        weight, bias = self.weight, self.bias
        gx, gW, gb = empty_like(x) if with_input else None, learning_grad(weight), learning_grad(bias)
        if not (gx is gW is gb is None):
            batch_norm_backward(gy, x, W, mean, inverse, by_batch, accumulates(weight, bias), gx, gW, gb)
        return gx

    def _argument(self, name: str) -> Any:
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
        track_running_stats: False keeps no running statistics, and evaluation computes with the batch's too.
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
        track_running_stats: False keeps no running statistics, and evaluation computes with the batch's too.
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


class LayerNorm(_Normalization):
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
            raise ValueError("LayerNorm: expected at least one size for normalized_shape, got none")
        self.normalized_shape = tuple(positive_integer(size, "normalized_shape", "LayerNorm") for size in sizes)
        self.eps = real_number(eps, "eps", "LayerNorm", low=0)
        self.elementwise_affine = true_or_false(elementwise_affine, "elementwise_affine", "LayerNorm")
        bias = true_or_false(bias, "bias", "LayerNorm")
        self._set_affine(self.normalized_shape, self.elementwise_affine, bias, as_float_dtype(dtype, "LayerNorm"))

    def _arrays(self) -> tuple[Any, Any, Any]:
        """The shape that is normalized; weight and bias, each an array or None."""
        weight, bias, old, shape = self.weight, self.bias, self._fitting, self.normalized_shape
        W, b = None if weight is None else weight._data, None if bias is None else bias._data
        if old[0] != shape or W is not old[1] or b is not old[2]:
            self._fit(shape, W, b)
        return shape, W, b

    def forward(self, x: Array) -> Array:
        """Return each sample normalized by its own statistics."""
        shape, W, b = self._arrays()
        x = ready(x, self._dtype, self)
        if x.shape[-len(shape) :] != shape:
            raise ValueError(
                f"{shown(self)}: expected input of shape (..., {', '.join(map(str, shape))}), got {x.shape}"
            )
        n = prod(shape)
        N = x.size // n
        mean, inverse, y = empty((N,), x.dtype), empty((N,), x.dtype), empty_like(x)
        layer_norm_forward(x.reshape(N, n), W, b, self.eps, mean, inverse, y)
        if mode.enabled:
            self._kept = x, mean, inverse
        return y

    def _plan(self, plan: Any, x: Any) -> Any:
        shape, _, _ = self._arrays()
        if x.shape[-len(shape) :] != shape:
            raise plan.refusal(f"a {type(self).__name__} was given samples of shape {x.shape}")
        n = prod(shape)
        rows = x.size // n
        size = rows * plan.batch_size * plan.dtype.itemsize
        parameters = {"W": self.weight, "b": self.bias}
        return plan.add(
            "layer_norm",
            self,
            x,
            x.shape,
            parameters,
            kept={"mean": size, "inverse": size},
            rows=rows,
            I=n,
            eps=self.eps,
        )

    def _backward(self, grad_output: Array, with_input: bool) -> Any:
        x, mean, inverse = self._recall()
        shape, W, _ = self._arrays()
        gy = self._checked(grad_output, x)
        weight, bias = self.weight, self.bias
        gx, gW, gb = empty_like(x) if with_input else None, learning_grad(weight), learning_grad(bias)
        if not (gx is gW is gb is None):
            rows = x.reshape(len(mean), prod(shape))
            layer_norm_backward(gy, rows, W, mean, inverse, accumulates(weight, bias), gx, gW, gb)
        return gx

    def _argument(self, name: str) -> Any:
        return not self.elementwise_affine or self.bias is not None if name == "bias" else getattr(self, name)
