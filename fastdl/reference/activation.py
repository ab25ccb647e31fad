"""Activations: y = f(x) for every element, and gx = gy f'."""

from collections.abc import Callable
from math import copysign, erfc, expm1, pi, sqrt, tanh

import numpy as np

from fastdl.reference.elements import flat
from fastdl.reference.ieee import exp, log1p


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def vanishing(s: float, x: float) -> float:
    """s x, which is 0 where s is: s vanishes faster than x grows, so that infinities have their limits."""
    return copysign(0.0, x) if s == 0 else s * x


def softplus(x: float, beta: float) -> float:
    """log(1 + e^(beta x)) / beta, where e^(beta x) may overflow."""
    return (max(beta * x, 0) + log1p(exp(-abs(beta * x)))) / beta


def normal_cdf(x: float) -> float:
    return erfc(-x / sqrt(2)) / 2


def normal_pdf(x: float) -> float:
    return exp(-x * x / 2) / sqrt(2 * pi)


def gelu_tanh_exponent(x: float) -> float:
    """2 u with u = sqrt(2 / pi) (x + 0.044715 x^3)."""
    return 2 * sqrt(2 / pi) * (x + 0.044715 * x * x * x)


def gelu_tanh(x: float) -> float:
    """x (1 + tanh u) / 2, where (1 + tanh u) / 2 = sigmoid(2 u) does not cancel."""
    return vanishing(sigmoid(gelu_tanh_exponent(x)), x)


def gelu_tanh_derivative(x: float) -> float:
    u = gelu_tanh_exponent(x)
    s = sigmoid(u)
    return s + vanishing(s * sigmoid(-u), x * 2 * sqrt(2 / pi) * (1 + 3 * 0.044715 * x * x))


def silu_derivative(x: float) -> float:
    s = sigmoid(x)
    return s + vanishing(s * sigmoid(-x), x)


# f(x, a, b) and f', of x or of y as its argument is called; a and b stand for alpha and beta.
ACTIVATIONS: dict[str, tuple[Callable[[float, float, float], float], Callable[[float, float, float], float]]] = {
    "relu": (
        lambda x, a, b: 0.0 if x < 0 else x,
        lambda y, a, b: 0.0 if y <= 0 else 1.0,
    ),
    "leaky_relu": (
        lambda x, a, b: x if x > 0 else a * x,
        lambda x, a, b: 1.0 if x > 0 else a,
    ),
    "elu": (
        lambda x, a, b: x if x > 0 else a * expm1(x),
        lambda x, a, b: 1.0 if x > 0 else a * exp(x),
    ),
    "tanh": (
        lambda x, a, b: tanh(x),
        lambda y, a, b: 1 - y * y,
    ),
    "sigmoid": (
        lambda x, a, b: sigmoid(x),
        lambda y, a, b: y * (1 - y),
    ),
    "gelu": (
        lambda x, a, b: vanishing(normal_cdf(x), x),
        lambda x, a, b: normal_cdf(x) + vanishing(normal_pdf(x), x),
    ),
    "gelu_tanh": (
        lambda x, a, b: gelu_tanh(x),
        lambda x, a, b: gelu_tanh_derivative(x),
    ),
    "silu": (
        lambda x, a, b: vanishing(sigmoid(x), x),
        lambda x, a, b: silu_derivative(x),
    ),
    "softplus": (
        lambda x, a, b: x if a * x > b else softplus(x, a),
        lambda x, a, b: 1.0 if a * x > b else sigmoid(a * x),
    ),
}

# The kinds whose derivative is a function of y.
KEEPS_OUTPUT = frozenset({"relu", "tanh", "sigmoid"})


def activation_forward(x: np.ndarray, kind: str, alpha: float, beta: float, y: np.ndarray) -> None:
    """y = f(x)."""
    f, _ = ACTIVATIONS[kind]
    x, y = flat(x, y)
    for i in range(len(x)):
        y[i] = f(x[i], alpha, beta)


def activation_backward(
    gy: np.ndarray, x: np.ndarray | None, y: np.ndarray | None, kind: str, alpha: float, beta: float, gx: np.ndarray
) -> None:
    """gx = gy f', where f' reads y for the kinds in KEEPS_OUTPUT and x for the others."""
    _, derivative = ACTIVATIONS[kind]
    gy, argument, gx = flat(gy, y if kind in KEEPS_OUTPUT else x, gx)
    for i in range(len(gy)):
        gx[i] = gy[i] * derivative(argument[i], alpha, beta)
