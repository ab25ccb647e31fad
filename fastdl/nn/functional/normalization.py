"""Normalization, with weights that are arrays, parameters or traced values."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph.value import Value
from fastdl.nn.batch_norm import BatchNorm1d, BatchNorm2d
from fastdl.nn.buffer import Buffer
from fastdl.nn.functional.applied import applied_with, array_or_value, as_weight
from fastdl.nn.layer_norm import LayerNorm
from fastdl.validation import positive_integer, real_number


def batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """(x - mean) / sqrt(var + eps) weight + bias for each channel, axis 1 of x; see nn.BatchNorm1d.

    Args:
        x: of shape (N, C), (N, C, L) or (N, C, H, W).
        running_mean, running_var: (C,): arrays, buffers, or None in training.
        weight, bias: (C,), or None.
        training: whether mean and variance are the batch's; then the running ones move by `momentum`: arrays and buffers in
            calls with arrays, buffers in traced code.
        momentum: the batch's share in the running statistics.
        eps: added to the variance.

    Example:
        >>> batch_norm(np.array([[0.0], [2.0]]), None, None, training=True).round(3)
        array([[-1.],
               [ 1.]])
    """
    x, W, b = array_or_value(x), as_weight(weight, "weight", "batch_norm"), as_weight(bias, "bias", "batch_norm")
    if x.ndim not in (2, 3, 4):
        raise InvalidValueError("batch_norm", "x of shape (N, C), (N, C, L) or (N, C, H, W)", x.shape, argument="x")
    if not training:
        if running_mean is None or running_var is None:
            raise InvalidTypeError("batch_norm", "running statistics, or training=True", "None")
        mean, var = (_along_channels(array_or_value(each), x.ndim) for each in (running_mean, running_var))
        return _affine((x - mean) / np.sqrt(var + eps), W, b)
    kind = BatchNorm2d if x.ndim == 4 else BatchNorm1d
    own = W is not None and b is not None
    layer = kind(int(x.shape[1]), eps, affine=own, track_running_stats=False, dtype=x.dtype)
    y = applied_with(layer, x, {"weight": W, "bias": b} if own else {})
    momentum, axes = real_number(momentum, "momentum", "batch_norm", low=0, high=1), (0, *range(2, x.ndim))
    if running_mean is not None:
        _move(running_mean, np.mean(x, axis=axes), momentum)
    if running_var is not None:
        _move(running_var, np.var(x, axis=axes, ddof=1), momentum)
    return y if own else _affine(y, W, b)


def layer_norm(
    x: Any, normalized_shape: int | tuple[int, ...], weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """(x - mean) / sqrt(var + eps) weight + bias over the last axes of x; see nn.LayerNorm.

    Example:
        >>> layer_norm(np.array([[1.0, 3.0]]), 2).round(3)
        array([[-1.,  1.]])
    """
    x, W, b = array_or_value(x), as_weight(weight, "weight", "layer_norm"), as_weight(bias, "bias", "layer_norm")
    own = W is not None
    layer = LayerNorm(normalized_shape, eps, own, bias=own and b is not None, dtype=W.dtype if own else np.float32)
    rows = x if x.ndim > len(layer.normalized_shape) else np.expand_dims(x, 0)
    y = applied_with(layer, rows, {"weight": W, "bias": b} if own else {})
    y = y if rows is x else np.squeeze(y, 0)
    return y if own or b is None else y + b


def group_norm(x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """(x - mean) / sqrt(var + eps) weight + bias, with mean and variance of a sample's groups of channels.

    Args:
        x: of shape (N, C, ...).
        num_groups: how many groups the channels are cut into; divides C.
        weight, bias: (C,), or None.
        eps: added to the variance.

    Example:
        >>> group_norm(np.array([[1.0, 3.0, 10.0, 30.0]]), 2).round(3)
        array([[-1.,  1., -1.,  1.]])

    Source: torch.nn.functional.group_norm; Y. Wu and K. He, "Group normalization", 2018.
    """
    x, groups = array_or_value(x), positive_integer(num_groups, "num_groups", "group_norm")
    W, b = as_weight(weight, "weight", "group_norm"), as_weight(bias, "bias", "group_norm")
    if x.ndim < 2 or x.shape[1] % groups:
        raise InvalidValueError("group_norm", f"x of shape (N, C, ...) whose C is a multiple of {groups}", x.shape)
    size = int(np.prod([int(each) for each in x.shape[1:]])) // groups
    y = np.reshape(layer_norm(np.reshape(x, (x.shape[0], groups, size)), size, eps=eps), x.shape)
    return _affine(y, W, b)


def instance_norm(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """(x - mean) / sqrt(var + eps) weight + bias, with mean and variance of each sample's channels.

    Args:
        x: of shape (N, C, L) or (N, C, H, W).
        weight, bias: (C,), or None.
        eps: added to the variance.

    Example:
        >>> instance_norm(np.array([[[1.0, 3.0]]])).round(3)
        array([[[-1.,  1.]]])

    Source: torch.nn.functional.instance_norm.
    """
    x = array_or_value(x)
    if x.ndim < 3:
        raise InvalidValueError("instance_norm", "x of shape (N, C, L) or (N, C, H, W)", x.shape)
    return group_norm(x, int(x.shape[1]), weight, bias, eps)


def normalize(x: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Any:
    """x / max(norm, eps), with the p-norms of x along an axis.

    Example:
        >>> normalize(np.array([[3.0, 4.0]]))
        array([[0.6, 0.8]])

    Source: torch.nn.functional.normalize.
    """
    x = array_or_value(x)
    if p != np.inf:
        p = real_number(p, "p", "normalize", low=1)
    if p == np.inf:
        norm: Any = np.max(np.abs(x), axis=dim, keepdims=True)
    else:
        total: Any = np.sum(np.square(x) if p == 2 else np.abs(x) ** p, axis=dim, keepdims=True)
        nothing = total == 0  # whose root has no derivative
        above = np.where(nothing, 1, total)
        norm = np.where(nothing, 0, np.sqrt(above) if p == 2 else above ** (1 / p))
    return x / np.maximum(norm, eps)


def _affine(y: Any, weight: Any, bias: Any) -> Any:
    """y weight + bias, for each channel."""
    y = y if weight is None else y * _along_channels(weight, y.ndim)
    return y if bias is None else y + _along_channels(bias, y.ndim)


def _along_channels(values: Any, ndim: int) -> Any:
    """Values of the channels, to be broadcast to axis 1."""
    return np.reshape(values, (-1, *[1] * (ndim - 2)))


def _move(running: Any, of_batch: Any, momentum: float) -> None:
    """Let a running statistic follow that of a batch."""
    moved = (1 - momentum) * array_or_value(running) + momentum * of_batch
    if isinstance(running, Buffer):
        running.update(moved)
    elif isinstance(of_batch, Value):
        raise InvalidTypeError("batch_norm", "running statistics in nn.Buffer in traced code", type(running).__name__)
    else:
        np.copyto(running, moved)
