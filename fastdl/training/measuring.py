"""Measuring: metrics of a model's outputs, of what the loss counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl.errors import InvalidTypeError
from fastdl.nn.loss import has_backward
from fastdl.training.history import Metric
from fastdl.training.sample_weights import SampleWeighted, parted

Array = NDArray[Any]


def measured(metrics: Mapping[str, Metric], criterion: Any, output: Array, target: Array) -> dict[str, float]:
    """Each metric of outputs and targets, without those that the criterion ignores; NaN where it ignores all.

    Raises:
        TypeError: if what a metric returns is no number.

    Example:
        >>> from fastdl import nn
        >>> from fastdl.metrics import accuracy
        >>> output, target = np.array([[0.2, 0.8], [0.9, 0.1]]), np.array([1, -100])
        >>> measured({"accuracy": accuracy}, nn.CrossEntropyLoss(), output, target)
        {'accuracy': 1.0}
    """
    if not metrics:
        return {}
    if isinstance(criterion, SampleWeighted):
        (target, _), criterion = parted(target), criterion.criterion
    output, target = _counted(getattr(criterion, "ignore_index", None), output, target)
    return {name: _number(name, metric, output, target) for name, metric in metrics.items()}


def loss_value(criterion: Any, output: Any, target: Any, model: Any, samples: int) -> dict[str, float]:
    """The loss of outputs of so many samples, what the criterion returns, or the mean of one for each; and its named terms."""
    if has_backward(criterion):
        return {"loss": float(criterion(output, target))}
    from fastdl.training.derived_loss import DerivedLoss

    return DerivedLoss(criterion, model, samples).value(output, target)


def try_metrics(
    metrics: Mapping[str, Metric], criterion: Any, output: Array, target: Array, more: Callable[[], tuple[Array, Array]]
) -> None:
    """Call each metric on a few rows; one that fails, on `more` of them, for few may lack what it asks for.

    Raises:
        Exception: what the metric raises of those.
    """
    failing = {name: metric for name, metric in metrics.items() if not _works(name, metric, criterion, output, target)}
    if failing:
        measured(failing, criterion, *more())


def _works(name: str, metric: Metric, criterion: Any, output: Array, target: Array) -> bool:
    try:
        measured({name: metric}, criterion, output, target)
    except Exception:
        return False
    return True


def _counted(ignored: Any, output: Array, target: Array) -> tuple[Array, Array]:
    """Scores (N, C, d1, ...) and classes (N, d1, ...) as they are where all count, else those that do, as (M, C) and (M,)."""
    if (
        ignored is None
        or not isinstance(target, np.ndarray)
        or target.dtype.kind not in "iu"
        or output.shape[:1] + output.shape[2:] != target.shape
    ):
        return output, target
    counts = target != ignored
    return (output, target) if counts.all() else (np.moveaxis(output, 1, -1)[counts], target[counts])


def _number(name: str, metric: Metric, output: Array, target: Array) -> float:
    if isinstance(target, np.ndarray) and not len(target):
        return math.nan
    value = metric(output, target)
    try:
        return float(value)
    except (TypeError, ValueError):
        shape = f" of shape {np.shape(value)}" if isinstance(value, np.ndarray) else ""
        got = f"{type(value).__name__}{shape}"
        raise InvalidTypeError("Trainer", f"one number of the metric {name}", got) from None
