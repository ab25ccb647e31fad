"""Pooling."""

from __future__ import annotations

from typing import Any

from fastdl.nn.functional.applied import applied
from fastdl.nn.pool import AdaptiveAvgPool2d, AvgPool1d, AvgPool2d, MaxPool1d, MaxPool2d

Pair = tuple[int, int]


def max_pool1d(
    x: Any, kernel_size: int, stride: int | None = None, padding: int = 0, dilation: int = 1, *, ceil_mode: bool = False
) -> Any:
    """The largest element of each window of x (N, C, L); see nn.MaxPool1d."""
    return applied(MaxPool1d(kernel_size, stride, padding, dilation, ceil_mode=ceil_mode), x)


def max_pool2d(
    x: Any,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    *,
    ceil_mode: bool = False,
) -> Any:
    """The largest element of each window of x (N, C, H, W); see nn.MaxPool2d.

    Example:
        >>> import numpy as np
        >>> max_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
        array([[[[ 5.,  7.],
                 [13., 15.]]]])
    """
    return applied(MaxPool2d(kernel_size, stride, padding, dilation, ceil_mode=ceil_mode), x)


def avg_pool1d(
    x: Any,
    kernel_size: int,
    stride: int | None = None,
    padding: int = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Any:
    """The mean of each window of x (N, C, L); see nn.AvgPool1d."""
    return applied(AvgPool1d(kernel_size, stride, padding, ceil_mode, count_include_pad), x)


def avg_pool2d(
    x: Any,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The mean of each window of x (N, C, H, W); see nn.AvgPool2d."""
    return applied(AvgPool2d(kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override), x)


def adaptive_avg_pool2d(x: Any, output_size: int | tuple[int | None, int | None]) -> Any:
    """The means of so many windows that cover x (N, C, H, W); see nn.AdaptiveAvgPool2d."""
    return applied(AdaptiveAvgPool2d(output_size), x)
