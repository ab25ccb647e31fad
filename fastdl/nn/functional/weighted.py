"""Linear maps and convolutions, whose weights are arrays, parameters or traced values."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdl.errors import InvalidShapeError, InvalidValueError
from fastdl.graph.value import Value
from fastdl.nn import init
from fastdl.nn.conv import Conv1d, Conv2d
from fastdl.nn.functional.applied import applied_with, array_or_value, as_weight
from fastdl.nn.linear import Linear


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """y = x W^T + b along the last axis; see nn.Linear.

    Args:
        x: of shape (..., inputs).
        weight: W (outputs, inputs): an array, a parameter or a traced value, which has a gradient.
        bias: b (outputs,), or None.

    Example:
        >>> linear(np.array([[1.0, 2.0]]), np.array([[1.0, 1.0], [0.0, 3.0]]), np.array([0.5, 0.0]))
        array([[3.5, 6. ]])
    """
    x, W, bias = array_or_value(x), as_weight(weight, "weight", "linear"), as_weight(bias, "bias", "linear")
    if W.ndim != 2 or not x.ndim or (bias is not None and bias.ndim != 1):
        shapes = "x (..., inputs), weight (outputs, inputs) and bias (outputs,)"
        raise InvalidValueError("linear", shapes, f"{x.shape}, {W.shape} and {None if bias is None else bias.shape}")
    if isinstance(x, Value) and x.ndim == 2:
        layer = Linear(W.shape[1], W.shape[0], bias=bias is not None, **_zeros(W))
        return applied_with(layer, x, {"weight": W, "bias": bias})
    y: Any = np.matmul(x, np.transpose(W))
    return y if bias is None else y + bias


def conv1d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> Any:
    """The cross-correlation of x (N, C, L) with weight (O, C / groups, K), plus bias (O,); see nn.Conv1d.

    Example:
        >>> conv1d(np.array([[[1.0, 2.0, 4.0]]]), np.array([[[-1.0, 1.0]]]))
        array([[[1., 2.]]])
    """
    return _convolved(Conv1d, x, weight, bias, stride, padding, dilation, groups)


def conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> Any:
    """The cross-correlation of x (N, C, H, W) with weight (O, C / groups, KH, KW), plus bias (O,); see nn.Conv2d.

    The weight may be computed, as in weight standardization; then what it is computed of has gradients too.

    Example:
        >>> conv2d(np.ones((1, 1, 3, 3)), np.ones((2, 1, 2, 2)), np.array([0.0, 1.0])).shape
        (1, 2, 2, 2)
    """
    return _convolved(Conv2d, x, weight, bias, stride, padding, dilation, groups)


def _convolved(kind: Any, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    name = kind.__name__.lower()
    W, b = as_weight(weight, "weight", name), as_weight(bias, "bias", name)
    axes = len(kind._axes)
    if W.ndim != 2 + axes:
        sizes = ", ".join(f"K{axis}" if axes > 1 else "K" for axis in kind._axes)
        raise InvalidShapeError(name, f"a weight of shape (O, C / groups, {sizes})", W.shape)
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    channels = W.shape[1] * groups if isinstance(groups, (int, np.integer)) and groups > 0 else W.shape[1]
    layer = kind(channels, W.shape[0], W.shape[2:], bias=b is not None, **options, **_zeros(W))
    return applied_with(layer, array_or_value(x), {"weight": W, "bias": b})


def _zeros(W: Any) -> dict[str, Any]:
    """The options of a layer whose own weights are not read."""
    zeros: Any = init.zeros()
    return {"weight_init": zeros, "bias_init": zeros, "rng": 0, "dtype": W.dtype}
