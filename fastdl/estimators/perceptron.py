"""Perceptrons: the models of MLPClassifier and MLPRegressor, drawn as scikit-learn draws them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np

from fastdl import nn
from fastdl.errors import InvalidValueError
from fastdl.messages import shown
from fastdl.validation import one_of, positive_integer, real_number, true_or_false

ZEROS = nn.init.zeros()
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "identity": nn.Identity,
    "logistic": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
}


def hidden_sizes(value: Any, owner: str) -> list[int]:
    """The neurons of each hidden layer, from one number or several.

    Example:
        >>> hidden_sizes(100, "MLPClassifier"), hidden_sizes((25, 25), "MLPClassifier")
        ([100], [25, 25])
    """
    several = isinstance(value, Iterable) and not isinstance(value, (str, bytes))
    sizes = list(value) if several else [value]
    for size in sizes:
        if isinstance(size, (int, np.integer)) and size <= 0:
            raise ValueError(f"{owner}: hidden_layer_sizes must be > 0, got {shown(value)}")
    return [positive_integer(size, "hidden_layer_sizes", owner) for size in sizes]


def of_each_layer(value: Any, layers: int, name: str, owner: str) -> list[Any]:
    """One value for all hidden layers, or one for each."""
    if not isinstance(value, (list, tuple)):
        return [value] * layers
    if len(value) != layers:
        raise InvalidValueError(owner, f"one {name} for all or for each of {layers} hidden layers", shown(value))
    return list(value)


def hidden_layers(
    hidden_layer_sizes: Any, activation: Any, dropout: Any, batch_norm: Any, owner: str
) -> dict[str, Any]:
    """The arguments of `perceptron` that tell the hidden layers, each with one value a layer.

    Without hidden layers the activation still tells how the only weights are drawn.

    Example:
        >>> hidden_layers((5, 4), "tanh", [0.1, 0.0], False, "MLPClassifier")["activation"]
        ['tanh', 'tanh']
    """
    sizes = hidden_sizes(hidden_layer_sizes, owner)
    names = of_each_layer(activation, len(sizes), "activation", owner) or [activation]
    shares = of_each_layer(dropout, len(sizes), "dropout", owner)
    shares = [real_number(share, "dropout", owner, 0.0, 1.0) for share in shares]
    if any(share == 1 for share in shares):
        raise InvalidValueError(owner, "dropout in [0, 1)", shown(dropout))
    return {
        "hidden_layer_sizes": sizes,
        "activation": [one_of(tuple(ACTIVATIONS), name, "activation", owner) for name in names],
        "dropout": shares,
        "batch_norm": true_or_false(batch_norm, "batch_norm", owner),
    }


def perceptron(
    inputs: int,
    outputs: int,
    random_state: np.random.RandomState,
    hidden_layer_sizes: list[int],
    activation: list[str],
    dropout: list[float],
    batch_norm: bool,
) -> nn.Sequential:
    """Linear, BatchNorm1d, activation, Dropout for each hidden layer, and a last Linear.

    Weights and biases are uniform in +-sqrt(6 / (inputs + outputs of the layer)), with 2 for 6 where the activation is
    logistic; the same numbers in the same order as scikit-learn draws from the same random state.

    Source: sklearn.neural_network; X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward
    neural networks", 2010.
    """
    sizes, layers = [inputs, *hidden_layer_sizes, outputs], []
    for number, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        nearest = activation[min(number, len(activation) - 1)]
        bound = np.sqrt((2.0 if nearest == "logistic" else 6.0) / (fan_in + fan_out))
        linear = nn.Linear(fan_in, fan_out, weight_init=ZEROS, bias_init=ZEROS)
        linear.weight.data = random_state.uniform(-bound, bound, (fan_in, fan_out)).T
        if linear.bias is not None:
            linear.bias.data = random_state.uniform(-bound, bound, fan_out)
        layers.append(linear)
        if number == len(hidden_layer_sizes):
            break
        if batch_norm:
            layers.append(nn.BatchNorm1d(fan_out))
        if activation[number] != "identity":
            layers.append(ACTIVATIONS[activation[number]]())
        if dropout[number]:
            layers.append(nn.Dropout(dropout[number]))
    return nn.Sequential(*layers)
