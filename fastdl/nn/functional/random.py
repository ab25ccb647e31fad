"""Random numbers, and dropout, which draws some."""

from __future__ import annotations

from math import pi
from typing import Any

import numpy as np

from fastdl.graph import operations as op
from fastdl.graph.value import Value
from fastdl.nn.dropout import Dropout, Dropout2d
from fastdl.nn.functional.applied import applied, array_or_value
from fastdl.nn.uniform import Uniform


def dropout(x: Any, p: float = 0.5, training: bool = True) -> Any:
    """x with elements set to 0 with probability p, the others by 1 / (1 - p); see nn.Dropout."""
    layer = Dropout(p)
    layer.training = training
    return applied(layer, x)


def dropout2d(x: Any, p: float = 0.5, training: bool = True) -> Any:
    """x (N, C, ...) with whole channels of samples set to 0 with probability p, the others by 1 / (1 - p); see nn.Dropout2d."""
    layer = Dropout2d(p)
    layer.training = training
    return applied(layer, x)


def uniform_like(x: Any, low: Any = 0.0, high: Any = 1.0) -> Any:
    """Random numbers of x's shape and dtype, uniform between `low` and `high`.

    They come from fastdl's stream, see `fastdl.manual_seed` and `Trainer.fit(seed=...)`, and are others in each call. In a traced
    forward they are drawn in each run, the same for its gradients, and for any number of threads. No gradient goes to x; low
    and high may be arrays or traced values that have one.

    Example:
        >>> from fastdl import manual_seed
        >>> manual_seed(0)
        >>> u = uniform_like(np.zeros((2, 3)), -1, 1)
        >>> u.shape, bool((np.abs(u) < 1).all())
        ((2, 3), True)
    """
    return low + (high - low) * _uniform(x)


def normal_like(x: Any, mean: Any = 0.0, std: Any = 1.0) -> Any:
    """Random numbers of x's shape and dtype, normally distributed; see uniform_like.

    `mean + std * normal_like(mean)` is the reparametrization of a variational autoencoder. By Box and Muller's method.

    Example:
        >>> from fastdl import manual_seed
        >>> manual_seed(0)
        >>> z = normal_like(np.zeros(10_000), mean=3.0, std=0.5)
        >>> bool(abs(z.mean() - 3) < 0.02), bool(abs(z.std() - 0.5) < 0.02)
        (True, True)

    Source: G. Box and M. Muller, "A note on the generation of random normal deviates", 1958.
    """
    z = np.sqrt(-2 * np.log(_uniform(x))) * np.cos(2 * pi * _uniform(x))
    return mean + std * z


def bernoulli_like(x: Any, p: Any = 0.5) -> Any:
    """Ones with probability p, else zeros, of x's shape and dtype; see uniform_like.

    Args:
        x: an array or traced value of floating numbers.
        p: a number, or an array or traced value that broadcasts to x's shape, from 0 to 1.

    Example:
        >>> from fastdl import manual_seed
        >>> manual_seed(0)
        >>> bernoulli_like(np.zeros(6), 1.0)
        array([1., 1., 1., 1., 1., 1.])
    """
    return np.where(_uniform(x) < p, np.ones_like(x), np.zeros_like(x))


def _uniform(x: Any) -> Any:
    x = array_or_value(x)
    return applied(Uniform(), op.stop_gradient(x) if isinstance(x, Value) else x)
