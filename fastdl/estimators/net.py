"""NetClassifier and NetRegressor: any fastdl model as a scikit-learn estimator."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import deepcopy
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl import nn
from fastdl.callbacks import Callback
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.estimators.base import Estimator
from fastdl.estimators.classifier import Classifier
from fastdl.estimators.perceptron import hidden_layers, perceptron
from fastdl.estimators.regressor import Regressor
from fastdl.messages import shown
from fastdl.training.inference import outputs
from fastdl.validation import positive_integer

Array = NDArray[Any]


class _Net(Estimator):
    """A model that is given, or a function that makes it."""

    _takes_images = True
    model: Any
    input_shape: Any

    def _made_with(self) -> dict[str, Any]:
        return {"model": self.model, "input_shape": self._input_shape()}

    def _input_shape(self) -> tuple[int, ...] | None:
        if self.input_shape is None:
            return None
        owner, shape = type(self).__name__, self.input_shape
        if not isinstance(shape, (tuple, list)):
            raise InvalidTypeError(owner, "a tuple of integers such as (1, 8, 8)", shown(shape), argument="input_shape")
        return tuple(positive_integer(size, "input_shape", owner) for size in shape)

    def _shaped(self, X: Any) -> Array:
        x = super()._shaped(X)
        shape = self._input_shape()
        if shape is None:
            return x
        if prod(shape) != prod(x.shape[1:]):
            raise InvalidValueError(
                type(self).__name__, f"samples of {prod(shape)} numbers for input_shape={shape}", prod(x.shape[1:])
            )
        return x.reshape(len(x), *shape)

    def _net(self, x: Array, n_outputs: int, random_state: np.random.RandomState) -> nn.Module:
        owner = type(self).__name__
        if self.model is None:
            x = x.reshape(len(x), -1)
            return perceptron(x.shape[1], n_outputs, random_state, **hidden_layers(100, "relu", 0.0, False, owner))
        if isinstance(self.model, nn.Module):
            return deepcopy(self.model)
        if not callable(self.model):
            raise InvalidTypeError(
                owner, "a fastdl Module or a function that makes one", shown(self.model), argument="model"
            )
        rng = np.random.default_rng(random_state.randint(2**32, dtype=np.uint32))
        known = {"n_features": prod(x.shape[1:]), "n_outputs": n_outputs, "rng": rng}
        try:
            taken = inspect.signature(self.model).parameters
        except ValueError:  # a builtin that tells none
            taken = {}
        for name, each in taken.items():
            optional = each.default is not each.empty or each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
            if not optional and name not in known:
                raise InvalidTypeError(
                    owner,
                    "a function of n_features, n_outputs and rng",
                    f"one that needs {shown(name)}",
                    argument="model",
                )
        model = self.model(**{name: value for name, value in known.items() if name in taken})
        if not isinstance(model, nn.Module):
            raise InvalidTypeError(owner, "a fastdl Module from the function model", type(model).__name__)
        return model

    def _columns(self, model: nn.Module, x: Array) -> int:
        """How many numbers the model gives for a sample."""
        shape = outputs(model, x[:2]).shape
        if len(shape) != 2:
            raise InvalidValueError(type(self).__name__, "a model with outputs (n, outputs)", shape)
        return shape[1]


class NetClassifier(Classifier, _Net):
    """Any fastdl model as a classifier.

    The model gives a score for each class (or label); for two classes it may give one, whose sigmoid is the second's
    probability.

    Args:
        model: a Module, of which each fit trains a copy, from the weights that it has; or a function that makes one, given
            those of `n_features`, `n_outputs` and `rng` (a numpy Generator, drawn from random_state) that it names as
            arguments. None makes a hidden layer of 100 ReLU.
        input_shape: the shape of a sample where the model wants another than a row of X has, such as (1, 8, 8).
        solver: "adam", "sgd", "rmsprop", or "lbfgs", which sees all samples at once and suits a few thousand of them.
        alpha: the penalty alpha / 2 ||W||^2, over the samples of a batch, on weights but not on biases.
        batch_size: samples a step; "auto" is min(200, n).
        learning_rate: of sgd: "constant", "invscaling" (learning_rate_init / (t_ + 1)^power_t) or "adaptive" (a fifth
            whenever nothing has improved).
        learning_rate_init, momentum, nesterovs_momentum, beta_1, beta_2, epsilon: of sgd and adam.
        rho: of rmsprop: the share of the mean square that stays.
        max_iter: the most epochs, of lbfgs the most iterations; max_fun: of lbfgs the most evaluations.
        shuffle: see the samples in a new order in each epoch.
        random_state: of weights, order, dropout and split; an integer repeats the fit to the bit.
        tol, n_iter_no_change: stop when the loss (or with early_stopping the score) has not improved by tol for more than
            so many epochs.
        verbose: print each epoch's loss and score.
        warm_start: let `fit` go on from the latest fit.
        early_stopping: set validation_fraction of the samples aside, stop by their score and go back to the best weights.
        class_weight: "balanced", or a dictionary of weights by class.
        loss: "log_loss", or a `fastdl.nn.Loss` of (scores, class indices).
        callbacks: of `fastdl.callbacks`, for sgd, adam and rmsprop.

    Attributes:
        classes_: the classes in order.
        model_: the trained `fastdl.nn.Module`, in evaluation mode; history_: the latest fit's `History`.
        loss_curve_, loss_, best_loss_: each epoch's loss with its penalty, the last and the least of them.
        validation_scores_, best_validation_score_: with early_stopping, each epoch's score, and the best.
        n_iter_, t_: epochs of the latest fit (or pass of partial_fit), and samples seen in all.

    Raises:
        TypeError, ValueError: in `fit`, for arguments or data that cannot be used.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> def cnn(n_outputs, rng):
        ...     return nn.Sequential(
        ...         nn.Conv2d(1, 4, 3, rng=rng), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, n_outputs, rng=rng)
        ...     )
        >>> X, y = load_digits(return_X_y=True)
        >>> net = NetClassifier(cnn, input_shape=(1, 8, 8), learning_rate_init=0.01, tol=1e-2, random_state=0)
        >>> net.fit(X / 16, y).score(X / 16, y) > 0.95
        True
    """

    def __init__(
        self,
        model: nn.Module | Callable[..., nn.Module] | None = None,
        *,
        input_shape: tuple[int, ...] | None = None,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int | float = 10,
        max_fun: int = 15000,
        rho: float = 0.99,
        class_weight: Any = None,
        loss: str | nn.Loss = "log_loss",
        callbacks: list[Callback] | None = None,
    ) -> None:
        self.model = model
        self.input_shape = input_shape
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.rho = rho
        self.class_weight = class_weight
        self.loss = loss
        self.callbacks = callbacks

    def _make_model(self, x: Array, random_state: np.random.RandomState) -> nn.Module:
        wanted = self._scores() if self.model is None else len(self.classes_)
        model = self._net(x, wanted, random_state)
        found, most = self._columns(model, x), len(self.classes_)
        if found != most and not (found == 1 and most <= 2 and self._log_loss() and not self._multilabel):
            raise InvalidValueError(type(self).__name__, f"a model with {most} outputs, one a class", found)
        self.n_outputs_ = found
        self._set_out_activation()
        return model


class NetRegressor(Regressor, _Net):
    """Any fastdl model as a regressor; it gives one number for each output.

    Args:
        model: a Module, of which each fit trains a copy, from the weights that it has; or a function that makes one, given
            those of `n_features`, `n_outputs` and `rng` (a numpy Generator, drawn from random_state) that it names as
            arguments. None makes a hidden layer of 100 ReLU.
        input_shape: the shape of a sample where the model wants another than a row of X has, such as (1, 8, 8).
        solver: "adam", "sgd", "rmsprop", or "lbfgs", which sees all samples at once and suits a few thousand of them.
        alpha: the penalty alpha / 2 ||W||^2, over the samples of a batch, on weights but not on biases.
        batch_size: samples a step; "auto" is min(200, n).
        learning_rate: of sgd: "constant", "invscaling" (learning_rate_init / (t_ + 1)^power_t) or "adaptive" (a fifth
            whenever nothing has improved).
        learning_rate_init, momentum, nesterovs_momentum, beta_1, beta_2, epsilon: of sgd and adam.
        rho: of rmsprop: the share of the mean square that stays.
        max_iter: the most epochs, of lbfgs the most iterations; max_fun: of lbfgs the most evaluations.
        shuffle: see the samples in a new order in each epoch.
        random_state: of weights, order, dropout and split; an integer repeats the fit to the bit.
        tol, n_iter_no_change: stop when the loss (or with early_stopping the score) has not improved by tol for more than
            so many epochs.
        verbose: print each epoch's loss and score.
        warm_start: let `fit` go on from the latest fit.
        early_stopping: set validation_fraction of the samples aside, stop by their score and go back to the best weights.
        loss: "squared_error", "absolute_error", "huber", "poisson", or a `fastdl.nn.Loss` of (outputs, targets).
        callbacks: of `fastdl.callbacks`, for sgd, adam and rmsprop.

    Attributes:
        model_: the trained `fastdl.nn.Module`, in evaluation mode; history_: the latest fit's `History`.
        loss_curve_, loss_, best_loss_: each epoch's loss with its penalty, the last and the least of them.
        validation_scores_, best_validation_score_: with early_stopping, each epoch's score, and the best.
        n_iter_, t_: epochs of the latest fit (or pass of partial_fit), and samples seen in all.

    Raises:
        TypeError, ValueError: in `fit`, for arguments or data that cannot be used.

    Example:
        >>> X = np.linspace(-3, 3, 200)[:, None]
        >>> model = nn.Sequential(nn.Linear(1, 25, rng=0), nn.Tanh(), nn.Linear(25, 1, rng=1))
        >>> net = NetRegressor(model, solver="lbfgs").fit(X, np.sin(X[:, 0]))
        >>> net.score(X, np.sin(X[:, 0])) > 0.99
        True
    """

    def __init__(
        self,
        model: nn.Module | Callable[..., nn.Module] | None = None,
        *,
        input_shape: tuple[int, ...] | None = None,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int | float = 10,
        max_fun: int = 15000,
        rho: float = 0.99,
        loss: str | nn.Loss = "squared_error",
        callbacks: list[Callback] | None = None,
    ) -> None:
        self.model = model
        self.input_shape = input_shape
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.rho = rho
        self.loss = loss
        self.callbacks = callbacks

    def _make_model(self, x: Array, random_state: np.random.RandomState) -> nn.Module:
        model = self._net(x, self.n_outputs_, random_state)
        found = self._columns(model, x)
        if found != self.n_outputs_:
            raise InvalidValueError(
                type(self).__name__, f"a model with {self.n_outputs_} outputs, as many as y has", found
            )
        self.out_activation_ = self._out_activation()
        return model
