"""Activations, and functions along an axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdl._kernels.quiet import Quiet
from fastdl.graph import operations as op
from fastdl.graph.value import Value
from fastdl.nn.activation import ELU, GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from fastdl.nn.functional.applied import applied, array_or_value
from fastdl.nn.softmax import LogSoftmax, Softmax


def relu(x: Any) -> Any:
    """max(x, 0); see nn.ReLU.

    Example:
        >>> relu(np.array([-1.0, 2.0]))
        array([0., 2.])
    """
    return applied(ReLU(), x)


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """x where it is positive, else negative_slope x; see nn.LeakyReLU."""
    return applied(LeakyReLU(negative_slope), x)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """x where it is positive, else alpha (exp(x) - 1); see nn.ELU."""
    return applied(ELU(alpha), x)


def gelu(x: Any, approximate: str = "none") -> Any:
    """x Phi(x); see nn.GELU."""
    return applied(GELU(approximate), x)


def silu(x: Any) -> Any:
    """x / (1 + exp(-x)); see nn.SiLU."""
    return applied(SiLU(), x)


def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + exp(beta x)) / beta; see nn.Softplus."""
    return applied(Softplus(beta, threshold), x)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)); see nn.Sigmoid.

    Example:
        >>> sigmoid(np.zeros(1))
        array([0.5])
    """
    return applied(Sigmoid(), x)


def tanh(x: Any) -> Any:
    """tanh(x); see nn.Tanh."""
    return applied(Tanh(), x)


def softmax(x: Any, dim: int = -1) -> Any:
    """exp(x) / sum(exp(x)) along an axis; see nn.Softmax.

    Example:
        >>> softmax(np.zeros((1, 2)))
        array([[0.5, 0.5]])
    """
    return _over_axis(Softmax(dim), x)


def log_softmax(x: Any, dim: int = -1) -> Any:
    """x - log(sum(exp(x))) along an axis, without overflow; see nn.LogSoftmax."""
    return _over_axis(LogSoftmax(dim), x)


def logsumexp(x: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """log(sum(exp(x))) along an axis, without overflow.

    Example:
        >>> logsumexp(np.array([[1000.0, 1000.0]]))
        array([1000.69314718])
    """
    x = array_or_value(x)
    largest: Any = np.max(x, axis=dim, keepdims=True)
    largest = op.stop_gradient(largest) if isinstance(largest, Value) else largest
    largest = np.where(np.isfinite(largest), largest, 0)
    with Quiet(divide="ignore"):  # log 0 where all are -inf
        found = np.log(np.sum(np.exp(x - largest), axis=dim, keepdims=True)) + largest
    return found if keepdim else np.squeeze(found, dim)


def _over_axis(layer: Any, x: Any) -> Any:
    """A layer over one axis, by its formula where that is the samples'."""
    x = array_or_value(x)
    over_samples = isinstance(x, Value) and (x.ndim < 2 or layer.dim in (0, -x.ndim))
    return layer._formula(None, x) if over_samples else applied(layer, x)
