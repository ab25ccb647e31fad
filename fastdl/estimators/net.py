"""NetClassifier and NetRegressor: any fastdl model as a scikit-learn estimator."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import deepcopy
from math import prod
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from fastdl import nn
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.estimators.base import Estimator
from fastdl.estimators.classifier import Classifier
from fastdl.estimators.options import Options, set_options, with_options
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


@with_options
class NetClassifier(Classifier, _Net):
    """Any fastdl model as a classifier.

    The model gives a score for each class (or label); for two classes it may give one, whose sigmoid is the second's
    probability.

    Args:
        {model}
        {options}
        {classes}

    Attributes:
        classes_: the classes in order.
        {fitted}

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
        class_weight: Any = None,
        loss: str | nn.Loss = "log_loss",
        **options: Unpack[Options],
    ) -> None:
        self.model = model
        self.input_shape = input_shape
        self.class_weight = class_weight
        self.loss = loss
        set_options(self, options)

    def _make_model(self, x: Array, random_state: np.random.RandomState) -> nn.Module:
        wanted = self._scores() if self.model is None else len(self.classes_)
        model = self._net(x, wanted, random_state)
        found, most = self._columns(model, x), len(self.classes_)
        if found != most and not (found == 1 and most <= 2 and self._log_loss() and not self._multilabel):
            raise InvalidValueError(type(self).__name__, f"a model with {most} outputs, one a class", found)
        self.n_outputs_ = found
        self._set_out_activation()
        return model


@with_options
class NetRegressor(Regressor, _Net):
    """Any fastdl model as a regressor; it gives one number for each output.

    Args:
        {model}
        {options}
        {values}

    Attributes:
        {fitted}

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
        loss: str | nn.Loss = "squared_error",
        **options: Unpack[Options],
    ) -> None:
        self.model = model
        self.input_shape = input_shape
        self.loss = loss
        set_options(self, options)

    def _make_model(self, x: Array, random_state: np.random.RandomState) -> nn.Module:
        model = self._net(x, self.n_outputs_, random_state)
        found = self._columns(model, x)
        if found != self.n_outputs_:
            raise InvalidValueError(
                type(self).__name__, f"a model with {self.n_outputs_} outputs, as many as y has", found
            )
        self.out_activation_ = self._out_activation()
        return model
