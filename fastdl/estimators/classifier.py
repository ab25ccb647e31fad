"""Classification: classes and their indices, probabilities, and a weight for each class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix, issparse
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import _check_sample_weight, column_or_1d

from fastdl import nn
from fastdl._kernels.quiet import Quiet
from fastdl.errors import InvalidValueError
from fastdl.estimators.base import Estimator, stochastic_only
from fastdl.estimators.criterion import binary_loss, reduced
from fastdl.estimators.exactness import of_their_kind
from fastdl.messages import shown
from fastdl.validation import refuse_masked

Array = NDArray[Any]


def few(classes: Array) -> str:
    """The first classes, in words."""
    return shown(classes.tolist())


class Classifier(ClassifierMixin, Estimator):
    """Targets are classes, or with a 0/1 matrix several labels a sample.

    Two classes have one score and its sigmoid, more have one each and their softmax, labels have one each and a sigmoid.
    """

    loss: Any
    class_weight: Any
    n_outputs_: int

    def _read_targets(self, y: Any, first: bool, classes: ArrayLike | None) -> Array:
        owner, sparse = type(self).__name__, issparse(y)
        refuse_masked(classes, "classes", owner)
        y = y.toarray() if sparse else y if first else of_their_kind(y, self.classes_)
        kind = type_of_target(y, input_name="y")
        if kind not in ("binary", "multiclass", "multilabel-indicator"):
            if kind == "unknown" and np.ndim(y) == 1:
                held = sorted({type(each).__name__ for each in y})
                raise ValueError(
                    f"{owner}: Unknown label type: expected numbers, booleans or strings for y, got objects of"
                    f" {', '.join(held)}; write y.astype(int) or y.astype(str)"
                )
            check_classification_targets(y)
            raise InvalidValueError(owner, "one class a sample or a matrix of 0 and 1", "several classes a sample")
        if first:
            self._multilabel = kind == "multilabel-indicator"
            self._sparse_labels = self._multilabel and sparse
            if classes is not None:
                self.classes_ = unique_labels(classes)
            elif self._multilabel:
                self.classes_ = np.arange(y.shape[1])
        elif classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
            raise InvalidValueError(owner, f"the classes of before, {few(self.classes_)}", shown(classes))
        if kind == "multilabel-indicator":
            if not ((y == 0) | (y == 1)).all():
                raise InvalidValueError(owner, "a matrix of 0 and 1 for several labels a sample", few(np.unique(y)))
            if not self._multilabel or y.shape[1] != len(self.classes_):
                raise InvalidValueError(
                    owner, f"y with the classes of before, {few(self.classes_)}", f"{y.shape[1]} labels"
                )
            return y.astype(np.float32)
        y = column_or_1d(y, warn=True)
        if first and classes is None:
            self.classes_, indices = np.unique(y, return_inverse=True)
            return indices
        if self._multilabel:
            raise InvalidValueError(
                owner, f"a matrix of 0 and 1 for {len(self.classes_)} labels a sample, as before", "one class a sample"
            )
        return self._indices(y)

    def _indices(self, y: Array) -> Array:
        """The indices of y's classes among those that are known: all of them where `warm_start` goes on."""
        owner, known, found = type(self).__name__, self.classes_, np.unique(y)
        numbers = known.dtype.kind in "biuf", found.dtype.kind in "biuf"
        fits = numbers[0] == numbers[1] and bool(np.isin(found, known).all())
        if self.warm_start and not (fits and len(found) == len(known)):
            raise InvalidValueError(
                owner,
                f"y with the classes of before, {few(known)}",
                few(found),
                "write warm_start=False for a new model",
            )
        if not fits:
            raise InvalidValueError(owner, f"y with classes among those of before, {few(known)}", few(found))
        return np.searchsorted(known, y)

    def _scores(self) -> int:
        """How many outputs the model of a perceptron has."""
        return 1 if len(self.classes_) <= 2 and not self._multilabel and self._log_loss() else len(self.classes_)

    def _set_out_activation(self) -> None:
        """Take down the function that turns the model's outputs into probabilities."""
        self.out_activation_ = "logistic" if self._multilabel or self.n_outputs_ == 1 else "softmax"

    def _log_loss(self) -> bool:
        return isinstance(self.loss, str)

    def _sample_weights(self, sample_weight: Any, truth: Array) -> tuple[Array | None, Array | None]:
        owner, weights, by_class = type(self).__name__, None, None
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, truth, dtype=np.float64, ensure_non_negative=True)
        if self.class_weight is not None:
            if self._multilabel:
                raise InvalidValueError(
                    owner, "class_weight=None for several labels a sample", hint="write sample_weight"
                )
            present = np.unique(truth)
            by_class = np.ones(len(self.classes_))
            y = self.classes_[truth]
            by_class[present] = compute_class_weight(self.class_weight, classes=self.classes_[present], y=y)
            if not (np.isfinite(by_class).all() and (by_class >= 0).all()):
                raise InvalidValueError(owner, "finite numbers >= 0", shown(self.class_weight), argument="class_weight")
        two = self.out_activation_ == "logistic" and len(self.classes_) == 2
        if by_class is not None and (weights is not None or not two or not by_class[0]):
            weights = by_class[truth] * (1.0 if weights is None else weights)
            by_class = None
        return weights, by_class

    def _task(self, truth: Array, by_class: Array | None) -> tuple[Any, Array]:
        owner = type(self).__name__
        if not self._log_loss():
            if not isinstance(self.loss, nn.Loss):
                raise InvalidValueError(owner, "'log_loss' or a fastdl.nn.Loss", shown(self.loss), argument="loss")
            if self.n_outputs_ < len(self.classes_):
                raise InvalidValueError(
                    owner,
                    "loss='log_loss' for a model with one output for two classes",
                    shown(self.loss),
                    "write fit with warm_start=False for a new model",
                )
            criterion, target = reduced(self.loss, owner), truth
        elif self.loss != "log_loss":
            raise InvalidValueError(owner, "'log_loss' or a fastdl.nn.Loss", shown(self.loss), argument="loss")
        elif self.out_activation_ == "softmax":
            criterion, target = nn.CrossEntropyLoss(), truth
        else:
            target = truth.astype(np.float32).reshape(len(truth), -1)
            criterion = binary_loss(by_class)
        return criterion, target

    def _labels(self, output: Array) -> Array:
        """Indices of classes, or 0 and 1 for each label."""
        if self._multilabel:
            return (output > 0).astype(int)
        if output.shape[1] == 1:
            return np.minimum(output[:, 0] > 0, len(self.classes_) - 1).astype(int)
        return output.argmax(axis=1)

    def _score_of(self, output: Array, truth: Array, weights: Array | None) -> float:
        if not np.isfinite(output).all():
            return np.nan
        right = self._labels(output) == truth
        return float(np.average(right.all(axis=1) if right.ndim == 2 else right, weights=weights))

    def predict(self, X: Any) -> Any:
        """The class of each sample, or a matrix of 0 and 1 for labels: a sparse one where a sparse one was fitted."""
        labels = self._labels(self._outputs(X))
        if self._multilabel:
            return csr_matrix(labels) if self._sparse_labels else labels
        return self.classes_[labels]

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, in the order of `classes_`."""
        output = self._outputs(X)
        if self._multilabel:
            return expit(output)
        if len(self.classes_) == 1:
            return np.ones((len(output), 1), np.float32)
        if output.shape[1] == 1:
            return np.hstack([expit(-output), expit(output)])
        return softmax(output, axis=1)

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of each class' probability; that of a probability that rounds to 0 is -inf."""
        with Quiet(divide="ignore"):
            return np.log(self.predict_proba(X))

    @stochastic_only
    def partial_fit(
        self, X: Any, y: Any, sample_weight: ArrayLike | None = None, classes: ArrayLike | None = None
    ) -> Any:
        """Take one pass over X and y, from where the model stands.

        Args:
            X: array or sparse matrix (n, features).
            y: classes (n,), or labels (n, outputs).
            sample_weight: (n,) numbers >= 0, None for 1 each.
            classes: all that there may ever be; needed in the first call, and the same or None later.

        Raises:
            ValueError: if classes are missing in the first call or others later.
        """
        if classes is None and not hasattr(self, "model_"):
            raise ValueError(f"{type(self).__name__}: classes must be passed on the first call to partial_fit")
        return self._partial_fit(X, y, sample_weight, classes)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
