"""Criteria: what estimators make small, with a weight for each sample where there are some."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl import nn
from fastdl._kernels.quiet import Quiet
from fastdl.errors import InvalidValueError
from fastdl.messages import shown
from fastdl.nn.grad_mode import no_grad
from fastdl.nn.walk import TRANSIENT

Array = NDArray[Any]

# d^2 / 2 everywhere that a float32 residual's square is finite.
LARGEST_RESIDUAL = 1e18
LOSSES = ("squared_error", "absolute_error", "huber", "poisson")


class PoissonLoss(nn.Loss):
    """l = exp(z) - t z + t log t - t for scores z, whose exponential is the expected count; half the Poisson deviance.

    Example:
        >>> PoissonLoss()(np.zeros((1, 1)), np.ones((1, 1)))
        0.0

    Source: sklearn.neural_network.MLPRegressor(loss="poisson").
    """

    def function(self, output: Array, target: Array) -> Array:
        """Return exp(z) - t z + t log t - t."""
        with Quiet(over="ignore"):
            return np.exp(output) - target * output + target * np.log(np.where(target > 0, target, 1)) - target

    def derivative(self, output: Array, target: Array) -> Array:
        """Return exp(z) - t."""
        with Quiet(over="ignore"):
            return np.exp(output) - target


class WeightedLoss:
    """sum_i w_i l_i / N for a criterion's losses l_i of N samples; the weights are the last column of the target.

    A criterion that averages over the elements of a sample still does.

    Args:
        criterion: whose losses they are; a copy is used, without its reduction.
        indices: whether the targets are class indices.

    Example:
        >>> criterion = WeightedLoss(nn.MSELoss("batchmean"), indices=False)
        >>> criterion(np.array([[1.0], [2.0]]), np.array([[0.0, 1.0], [0.0, 3.0]]))
        6.5
        >>> criterion.backward().tolist()
        [[1.0], [6.0]]
    """

    reduction = "mean"

    def __init__(self, criterion: nn.Loss, indices: bool) -> None:
        self._mean = criterion.reduction == "mean"
        self._indices = indices
        self._each: Any = deepcopy(criterion)
        self._each.reduction = "none"
        self._weights: Array = np.ones(0)

    def __call__(self, output: Array, target: Array) -> float:
        """Return the loss; the target is (N, 1 + columns)."""
        truth, weights = target[:, :-1], target[:, -1]
        if self._indices:
            truth = truth[:, 0].astype(np.int64)
        losses = np.asarray(self._each(output, np.ascontiguousarray(truth)))
        shares = weights / max(losses.size if self._mean else len(losses), 1)
        self._weights = np.ascontiguousarray(
            np.broadcast_to(shares.reshape(-1, *[1] * (losses.ndim - 1)), losses.shape), output.dtype
        )
        return float((losses * self._weights).sum(dtype=np.float64))

    def backward(self) -> Array:
        """Return the gradient with respect to the latest output."""
        return self._each.backward(self._weights)


def weighted(criterion: nn.Loss, target: Array, weights: Array) -> tuple[WeightedLoss, Array]:
    """A criterion with a weight for each sample, and its targets, which have these as their last column."""
    columns = target.reshape(len(target), -1), weights[:, None]
    return WeightedLoss(criterion, target.dtype.kind == "i"), np.hstack(columns)


def regression_loss(loss: Any, owner: str) -> nn.Loss:
    """The criterion of a regressor's `loss`: sums over a sample's outputs, means over samples.

    Example:
        >>> regression_loss("squared_error", "MLPRegressor")(np.array([[3.0, 1.0]]), np.array([[0.0, 0.0]]))
        5.0
    """
    if isinstance(loss, nn.Loss):
        return reduced(loss, owner)
    if loss == "squared_error":
        return nn.HuberLoss("batchmean", LARGEST_RESIDUAL)
    if loss == "absolute_error":
        return nn.MAELoss("batchmean")
    if loss == "huber":
        return nn.HuberLoss("batchmean")
    if loss == "poisson":
        return PoissonLoss("batchmean")
    raise InvalidValueError(owner, f"one of {', '.join(LOSSES)} or a fastdl.nn.Loss", shown(loss), argument="loss")


def reduced(loss: nn.Loss, owner: str) -> nn.Loss:
    """A copy of a user's criterion, which gives one number."""
    if loss.reduction == "none":
        raise InvalidValueError(owner, "a loss that gives one number", "reduction='none'", "write 'mean'")
    return deepcopy(loss)


def binary_loss(class_weight: Array | None) -> nn.Loss:
    """log-loss of one score for two classes, each with its weight."""
    if class_weight is None:
        return nn.BCEWithLogitsLoss(reduction="batchmean")
    negative, positive = class_weight
    return nn.BCEWithLogitsLoss([negative], "batchmean", [positive / negative])


def alike(one: Any, other: Any) -> bool:
    """Whether two losses are known to compute the same: of one class, with the same numbers and words as options.

    Example:
        >>> alike(nn.HuberLoss("batchmean"), nn.HuberLoss("batchmean")), alike(nn.HuberLoss(), nn.HuberLoss("sum"))
        (True, False)
    """
    if type(one) is not type(other) or not isinstance(one, nn.Loss):
        return False
    options, others = ({n: v for n, v in vars(each).items() if n not in TRANSIENT} for each in (one, other))
    if options.keys() != others.keys():
        return False
    plain = all(isinstance(value, (int, float, str, type(None))) for value in (*options.values(), *others.values()))
    return plain and options == others


def value_of(criterion: Any, output: Array, target: Array) -> float:
    """A criterion's value, without keeping anything for backward."""
    with no_grad():
        return float(criterion(output, target))
