"""Data sets that are drawn."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fastdl.random import as_generator
from fastdl.validation import as_float_dtype, positive_integer


def disk(
    n: int, rng: int | np.random.Generator | None = None, dtype: npt.DTypeLike = np.float32
) -> tuple[np.ndarray, np.ndarray]:
    """Points uniform in the unit square, and whether each lies inside the disk that covers half of it.

    label = 1 where (x_0 - 1/2)^2 + (x_1 - 1/2)^2 < 1 / (2 pi), else 0.

    Args:
        n: how many points.
        rng: None, a seed or a `numpy.random.Generator`, as for `fastdl.random.as_generator`.
        dtype: float32 or float64, of the points.

    Shapes:
        points (n, 2); labels (n,) of int64.

    Raises:
        TypeError: if n is no integer, or the dtype another.
        ValueError: if n is below 1.

    Example:
        >>> x, labels = disk(1000, rng=0)
        >>> x.shape, x.dtype, labels.shape, labels.dtype
        ((1000, 2), dtype('float32'), (1000,), dtype('int64'))

    Source: papers 000 to 004.
    """
    n, dtype = positive_integer(n, "n", "disk"), as_float_dtype(dtype, "disk")
    x = as_generator(rng).random((n, 2)).astype(dtype, copy=False)
    from_centre = x.astype(np.float64) - 0.5
    labels = (from_centre**2).sum(axis=1) < 1 / (2 * math.pi)
    return x, labels.astype(np.int64)


def ball(
    n: int, rng: int | np.random.Generator | None = None, dtype: npt.DTypeLike = np.float32
) -> tuple[np.ndarray, np.ndarray]:
    """Images uniform in the unit cube of 48 dimensions, and whether each lies inside the ball that holds half of it.

    label = 1 where the sum of (x - 1/2)^2 over the 48 is below 2^2, else 0. Its expectation is 48 / 12 = 4.

    Args:
        n: how many images.
        rng: None, a seed or a `numpy.random.Generator`, as for `fastdl.random.as_generator`.
        dtype: float32 or float64, of the images.

    Shapes:
        images (n, 3, 4, 4); labels (n,) of int64.

    Raises:
        TypeError: if n is no integer, or the dtype another.
        ValueError: if n is below 1.

    Example:
        >>> x, labels = ball(1000, rng=0)
        >>> x.shape, x.dtype, labels.shape, labels.dtype
        ((1000, 3, 4, 4), dtype('float32'), (1000,), dtype('int64'))

    Source: paper 004.
    """
    n, dtype = positive_integer(n, "n", "ball"), as_float_dtype(dtype, "ball")
    x = as_generator(rng).random((n, 3, 4, 4)).astype(dtype, copy=False)
    from_centre = x.astype(np.float64) - 0.5
    labels = (from_centre**2).sum(axis=(1, 2, 3)) < 4
    return x, labels.astype(np.int64)
