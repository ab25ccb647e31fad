"""Regression: targets are numbers, one or several for each sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.base import RegressorMixin
from sklearn.utils.validation import _check_sample_weight, column_or_1d

from fastdl import nn
from fastdl._kernels.quiet import Quiet
from fastdl.errors import InvalidValueError
from fastdl.estimators.base import Estimator, stochastic_only
from fastdl.estimators.criterion import regression_loss
from fastdl.estimators.exactness import exact_targets
from fastdl.messages import shown

Array = NDArray[Any]


class Regressor(RegressorMixin, Estimator):
    """Targets are numbers; `loss` tells what is made small, and "poisson" predicts an exponential."""

    _numeric_targets = True
    loss: Any
    out_activation_: str

    def _read_targets(self, y: Any, first: bool, classes: ArrayLike | None) -> Array:
        owner = type(self).__name__
        y = y.toarray() if issparse(y) else y
        if y.dtype.kind not in "biuf":
            raise InvalidValueError(owner, "numbers", f"dtype {y.dtype}", argument="y")
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        truth = exact_targets(y, owner)
        if self.loss == "poisson" and truth.min() < 0:
            raise InvalidValueError(owner, "targets >= 0 for loss='poisson'", f"{truth.min():g}")
        if not first and truth.shape[1] != self.n_outputs_:
            raise InvalidValueError(owner, f"{self.n_outputs_} outputs in y as before", truth.shape[1])
        self.n_outputs_ = truth.shape[1]
        return truth

    def _sample_weights(self, sample_weight: Any, truth: Array) -> tuple[Array | None, None]:
        if sample_weight is None:
            return None, None
        return _check_sample_weight(sample_weight, truth, dtype=np.float64, ensure_non_negative=True), None

    def _task(self, truth: Array, by_class: Array | None) -> tuple[Any, Array]:
        owner = type(self).__name__
        criterion = regression_loss(self.loss, owner)
        if self.out_activation_ != self._out_activation():
            raise InvalidValueError(
                owner,
                f"a loss for out_activation_={self.out_activation_!r} of the fit to go on from",
                shown(self.loss),
                "write fit with warm_start=False for a new model",
            )
        return criterion, truth

    def _loss_scale(self) -> float:
        return 1.0 if self.loss == "poisson" or isinstance(self.loss, nn.Loss) else 1.0 / self.n_outputs_

    def _out_activation(self) -> str:
        """The function that turns the model's outputs into predictions."""
        return "exp" if isinstance(self.loss, str) and self.loss == "poisson" else "identity"

    def _predicted(self, output: Array) -> Array:
        if self.out_activation_ == "exp":
            with Quiet(over="ignore"):
                return np.exp(output)
        return output

    def _score_of(self, output: Array, truth: Array, weights: Array | None) -> float:
        """R^2, the mean over outputs."""
        predicted = self._predicted(output)
        if not np.isfinite(predicted).all():
            return np.nan
        truth = truth.astype(np.float64)
        left = np.average((truth - predicted) ** 2, axis=0, weights=weights)
        whole = np.average((truth - np.average(truth, axis=0, weights=weights)) ** 2, axis=0, weights=weights)
        constant = whole == 0
        scores = 1 - left / np.where(constant, 1, whole)
        return float(np.where(constant, left == 0, scores).mean())

    def predict(self, X: Any) -> Array:
        """The value of each sample, in float64: (n,), or (n, outputs) for several."""
        predicted = self._predicted(self._outputs(X)).astype(np.float64)
        return predicted[:, 0] if predicted.shape[1] == 1 else predicted

    @stochastic_only
    def partial_fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Any:
        """Take one pass over X and y, from where the model stands.

        Args:
            X: array or sparse matrix (n, features).
            y: numbers (n,) or (n, outputs).
            sample_weight: (n,) numbers >= 0, None for 1 each.
        """
        return self._partial_fit(X, y, sample_weight)
