"""What all estimators do: look at data, start or go on with a model, train it, predict with it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from fastdl import nn
from fastdl._kernels.quiet import Quiet
from fastdl.errors import InvalidValueError
from fastdl.estimators.criterion import weighted
from fastdl.estimators.exactness import check_inputs
from fastdl.estimators.lbfgs import fit_lbfgs
from fastdl.estimators.options import STOCHASTIC, check_options
from fastdl.estimators.stochastic import fit_stochastic, optimizer_of
from fastdl.messages import shown
from fastdl.nn.parameter import Parameter
from fastdl.nn.walk import weights_dtype
from fastdl.training.inference import outputs, predict
from fastdl.validation import refuse_masked

Array = NDArray[Any]
# Up to so many samples, `fit` computes in float64: it takes no longer, and repeated samples then equal weighted ones.
FEW = 64
FLOATS = np.finfo(np.float32)


def _is_stochastic(estimator: Any) -> bool:
    if estimator.solver not in STOCHASTIC:
        raise AttributeError(
            f"{type(estimator).__name__}: expected a solver among {', '.join(STOCHASTIC)} for partial_fit,"
            f" got {shown(estimator.solver)}"
        )
    return True


class Estimator(BaseEstimator):
    """A model that is trained to arrays; subclasses say what the targets are and how the model is made."""

    # How many dimensions X may have: estimators of any model take more than two.
    _takes_images = False
    _numeric_targets = False
    solver: Any
    alpha: Any
    batch_size: Any
    max_iter: Any
    random_state: Any
    warm_start: Any
    early_stopping: Any
    validation_fraction: Any
    callbacks: Any
    model_: nn.Module

    # What subclasses define.

    def _make_model(self, x: Array, random_state: np.random.RandomState) -> nn.Module:
        raise NotImplementedError

    def _made_with(self) -> dict[str, Any]:
        """The arguments that the model follows from, which a fit that goes on with it may not change."""
        raise NotImplementedError

    def _read_targets(self, y: Any, first: bool, classes: ArrayLike | None) -> Array:
        """The targets as numbers, and what is to be known of them; they are the classes' indices in a classifier."""
        raise NotImplementedError

    def _sample_weights(self, sample_weight: Any, truth: Array) -> tuple[Array | None, Array | None]:
        """A weight for each sample, or where that says it all one for each class; None where all are 1."""
        raise NotImplementedError

    def _task(self, truth: Array, by_class: Array | None) -> tuple[Any, Array]:
        """The criterion and its targets."""
        raise NotImplementedError

    def _score_of(self, output: Array, truth: Array, weights: Array | None) -> float:
        raise NotImplementedError

    def _loss_scale(self) -> float:
        return 1.0

    # Fitting.

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Any:
        """Fit the model to X and y; with `warm_start` from where the latest fit has left it.

        Args:
            X: array or sparse matrix (n, features), read as float32.
            y: targets (n,), or (n, outputs).
            sample_weight: (n,) numbers >= 0, None for 1 each.

        Raises:
            TypeError, ValueError: for arguments or data that cannot be used.
        """
        first = not (self.warm_start and hasattr(self, "model_"))
        with self._unchanged_by_a_failure(first, False):
            return self._fit(X, y, sample_weight, first, False)

    @contextmanager
    def _unchanged_by_a_failure(self, first: bool, incremental: bool) -> Iterator[None]:
        """Let a fit that raises leave all as it was: an estimator that is not fitted, or the model of the fit before."""
        before: dict[str, Any] = {
            name: list(value) if name.endswith("_") and isinstance(value, list) else value
            for name, value in vars(self).items()
        }
        weights = None if first else self.model_.state_dict()
        optimizer = before.get("_optimizer") if incremental and not first else None
        state = None if optimizer is None else (optimizer.state_dict(), self._rng.bit_generator.state)
        try:
            yield
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            if weights is not None:
                self.model_.eval().load_state_dict(weights)
            if optimizer is not None and state is not None:
                optimizer.load_state_dict(state[0])
                self._rng.bit_generator.state = state[1]
            raise

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, first: bool, incremental: bool, classes: ArrayLike | None = None
    ) -> Any:
        owner = type(self).__name__
        check_options(self)
        if incremental and self.early_stopping:
            raise ValueError(f"{owner}: partial_fit does not support early_stopping=True")
        refuse_masked(y, "y", owner)
        refuse_masked(sample_weight, "sample_weight", owner)
        X, y = self._validated(X, y, reset=first, multi_output=True, y_numeric=self._numeric_targets)
        x = self._shaped(X)
        truth = self._read_targets(y, first, classes)
        random_state = check_random_state(self.random_state)
        made_with = self._made_with()
        if first:
            self._start(x, random_state)
            self._model_made_with = made_with
        for name, value in self._model_made_with.items():
            if value is not made_with[name] and value != made_with[name]:
                raise InvalidValueError(
                    owner,
                    f"{name}={shown(value)} of the fit to go on from",
                    shown(made_with[name]),
                    "write fit with warm_start=False for a new model",
                )
        weights, by_class = self._sample_weights(sample_weight, truth)
        mean, spread = 1.0, weights if weights is not None else None if by_class is None else by_class[truth]
        if spread is not None:
            with Quiet(over="ignore"):
                mean = float(spread.mean(dtype=np.float64))
            if mean <= 0:
                raise InvalidValueError(owner, "a weight above 0 for at least one sample", "none")
            if not FLOATS.tiny <= mean <= FLOATS.max:
                raise InvalidValueError(owner, "weights whose mean float32 can hold", f"{mean:g}", "scale them")
            weights = None if weights is None else weights / mean
            by_class = None if by_class is None else by_class / mean
        if self.solver == "lbfgs":
            criterion, target = self._task(truth, by_class)
            if weights is not None:
                criterion, target = weighted(criterion, target, weights)
            fit_lbfgs(self, x, target, criterion, decay=self.alpha / (len(x) * mean), scale=self._loss_scale())
        else:
            self._fit_in_batches(x, truth, weights, by_class, mean, random_state, incremental)
        parts = [part for _, part in self.model_._entries(once=True)]
        if not all(np.isfinite(part if isinstance(part, np.ndarray) else part._data).all() for part in parts):
            raise InvalidValueError(
                owner, "weights that stay finite", "others", "write a smaller learning_rate_init, or scale X"
            )
        for parameter in parts:
            if isinstance(parameter, Parameter):
                parameter._forgotten = True  # what is left of the latest step: a pickle need not hold it
        self.model_.eval()  # so that predictions in many threads touch nothing of it
        return self

    def _start(self, x: Array, random_state: np.random.RandomState) -> None:
        """Make a model and forget what earlier fits have left."""
        self.model_ = self._make_model(x, random_state)
        self.n_iter_ = self.t_ = 0
        self._no_improvement_count = 0
        for name in ("_optimizer", "_best_state", "_rng", "loss_", "history_"):
            vars(self).pop(name, None)
        for name in ("loss_curve_", "validation_scores_", "best_validation_score_", "best_loss_"):
            vars(self).pop(name, None)

    def _begin_curves(self) -> None:
        """Let there be curves, and what is best so far: new ones, or those of the fit that this one goes on from."""
        own = vars(self)
        own.setdefault("loss_curve_", [])
        if not self.early_stopping:
            self.validation_scores_ = self.best_validation_score_ = None
            if own.get("best_loss_") is None:
                self.best_loss_ = np.inf
            return
        self.best_loss_ = None
        if own.get("validation_scores_") is None:
            self.validation_scores_, self.best_validation_score_ = [], -np.inf
        else:
            self._best_state = self.model_.state_dict()

    def _fit_in_batches(
        self,
        x: Array,
        truth: Array,
        weights: Array | None,
        by_class: Array | None,
        mean: float,
        random_state: np.random.RandomState,
        incremental: bool,
    ) -> None:
        score: Callable[[], float] | None = None
        validation = None
        if self.early_stopping:
            train, held = self._split(truth, random_state)
            x_held, held_truth = x[held], truth[held]
            held_weights = None if weights is None else weights[held]
            x, truth = x[train], truth[train]
            weights = None if weights is None else weights[train]
            if held_weights is not None and weights is not None and not (held_weights.any() and weights.any()):
                raise InvalidValueError(
                    type(self).__name__,
                    "a weight above 0 among the samples to train on and among those that early_stopping sets aside",
                    hint="write a larger validation_fraction",
                )
            if self.callbacks:
                validation = x_held, self._task(held_truth, by_class)[1]

            def score_of_held() -> float:
                return self._score_of(predict(self.model_, x_held), held_truth, held_weights)

            score = score_of_held

        batch_size = min(200, len(x)) if self.batch_size == "auto" else self.batch_size
        if batch_size > len(x):
            warnings.warn(
                f"Got `batch_size` {batch_size} larger than the {len(x)} samples. It is going to be clipped",
                stacklevel=4,
            )
            batch_size = len(x)
        criterion, target = self._task(truth, by_class)
        decay = self.alpha / (batch_size * mean)
        precise = not incremental and len(x) <= FEW and weights_dtype(self.model_) == np.float32
        if precise:
            self.model_.astype(np.float64)
        if not (incremental and hasattr(self, "_optimizer")):
            self._optimizer = optimizer_of(self, self.model_, decay)
            self._rng = np.random.default_rng(random_state.randint(2**32, dtype=np.uint32))
        elif decay:
            self._optimizer.param_groups[0]["weight_decay"] = decay
        self.n_iter_ = 0
        self._begin_curves()
        try:
            fit_stochastic(
                self,
                x,
                target,
                criterion,
                weights=weights,
                batch_size=int(batch_size),
                decay=decay,
                scale=self._loss_scale(),
                score=score,
                validation=validation,
                rng=self._rng,
                epochs=1 if incremental else self.max_iter,
            )
        finally:
            best = vars(self).pop("_best_state", None)
            if best is not None:
                self.model_.load_state_dict(best)
            if precise:
                self.model_.astype(np.float32)

    def _split(self, truth: Array, random_state: np.random.RandomState) -> tuple[Array, Array]:
        """The rows to train on, and those set aside, drawn as scikit-learn draws them."""
        stratify = truth if truth.dtype.kind == "i" and truth.max() < 2 else None
        train, held = train_test_split(
            np.arange(len(truth)), random_state=random_state, test_size=self.validation_fraction, stratify=stratify
        )
        if len(held) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return np.asarray(train), np.asarray(held)

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: ArrayLike | None = None) -> Any:
        first = not hasattr(self, "model_")
        with self._unchanged_by_a_failure(first, True):
            return self._fit(X, y, sample_weight, first, True, classes)

    # Predicting.

    def _shaped(self, X: Any) -> Array:
        """X as the model takes it."""
        return X.toarray() if issparse(X) else X

    def _outputs(self, X: Any) -> Array:
        """The model's outputs."""
        check_is_fitted(self)
        return outputs(self.model_, self._shaped(self._validated(X, reset=False)))

    def _validated(self, X: Any, *y: Any, **options: Any) -> Any:
        """X as float32, and y where it is given, looked through as scikit-learn does."""
        check_inputs(X, type(self).__name__)
        dtype = getattr(X, "dtype", None)
        if getattr(dtype, "kind", "f") in "USmM":  # which NumPy would make numbers of
            raise InvalidValueError(
                type(self).__name__, "numbers", f"dtype {dtype}", "write X.astype(float)", argument="X"
            )
        options |= {"accept_sparse": ["csr", "csc"], "dtype": np.float32, "allow_nd": self._takes_images}
        with Quiet(over="ignore", invalid="ignore"):  # what float32 cannot hold is an error of one sentence
            return validate_data(self, X, *y, **options)

    def __getstate__(self) -> dict[str, Any]:
        state: Any = super().__getstate__()
        # Another one is made where it is wanted.
        return {name: value for name, value in state.items() if name != "_trainer"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


stochastic_only = available_if(_is_stochastic)
