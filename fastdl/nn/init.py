"""The distributions that parameters are drawn from.

The choices of the five reports that fastdl grew from (000 Jomeau et al., 001 Shynkaruk and Bachmann, 002 Baldwin et
al., 003 Cleres et al.; 004 tells none), each as it is written here:

| paper | its initializer | spelling |
| --- | --- | --- |
| 000 | normal of deviation 1 | `normal()` |
| 000 | Xavier, deviation sqrt(1 / (in + out)) | `xavier_normal(gain=math.sqrt(1 / 2))` |
| 000 | He, deviation sqrt(2 / in) | `kaiming_normal()` |
| 001 | truncated normal Xavier, deviation sqrt(2 / (in + out)) | `xavier_normal(truncated=True)` |
| 001 | Xavier uniform | `xavier_uniform()` |
| 001 | uniform in +-sqrt(3 / in) | `lecun_uniform()` |
| 002 | Xavier with a searched gain | `xavier_normal(gain=1.5)` |
| 003 | uniform of deviation gain / sqrt(in) | `lecun_uniform(gain=calculate_gain("tanh"))` |
| 003 | every parameter uniform in [-a, a] | `uniform(-a, a)` |
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from fastdl.errors import InvalidValueError
from fastdl.nn.initializer import INITIALIZERS as INITIALIZERS
from fastdl.nn.initializer import Initializer as Initializer
from fastdl.nn.initializer import Positive, Shape, checked, initializer
from fastdl.nn.initializer import from_spelling as from_spelling

Mode = Literal["fan_in", "fan_out"]
Nonlinearity = Literal[
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "sigmoid", "tanh", "relu", "leaky_relu", "selu",
]  # fmt: skip


def calculate_gain(nonlinearity: Nonlinearity, param: float | None = None) -> float:
    """The factor that keeps the deviation of what flows through a nonlinearity near 1.

    linear, convolutions and sigmoid 1, tanh 5/3, relu sqrt(2), leaky_relu sqrt(2 / (1 + slope^2)), selu 3/4.

    Args:
        nonlinearity: one of these names, or conv1d to conv3d, conv_transpose1d to conv_transpose3d.
        param: the slope of leaky_relu, 0.01 by default; the others have no use for it.

    Raises:
        TypeError: if the name is no string, or the slope no number.
        ValueError: if the name is another.

    Example:
        >>> calculate_gain("leaky_relu", 1.0)
        1.0

    Source: torch.nn.init.calculate_gain.
    """
    nonlinearity = checked("calculate_gain", "nonlinearity", nonlinearity, Nonlinearity)
    if nonlinearity == "leaky_relu":
        slope = checked("calculate_gain", "param", 0.01 if param is None else param, float)
        return math.sqrt(2) / math.hypot(1, slope)
    return {"tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}.get(nonlinearity, 1.0)


def fans(shape: Shape) -> tuple[int, int]:
    """How many inputs an output of the layer sees, and how many outputs an input reaches.

    fan_in = in * prod(kernel), fan_out = out * prod(kernel).

    Args:
        shape: a weight's shape, (out, in, *kernel).

    Raises:
        ValueError: if there are fewer than two dimensions.

    Example:
        >>> fans((25, 2)), fans((16, 3, 5, 5))
        ((2, 25), (75, 400))
    """
    if len(shape) < 2:
        raise InvalidValueError(None, "a weight of shape (out, in, *kernel)", f"shape {shape}")
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


@initializer
def constant(rng: np.random.Generator, shape: Shape, value: float) -> np.ndarray:
    """Every element the same.

    Example:
        >>> constant(0.1)(2)
        array([0.1, 0.1], dtype=float32)
    """
    return np.full(shape, value)


@initializer
def zeros(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Every element 0.

    Example:
        >>> zeros()((1, 2))
        array([[0., 0.]], dtype=float32)
    """
    return np.zeros(shape)


