"""Elementwise losses: a function of output x and target t, and its derivative in x."""

from collections.abc import Callable

import numpy as np

from fastdl.reference.activation import sigmoid
from fastdl.reference.elements import flat
from fastdl.reference.ieee import exp, log, log1p


def sign(d: float) -> float:
    """1, 0 or -1; a NaN stays."""
    return (d > 0) - (d < 0) if d == d else d


def huber(d: float, delta: float) -> float:
    return d * d / 2 if abs(d) <= delta else delta * (abs(d) - delta / 2)


def huber_derivative(d: float, delta: float) -> float:
    """d, held within [-delta, delta]; a NaN stays, for `max` and `min` keep their first argument."""
    return max(min(d, delta), -delta)


def bce(x: float, t: float) -> float:
    return -t * max(log(x), -100) - (1 - t) * max(log1p(-x), -100)


def bce_derivative(x: float, t: float) -> float:
    return (x - t) / max(x * (1 - x), 1e-12)


def bce_with_logits(x: float, t: float, pos_weight: float) -> float:
    """-pos_weight t log sigmoid(x) - (1 - t) log sigmoid(-x), where -log sigmoid(x) = log(1 + e^-|x|) + max(-x, 0)."""
    small = log1p(exp(-abs(x)))
    with_, against = pos_weight * t, 1 - t
    return (with_ if x < 0 else against) * abs(x) + (with_ + against) * small


def bce_with_logits_derivative(x: float, t: float, pos_weight: float) -> float:
    return (1 - t) * sigmoid(x) - pos_weight * t * sigmoid(-x)


Scalar = Callable[[float, float, float, float], float]

# f(x, t, c, delta) and its derivative in x; c stands for pos_weight.
LOSSES: dict[str, tuple[Scalar, Scalar]] = {
    "mse": (
        lambda x, t, c, delta: (x - t) * (x - t),
        lambda x, t, c, delta: 2 * (x - t),
    ),
    "mae": (
        lambda x, t, c, delta: abs(x - t),
        lambda x, t, c, delta: sign(x - t),
    ),
    "huber": (
        lambda x, t, c, delta: huber(x - t, delta),
        lambda x, t, c, delta: huber_derivative(x - t, delta),
    ),
    "bce": (
        lambda x, t, c, delta: bce(x, t),
        lambda x, t, c, delta: bce_derivative(x, t),
    ),
    "bce_with_logits": (
        lambda x, t, c, delta: bce_with_logits(x, t, c),
        lambda x, t, c, delta: bce_with_logits_derivative(x, t, c),
    ),
}


def at(array: memoryview | None, i: int) -> float:
    """Element i of an optional array of factors, 1 where there is none."""
    return 1.0 if array is None else array[i]


def loss_forward(
    x: np.ndarray,
    t: np.ndarray,
    weight: np.ndarray | None,
    pos_weight: np.ndarray | None,
    kind: str,
    delta: float,
    y: np.ndarray,
) -> None:
    """y = weight f(x, t)."""
    f, _ = LOSSES[kind]
    x, t, w, c, y = flat(x, t, weight, pos_weight, y)
    for i in range(len(x)):
        y[i] = at(w, i) * f(x[i], t[i], at(c, i), delta)


def loss_sum(
    x: np.ndarray, t: np.ndarray, weight: np.ndarray | None, pos_weight: np.ndarray | None, kind: str, delta: float
) -> float:
    """sum weight f(x, t)."""
    f, _ = LOSSES[kind]
    x, t, w, c = flat(x, t, weight, pos_weight)
    total = 0.0
    for i in range(len(x)):
        total += at(w, i) * f(x[i], t[i], at(c, i), delta)
    return total


def loss_backward(
    x: np.ndarray,
    t: np.ndarray,
    weight: np.ndarray | None,
    pos_weight: np.ndarray | None,
    kind: str,
    delta: float,
    scale: float,
    gx: np.ndarray,
) -> None:
    """gx = scale weight f'(x, t)."""
    _, derivative = LOSSES[kind]
    x, t, w, c, gx = flat(x, t, weight, pos_weight, gx)
    for i in range(len(x)):
        gx[i] = scale * at(w, i) * derivative(x[i], t[i], at(c, i), delta)
