"""Losses; their gradients are those with respect to outputs and to targets."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from fastdl.graph.value import Value
from fastdl.nn.class_loss import CrossEntropyLoss, NLLLoss
from fastdl.nn.functional.applied import array_or_value
from fastdl.nn.grad_mode import no_grad
from fastdl.nn.loss import BCELoss, BCEWithLogitsLoss, HuberLoss, L1Loss, MSELoss


def mse_loss(x: Any, target: Any, reduction: str = "mean") -> Any:
    """The mean of (x - target)^2; see nn.MSELoss.

    Example:
        >>> import numpy as np
        >>> mse_loss(np.array([3.0, 1.0]), np.array([1.0, 1.0]))
        2.0
    """
    return _loss(MSELoss(reduction), x, target)


def l1_loss(x: Any, target: Any, reduction: str = "mean") -> Any:
    """The mean of |x - target|; see nn.L1Loss."""
    return _loss(L1Loss(reduction), x, target)


def huber_loss(x: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Any:
    """The mean of Huber's loss; see nn.HuberLoss."""
    return _loss(HuberLoss(reduction, delta), x, target)


def binary_cross_entropy(x: Any, target: Any, reduction: str = "mean", *, weight: ArrayLike | None = None) -> Any:
    """The cross entropy of probabilities x; see nn.BCELoss."""
    return _loss(BCELoss(weight, reduction), x, target)


def binary_cross_entropy_with_logits(
    x: Any,
    target: Any,
    reduction: str = "mean",
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
) -> Any:
    """The cross entropy of scores x; see nn.BCEWithLogitsLoss."""
    return _loss(BCEWithLogitsLoss(weight, reduction, pos_weight), x, target)


def nll_loss(
    x: Any, target: Any, reduction: str = "mean", ignore_index: int = -100, *, weight: ArrayLike | None = None
) -> Any:
    """The negative log likelihood of classes; see nn.NLLLoss."""
    return _loss(NLLLoss(weight, ignore_index, reduction), x, target)


def cross_entropy(
    x: Any,
    target: Any,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    *,
    weight: ArrayLike | None = None,
) -> Any:
    """The cross entropy of scores x and classes, or probabilities of them; see nn.CrossEntropyLoss."""
    return _loss(CrossEntropyLoss(weight, ignore_index, reduction, label_smoothing), x, target)


def _loss(loss: Any, x: Any, target: Any) -> Any:
    x, target = array_or_value(x), array_or_value(target)
    if isinstance(x, Value) or isinstance(target, Value):
        return loss(x, target)
    with no_grad():
        return loss(x, target)