@initializer
def ones(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Every element 1.

    Example:
        >>> ones()((1, 2))
        array([[1., 1.]], dtype=float32)
    """
    return np.ones(shape)


@initializer
def uniform(rng: np.random.Generator, shape: Shape, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """Uniform in [low, high); rounding to float32 may reach high.

    Paper 003's Experiment IV gives weights and biases alike `uniform(-a, a)`.

    Example:
        >>> bool(abs(uniform(-0.2, 0.2)((25, 2))).max() <= 0.2)
        True

    Source: torch.nn.init.uniform_.
    """
    return rng.uniform(low, high, shape)


@initializer
def normal(rng: np.random.Generator, shape: Shape, mean: float = 0.0, std: Positive = 1.0) -> np.ndarray:
    """Normal with this mean and standard deviation. Paper 000's default is `normal()`.

    Example:
        >>> normal(std=0.1)((25, 2)).shape
        (25, 2)

    Source: torch.nn.init.normal_.
    """
    return rng.normal(mean, std, shape)


@initializer
def truncated_normal(
    rng: np.random.Generator,
    shape: Shape,
    mean: float = 0.0,
    std: Positive = 1.0,
    low: float = -2.0,
    high: float = 2.0,
) -> np.ndarray:
    """Normal, drawn again wherever it falls outside [low, high], two absolute values.

    mean and std are those of the normal before the cut; the interval may lie anywhere, also far in a tail.

    Example:
        >>> bool(abs(truncated_normal()(10000)).max() <= 2)
        True

    Source: torch.nn.init.trunc_normal_.
    """
    values = mean + std * _standard_normal_within(rng, shape, (low - mean) / std, (high - mean) / std)
    return values.clip(low, high)


@initializer
def xavier_normal(rng: np.random.Generator, shape: Shape, gain: Positive = 1.0, truncated: bool = False) -> np.ndarray:
    """Normal of standard deviation gain * sqrt(2 / (fan_in + fan_out)), cut at two deviations when truncated.

    Paper 000's deviation, sqrt(1 / (in + out)), is that of gain sqrt(1/2); paper 001 truncates; paper 002 searches
    the gain.

    Example:
        >>> xavier_normal(gain=math.sqrt(1 / 2))
        xavier_normal(gain=0.7071067811865476)
        >>> xavier_normal(truncated=True)
        xavier_normal(truncated=True)
        >>> xavier_normal(gain=1.5)
        xavier_normal(gain=1.5)

    Source: Glorot and Bengio 2010, torch.nn.init.xavier_normal_; the deviation is the one before the cut.
    """
    return _normal(rng, shape, gain * math.sqrt(2 / sum(fans(shape))), truncated)


@initializer
def xavier_uniform(rng: np.random.Generator, shape: Shape, gain: Positive = 1.0) -> np.ndarray:
    """Uniform of standard deviation gain * sqrt(2 / (fan_in + fan_out)), in plus or minus sqrt(3) of them.

    Example:
        >>> xavier_uniform()((25, 2)).shape
        (25, 2)

    Source: Glorot and Bengio 2010, torch.nn.init.xavier_uniform_; paper 001.
    """
    return _uniform(rng, shape, gain * math.sqrt(2 / sum(fans(shape))))


@initializer
def kaiming_normal(
    rng: np.random.Generator,
    shape: Shape,
    a: float = 0.0,
    mode: Mode = "fan_in",
    nonlinearity: Nonlinearity = "leaky_relu",
    truncated: bool = False,
) -> np.ndarray:
    """Normal of standard deviation calculate_gain(nonlinearity, a) / sqrt(fan), cut at two deviations when truncated.

    Paper 000's He initialization, of deviation sqrt(2 / in), is the default.

    Example:
        >>> kaiming_normal()((25, 2)).shape
        (25, 2)

    Source: He et al. 2015, torch.nn.init.kaiming_normal_.
    """
    return _normal(rng, shape, calculate_gain(nonlinearity, a) / math.sqrt(_fan(shape, mode)), truncated)


@initializer
def kaiming_uniform(
    rng: np.random.Generator,
    shape: Shape,
    a: float = 0.0,
    mode: Mode = "fan_in",
    nonlinearity: Nonlinearity = "leaky_relu",
) -> np.ndarray:
    """Uniform of standard deviation calculate_gain(nonlinearity, a) / sqrt(fan), in plus or minus sqrt(3) of them.

    With a = sqrt(5) the interval is plus or minus 1 / sqrt(fan_in): torch's default for weights.

    Example:
        >>> bool(abs(kaiming_uniform(a=math.sqrt(5))((25, 4))).max() <= 0.5)
        True

    Source: He et al. 2015, torch.nn.init.kaiming_uniform_.
    """
    return _uniform(rng, shape, calculate_gain(nonlinearity, a) / math.sqrt(_fan(shape, mode)))


@initializer
def lecun_normal(rng: np.random.Generator, shape: Shape, gain: Positive = 1.0, truncated: bool = False) -> np.ndarray:
    """Normal of standard deviation gain / sqrt(fan_in), cut at two deviations when truncated.

    Example:
        >>> lecun_normal()((25, 2)).shape
        (25, 2)

    Source: LeCun et al. 1998, Efficient BackProp.
    """
    return _normal(rng, shape, gain / math.sqrt(_fan(shape, "fan_in")), truncated)


@initializer
def lecun_uniform(rng: np.random.Generator, shape: Shape, gain: Positive = 1.0) -> np.ndarray:
    """Uniform of standard deviation gain / sqrt(fan_in), in plus or minus gain * sqrt(3 / fan_in).

    Paper 001's uniform initializer, and paper 003's with the gain of the activation that follows. A bias does not know
    its layer's inputs: paper 003's is `uniform(-limit, limit)` with limit = gain * sqrt(3 / in).

    Example:
        >>> bool(abs(lecun_uniform()((25, 3))).max() <= 1)
        True
        >>> lecun_uniform(gain=calculate_gain("tanh"))
        lecun_uniform(gain=1.6666666666666667)

    Source: LeCun et al. 1998, Efficient BackProp.
    """
    return _uniform(rng, shape, gain / math.sqrt(_fan(shape, "fan_in")))


def _fan(shape: Shape, mode: Mode) -> int:
    fan_in, fan_out = fans(shape)
    return fan_in if mode == "fan_in" else fan_out


def _uniform(rng: np.random.Generator, shape: Shape, std: float) -> np.ndarray:
    return rng.uniform(-math.sqrt(3) * std, math.sqrt(3) * std, shape)


def _normal(rng: np.random.Generator, shape: Shape, std: float, truncated: bool) -> np.ndarray:
    return std * (_standard_normal_within(rng, shape, -2.0, 2.0) if truncated else rng.standard_normal(shape))


def _standard_normal_within(rng: np.random.Generator, shape: Shape, low: float, high: float) -> np.ndarray:
    """Standard normal values in [low, high], by rejection."""
    if low == math.inf or high == -math.inf:
        raise InvalidValueError(None, "an interval at a finite number of deviations from the mean")
    share = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2
    mode = min(max(0.0, low), high)
    # Where the density is exp(-40) of its peak nothing would be drawn in any lifetime; within, one in 40 is kept.
    reach = math.hypot(mode, math.sqrt(80))
    floor, ceiling = max(low, -reach), min(high, reach)
    values = np.empty(math.prod(shape))
    pending = np.arange(values.size)
    while pending.size:
        if share > 0.3:
            drawn = rng.standard_normal(pending.size)
            keep = (low <= drawn) & (drawn <= high)
        else:
            drawn = rng.uniform(floor, ceiling, pending.size)
            keep = rng.standard_exponential(pending.size) >= (drawn - mode) * (drawn + mode) / 2
        values[pending[keep]] = drawn[keep]
        pending = pending[~keep]
    return values.reshape(shape)
