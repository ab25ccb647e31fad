"""The papers' toy problem: points inside or outside a disk, and the 2-25-25-25-2 network that tells them apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdl import data, nn
from fastdl.metrics import accuracy
from fastdl.nn import init
from fastdl.nn.init import Initializer

SIZES = (2, 25, 25, 25, 2)
# Of the disk that covers half of the unit square.
RADIUS = 1 / math.sqrt(2 * math.pi)
# The initializers of weight and bias for a layer of so many inputs; torch's where they are None.
Weights = Callable[[int], tuple[Initializer | None, Initializer | None]]


class Points(NamedTuple):
    """Points to train on and points to test with, and whether each lies in the disk."""

    x: NDArray[Any]
    y: NDArray[Any]
    x_test: NDArray[Any]
    y_test: NDArray[Any]


def points(rng: np.random.Generator, n: int = 1000, standardized: bool = False) -> Points:
    """n points to train and n to test, uniform in the unit square.

    Args:
        rng: what they are drawn from.
        n: how many of each.
        standardized: shifted and scaled to mean 0 and deviation 1 of the training points.

    Example:
        >>> disk = points(np.random.default_rng(0), 10)
        >>> disk.x.shape, disk.y_test.shape
        ((10, 2), (10,))
    """
    (x, y), (x_test, y_test) = data.disk(n, rng), data.disk(n, rng)
    if standardized:
        x, x_test = data.standardize(x, x_test)
    return Points(x, y, x_test, y_test)


def targets(criterion: nn.Loss, y: NDArray[Any]) -> NDArray[Any]:
    """The labels as a loss wants them: classes for cross entropy, else one-hot."""
    return y if isinstance(criterion, nn.CrossEntropyLoss) else data.one_hot(y, 2)


def torchs(inputs: int) -> tuple[None, None]:
    """PyTorch's default weights: all parameters uniform within 1 / sqrt(inputs)."""
    return None, None


def scaled_uniform(gain: float = 1.0) -> Weights:
    """Paper 003's weights: all parameters, biases too, uniform with deviation gain / sqrt(inputs)."""

    def weights(inputs: int) -> tuple[Initializer, Initializer]:
        limit = gain * math.sqrt(3 / inputs)
        return init.uniform(-limit, limit), init.uniform(-limit, limit)

    return weights


def network(
    rng: np.random.Generator,
    activation: Callable[[], nn.Module] = nn.ReLU,
    last: Sequence[nn.Module] = (),
    weights: Weights = torchs,
    sizes: Sequence[int] = SIZES,
) -> nn.Sequential:
    """Linear layers with an activation between them.

    Args:
        rng: what weights are drawn from.
        activation: the class of the activation after each layer but the last.
        last: modules after the last layer.
        weights: the initializers, as a function of a layer's number of inputs.
        sizes: of input, hidden layers and output.

    Example:
        >>> network(np.random.default_rng(0), sizes=(2, 3, 2))
        Sequential(
          (0): Linear(2, 3)
          (1): ReLU()
          (2): Linear(3, 2)
        )
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        weight_init, bias_init = weights(inputs)
        layers += [nn.Linear(inputs, outputs, weight_init=weight_init, bias_init=bias_init, rng=rng), activation()]
    return nn.Sequential(*layers[:-1], *last)


def error(trainer: Any, x: NDArray[Any], y: NDArray[Any]) -> float:
    """How many of the points a trained network takes wrong, in percent."""
    return 100 * (1 - accuracy(trainer.predict(x), y))
