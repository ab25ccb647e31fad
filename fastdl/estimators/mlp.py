"""MLPClassifier and MLPRegressor: scikit-learn's perceptrons, trained by fastdl."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl import nn
from fastdl.callbacks import Callback
from fastdl.estimators.base import Estimator
from fastdl.estimators.classifier import Classifier
from fastdl.estimators.perceptron import hidden_layers, perceptron
from fastdl.estimators.regressor import Regressor

Array = NDArray[Any]


class _Perceptron(Estimator):
    """Hidden layers by their sizes; weights and biases under scikit-learn's names."""

    hidden_layer_sizes: Any
    activation: Any
    dropout: Any
    batch_norm: Any

    def _made_with(self) -> dict[str, Any]:
        owner = type(self).__name__
        return hidden_layers(self.hidden_layer_sizes, self.activation, self.dropout, self.batch_norm, owner)

    def _perceptron(self, x: Array, scores: int, random_state: np.random.RandomState) -> nn.Sequential:
        layers = self._made_with()
        self.n_layers_, self.n_outputs_ = len(layers["hidden_layer_sizes"]) + 2, scores
        return perceptron(x.shape[1], scores, random_state, **layers)

    def _linear_layers(self) -> list[nn.Linear]:
        if not hasattr(self, "model_"):
            raise AttributeError(f"{type(self).__name__}: expected a fit before this; write fit(X, y)")
        return [layer for layer in self.model_.modules() if isinstance(layer, nn.Linear)]

    @property
    def coefs_(self) -> list[Array]:
        """The weights of each layer, (inputs, outputs): views into the model."""
        return [layer.weight.data.T for layer in self._linear_layers()]

    @coefs_.setter
    def coefs_(self, values: list[Array]) -> None:
        for layer, value in zip(self._linear_layers(), values, strict=True):
            layer.weight.data = np.asarray(value).T

    @property
    def intercepts_(self) -> list[Array]:
        """The biases of each layer: views into the model."""
        return [layer.bias.data for layer in self._linear_layers() if layer.bias is not None]

    @intercepts_.setter
    def intercepts_(self, values: list[Array]) -> None:
        for layer, value in zip(self._linear_layers(), values, strict=True):
            if layer.bias is not None:
                layer.bias.data = value


class MLPClassifier(Classifier, _Perceptron):
    """A multilayer perceptron for classes: sklearn.neural_network.MLPClassifier's arguments and attributes, and more.

    Args:
        hidden_layer_sizes: neurons of each hidden layer.
        activation: of all hidden layers or a list with one for each: "identity", "logistic", "tanh", "relu",
            "leaky_relu", "elu", "gelu", "silu", "softplus".
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
        dropout: the share of neurons left out after each hidden layer, or a list with one for each.
        batch_norm: normalize each hidden layer before its activation.
        class_weight: "balanced", or a dictionary of weights by class.
        loss: "log_loss", or a `fastdl.nn.Loss` of (scores, class indices).
        callbacks: of `fastdl.callbacks`, for sgd, adam and rmsprop.

    Attributes:
        classes_: the classes in order.
        model_: the trained `fastdl.nn.Module`, in evaluation mode; history_: the latest fit's `History`.
        loss_curve_, loss_, best_loss_: each epoch's loss with its penalty, the last and the least of them.
        validation_scores_, best_validation_score_: with early_stopping, each epoch's score, and the best.
        n_iter_, t_: epochs of the latest fit (or pass of partial_fit), and samples seen in all.
        coefs_, intercepts_: the linear layers' weights (inputs, outputs) and biases, views into the model; assignment
            copies.
        n_layers_, n_outputs_, out_activation_, n_features_in_, feature_names_in_: as scikit-learn's.

    Raises:
        TypeError, ValueError: in `fit`, for arguments or data that cannot be used.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = MLPClassifier((25,), solver="lbfgs", max_iter=2000, random_state=0).fit(X, y)
        >>> classifier.score(X, y) > 0.95, classifier.predict_proba(X[:2]).shape
        (True, (2, 3))

    Source: sklearn.neural_network.MLPClassifier.
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str | list[str] = "relu",
        *,
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
        dropout: float | list[float] = 0.0,
        batch_norm: bool = False,
        class_weight: Any = None,
        loss: str | nn.Loss = "log_loss",
        callbacks: list[Callback] | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
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
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.class_weight = class_weight
        self.loss = loss
        self.callbacks = callbacks

    def _make_model(self, x: Array, random_state: np.random.RandomState) -> nn.Module:
        model = self._perceptron(x, self._scores(), random_state)
        self._set_out_activation()
        return model


class MLPRegressor(Regressor, _Perceptron):
    """A multilayer perceptron for numbers: sklearn.neural_network.MLPRegressor's arguments and attributes, and more.

    Args:
        loss: "squared_error", "absolute_error", "huber", "poisson", or a `fastdl.nn.Loss` of (outputs, targets).
        hidden_layer_sizes, activation, dropout, batch_norm: as for MLPClassifier.
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
        callbacks: of `fastdl.callbacks`, for sgd, adam and rmsprop.

    Attributes:
        model_: the trained `fastdl.nn.Module`, in evaluation mode; history_: the latest fit's `History`.
        loss_curve_, loss_, best_loss_: each epoch's loss with its penalty, the last and the least of them.
        validation_scores_, best_validation_score_: with early_stopping, each epoch's score, and the best.
        n_iter_, t_: epochs of the latest fit (or pass of partial_fit), and samples seen in all.
        coefs_, intercepts_: the linear layers' weights (inputs, outputs) and biases, views into the model; assignment
            copies.
        n_layers_, n_outputs_, out_activation_, n_features_in_, feature_names_in_: as scikit-learn's.

    Raises:
        TypeError, ValueError: in `fit`, for arguments or data that cannot be used.

    Example:
        >>> X = np.linspace(-3, 3, 200)[:, None]
        >>> regressor = MLPRegressor(hidden_layer_sizes=(25,), activation="tanh", solver="lbfgs", random_state=0)
        >>> regressor.fit(X, np.sin(X[:, 0])).score(X, np.sin(X[:, 0])) > 0.99
        True

    Source: sklearn.neural_network.MLPRegressor.
    """

    def __init__(
        self,
        loss: str | nn.Loss = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: str | list[str] = "relu",
        *,
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
        dropout: float | list[float] = 0.0,
        batch_norm: bool = False,
        callbacks: list[Callback] | None = None,
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
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
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.callbacks = callbacks

    def _make_model(self, x: Array, random_state: np.random.RandomState) -> nn.Module:
        self.out_activation_ = self._out_activation()
        return self._perceptron(x, self.n_outputs_, random_state)
