"""One step of each optimizer, element by element, and what is done to a gradient before it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastdl.reference.elements import flat
from fastdl.reference.ieee import divide, sqrt

# The options of a group of parameters, as the optimizers name them.
Options = Mapping[str, Any]


def decay(g: float, p: float, options: Options) -> tuple[float, float]:
    """The gradient to descend and the parameter to start from: the decay joins the one or shrinks the other."""
    g = -g if options["maximize"] else g
    if options["decoupled_weight_decay"]:
        return g, p - options["lr"] * options["weight_decay"] * p
    return g + options["weight_decay"] * p, p


def sgd_step(
    g: np.ndarray,
    options: Options,
    step: int,
    p: np.ndarray,
    momentum_buffer: np.ndarray | None,
) -> None:
    """p -= lr d, where d = g.

    With momentum, m = momentum m + (1 - dampening) g, in the first step m = g, and d = m, or g + momentum m (Nesterov).
    """
    g, p, momentum_buffer = flat(g, p, momentum_buffer)
    momentum, dampening = options["momentum"], options["dampening"]
    for i in range(len(p)):
        direction, p[i] = decay(g[i], p[i], options)
        if momentum_buffer is not None:
            m = direction if step == 1 else momentum * momentum_buffer[i] + (1 - dampening) * direction
            momentum_buffer[i] = m
            direction = direction + momentum * m if options["nesterov"] else m
        p[i] -= options["lr"] * direction


def rmsprop_step(
    g: np.ndarray,
    options: Options,
    step: int,
    p: np.ndarray,
    square_avg: np.ndarray,
    grad_avg: np.ndarray | None,
    momentum_buffer: np.ndarray | None,
) -> None:
    """p -= lr d, where v = alpha v + (1 - alpha) g^2 and d = g / (sqrt(v) + eps), or g / sqrt(v + eps).

    Centered, a = alpha a + (1 - alpha) g, and v - a^2 stands for v; with momentum, m = momentum m + d stands for d.
    """
    g, p, square_avg, grad_avg, momentum_buffer = flat(g, p, square_avg, grad_avg, momentum_buffer)
    alpha, eps = options["alpha"], options["eps"]
    for i in range(len(p)):
        d, p[i] = decay(g[i], p[i], options)
        v = alpha * square_avg[i] + (1 - alpha) * d * d
        square_avg[i] = v
        if grad_avg is not None:
            a = alpha * grad_avg[i] + (1 - alpha) * d
            grad_avg[i] = a
            v -= a * a
        d = divide(d, sqrt(v + eps) if options["eps_inside_sqrt"] else sqrt(v) + eps)
        if momentum_buffer is not None:
            d = options["momentum"] * momentum_buffer[i] + d
            momentum_buffer[i] = d
        p[i] -= options["lr"] * d


def adam_step(
    g: np.ndarray,
    options: Options,
    step: int,
    p: np.ndarray,
    exp_avg: np.ndarray,
    exp_avg_sq: np.ndarray,
    max_exp_avg_sq: np.ndarray | None,
) -> None:
    """p -= lr m' / (sqrt(v') + eps), or lr m' / sqrt(v' + eps).

    m = beta1 m + (1 - beta1) g, m' = m / (1 - beta1^step); v = beta2 v + (1 - beta2) g^2, v' = v / (1 - beta2^step).
    AMSGrad takes v' from the largest v so far.
    """
    g, p, exp_avg, exp_avg_sq, max_exp_avg_sq = flat(g, p, exp_avg, exp_avg_sq, max_exp_avg_sq)
    (beta1, beta2), eps = options["betas"], options["eps"]
    for i in range(len(p)):
        d, p[i] = decay(g[i], p[i], options)
        m = beta1 * exp_avg[i] + (1 - beta1) * d
        v = beta2 * exp_avg_sq[i] + (1 - beta2) * d * d
        exp_avg[i] = m
        exp_avg_sq[i] = v
        if max_exp_avg_sq is not None:
            v = max(v, max_exp_avg_sq[i])
            max_exp_avg_sq[i] = v
        m = m / (1 - beta1**step)
        v = v / (1 - beta2**step)
        p[i] -= options["lr"] * divide(m, sqrt(v + eps) if options["eps_inside_sqrt"] else sqrt(v) + eps)


def norm(g: np.ndarray) -> float:
    """sqrt(sum g^2), each step of the sum one that neither overflows nor underflows."""
    (g,) = flat(g)
    total = 0.0
    for i in range(len(g)):
        total = math.hypot(total, g[i])
    return total


def shrink(limit: float, norm: float, g: np.ndarray) -> None:
    """g = g limit / (norm + 1e-6)."""
    (g,) = flat(g)
    for i in range(len(g)):
        g[i] = g[i] / (norm + 1e-6) * limit


def clamp(low: float, high: float, g: np.ndarray) -> None:
    """g = low where g < low, high where g > high; NaN stays."""
    (g,) = flat(g)
    for i in range(len(g)):
        g[i] = min(max(g[i], low), high)
