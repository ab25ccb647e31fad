"""Weights of samples: a criterion whose targets bring them along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl.data.nested import NO_TARGETS, is_nested, leaves
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph.trace import Terms, takes_model
from fastdl.nn.loss import Loss, has_backward
from fastdl.training.weighted_losses import WeightedLosses
from fastdl.validation import as_array, kind_of

Array = NDArray[Any]
NAME = "sample_weight"


class SampleWeighted:
    """sum_i w_i l_i / N of a criterion's losses l_i of N samples; of one with reduction "sum", sum_i w_i l_i.

    What the criterion divides by stays: a cross entropy with class weights still by the sum of those.

    Args:
        criterion: a loss of fastdl's, a function that returns a loss for each sample or a dictionary of such, or WeightedLosses.
    """

    def __init__(self, criterion: Any) -> None:
        if has_backward(criterion) and not isinstance(criterion, Loss):
            raise InvalidTypeError(
                "Trainer.fit",
                "a criterion whose gradient is derived, beside sample_weight",
                f"{type(criterion).__name__} with a backward",
                "leave its backward out, or weigh its losses in it",
            )
        self.criterion = criterion

    @property
    def reduction(self) -> str:
        """Whether the loss is a sum over samples, else a mean."""
        return getattr(self.criterion, "reduction", "mean")

    @property
    def __name__(self) -> str:
        return getattr(self.criterion, "__name__", type(self.criterion).__name__)

    def __call__(self, output: Any, target: Any, model: Any) -> Any:
        """Return the weighted losses, of traced values."""
        truth, weights = parted(target)
        if not isinstance(self.criterion, WeightedLosses):
            return self._of(self.criterion, output, truth, weights, model)
        self.criterion.check(output, truth)
        losses = self.criterion.losses.items()
        found = {name: self._of(loss, output[name], truth[name], weights, model) for name, loss in losses}
        return Terms(found, self.criterion.weights)

    def _of(self, criterion: Any, output: Any, truth: Any, weights: Any, model: Any) -> Any:
        if isinstance(criterion, Loss):
            return criterion.weighted(output, truth, weights)
        arguments = [output] if truth is None else [output, truth]
        found = criterion(*arguments, *([model] if takes_model(criterion, len(arguments)) else []))
        terms = found if isinstance(found, dict) else {"": found}
        for each in terms.values():
            if getattr(each, "ndim", 0) != 1:
                raise InvalidValueError(
                    self.__name__,
                    "to return one loss for each sample, beside sample_weight",
                    f"shape {getattr(each, 'shape', ())}",
                    "leave the mean over samples out",
                )
        weighed = {name: each * weights for name, each in terms.items()}
        return weighed if isinstance(found, dict) else weighed[""]


def with_weights(x: Any, y: Any, sample_weight: Any) -> Any:
    """Targets that bring their samples' weights along.

    Raises:
        TypeError: if there are no arrays of samples, or the weights are no numbers.
        ValueError: if there is not a finite weight >= 0 for each sample.

    Example:
        >>> with_weights(np.zeros((2, 3)), np.array([1, 0]), [0.5, 2])
        (array([1, 0]), array([0.5, 2. ]))
    """
    rows: Any = next((each for _, each in leaves(x)), None) if is_nested(x) else x
    if not hasattr(rows, "__len__"):
        hint = "let the batches' targets bring weights along"
        raise InvalidTypeError("Trainer.fit", f"arrays x and y beside {NAME}", kind_of(x), hint)
    weights = as_array(sample_weight, NAME, "Trainer.fit")
    if weights.dtype.kind not in "fiub":
        raise InvalidTypeError("Trainer.fit", f"numbers as {NAME}", f"dtype {weights.dtype}")
    if weights.shape != (len(rows),):
        raise InvalidValueError("Trainer.fit", f"{NAME} of shape ({len(rows)},), one for each sample", weights.shape)
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise InvalidValueError("Trainer.fit", f"finite numbers >= 0 as {NAME}", "others")
    weights = weights if weights.dtype.kind == "f" else weights.astype(np.float64)
    if isinstance(y, Mapping):
        if NAME in y:
            raise InvalidValueError("Trainer.fit", f"targets without the name {NAME}", "one so named")
        return {**y, NAME: weights}
    if isinstance(y, tuple):
        return (*y, weights)
    return (weights,) if y is NO_TARGETS else (y, weights)


def parted(target: Any) -> tuple[Any, Any]:
    """Targets, None where there are none, and weights."""
    if isinstance(target, dict):
        return {name: each for name, each in target.items() if name != NAME}, target[NAME]
    *truth, weights = target
    return (tuple(truth) if len(truth) > 1 else truth[0] if truth else None), weights
