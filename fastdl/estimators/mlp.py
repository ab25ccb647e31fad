"""MLPClassifier and MLPRegressor: scikit-learn's perceptrons, trained by fastdl."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from fastdl import nn
from fastdl.estimators.base import Estimator
from fastdl.estimators.classifier import Classifier
from fastdl.estimators.options import Options, set_options, with_options
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


@with_options
class MLPClassifier(Classifier, _Perceptron):
    """A multilayer perceptron for classes: sklearn.neural_network.MLPClassifier's arguments and attributes, and more.

    Args:
        hidden_layer_sizes: neurons of each hidden layer.
        activation: of all hidden layers or a list with one for each: "identity", "logistic", "tanh", "relu",
            "leaky_relu", "elu", "gelu", "silu", "softplus".
        {options}
        dropout: the share of neurons left out after each hidden layer, or a list with one for each.
        batch_norm: normalize each hidden layer before its activation.
        {classes}

    Attributes:
        classes_: the classes in order.
        {fitted}
        {weights}

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
        dropout: float | list[float] = 0.0,
        batch_norm: bool = False,
        class_weight: Any = None,
        loss: str | nn.Loss = "log_loss",
        **options: Unpack[Options],
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.class_weight = class_weight
        self.loss = loss
        set_options(self, options)

    def _make_model(self, x: Array, random_state: np.random.RandomState) -> nn.Module:
        model = self._perceptron(x, self._scores(), random_state)
        self._set_out_activation()
        return model


@with_options
class MLPRegressor(Regressor, _Perceptron):
    """A multilayer perceptron for numbers: sklearn.neural_network.MLPRegressor's arguments and attributes, and more.

    Args:
        {values}
        hidden_layer_sizes, activation, dropout, batch_norm: as for MLPClassifier.
        {options}

    Attributes:
        {fitted}
        {weights}

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
        dropout: float | list[float] = 0.0,
        batch_norm: bool = False,
        **options: Unpack[Options],
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.batch_norm = batch_norm
        set_options(self, options)

    def _make_model(self, x: Array, random_state: np.random.RandomState) -> nn.Module:
        self.out_activation_ = self._out_activation()
        return self._perceptron(x, self.n_outputs_, random_state)
