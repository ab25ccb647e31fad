"""Functions of arrays and of traced values that NumPy lacks, by the names of torch.nn.functional."""

from __future__ import annotations

from math import pi
from typing import Any

import numpy as np

from fastdl.graph import operations as op
from fastdl.graph.value import Value
from fastdl.nn.activation import ELU, GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from fastdl.nn.class_loss import CrossEntropyLoss, NLLLoss
from fastdl.nn.dropout import Dropout
from fastdl.nn.grad_mode import no_grad
from fastdl.nn.loss import BCELoss, BCEWithLogitsLoss, HuberLoss, L1Loss, MSELoss
from fastdl.nn.module import Module
from fastdl.nn.softmax import LogSoftmax, Softmax
from fastdl.nn.uniform import Uniform


def relu(x: Any) -> Any:
    """max(x, 0); see nn.ReLU.

    Example:
        >>> relu(np.array([-1.0, 2.0]))
        array([0., 2.])
    """
    return _layer(ReLU(), x)


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """x where it is positive, else negative_slope x; see nn.LeakyReLU."""
    return _layer(LeakyReLU(negative_slope), x)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """x where it is positive, else alpha (exp(x) - 1); see nn.ELU."""
    return _layer(ELU(alpha), x)


def gelu(x: Any, approximate: str = "none") -> Any:
    """x Phi(x); see nn.GELU."""
    return _layer(GELU(approximate), x)


def silu(x: Any) -> Any:
    """x / (1 + exp(-x)); see nn.SiLU."""
    return _layer(SiLU(), x)


def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + exp(beta x)) / beta; see nn.Softplus."""
    return _layer(Softplus(beta, threshold), x)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)); see nn.Sigmoid.

    Example:
        >>> sigmoid(np.zeros(1))
        array([0.5])
    """
    return _layer(Sigmoid(), x)


def tanh(x: Any) -> Any:
    """tanh(x); see nn.Tanh."""
    return _layer(Tanh(), x)


def softmax(x: Any, dim: int = -1) -> Any:
    """exp(x) / sum(exp(x)) along an axis; see nn.Softmax.

    Example:
        >>> softmax(np.zeros((1, 2)))
        array([[0.5, 0.5]])
    """
    if isinstance(x, Value) and not _is_for_layer(x, dim):
        value: Any = x
        e = np.exp(value - op.stop_gradient(np.max(value, axis=dim, keepdims=True)))
        return e / np.sum(e, axis=dim, keepdims=True)
    return _layer(Softmax(dim), x)


def log_softmax(x: Any, dim: int = -1) -> Any:
    """x - log(sum(exp(x))) along an axis, without overflow; see nn.LogSoftmax."""
    if isinstance(x, Value) and not _is_for_layer(x, dim):
        return x - logsumexp(x, dim, keepdim=True)
    return _layer(LogSoftmax(dim), x)


def logsumexp(x: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """log(sum(exp(x))) along an axis, without overflow.

    Example:
        >>> logsumexp(np.array([[1000.0, 1000.0]]))
        array([1000.69314718])
    """
    largest: Any = np.max(x, axis=dim, keepdims=True)
    largest = op.stop_gradient(largest) if isinstance(largest, Value) else largest
    found = np.log(np.sum(np.exp(x - largest), axis=dim, keepdims=True)) + largest
    return found if keepdim else np.squeeze(found, dim)


def one_hot(x: Any, num_classes: int) -> Any:
    """A new last axis with 1 at the place that a whole number names, else 0.

    Example:
        >>> one_hot(np.array([2, 0]), 3)
        array([[0, 0, 1],
               [1, 0, 0]])
    """
    values: Any = x if isinstance(x, Value) else np.asarray(x)
    return (values[..., None] == np.arange(num_classes)).astype(np.int64)


def dropout(x: Any, p: float = 0.5, training: bool = True) -> Any:
    """x with elements set to 0 with probability p, the others by 1 / (1 - p); see nn.Dropout."""
    layer = Dropout(p)
    layer.training = training
    return _layer(layer, x)


def uniform_like(x: Any, low: Any = 0.0, high: Any = 1.0) -> Any:
    """Random numbers of x's shape and dtype, uniform between `low` and `high`.

    They come from fastdl's stream, see `fastdl.manual_seed` and `Trainer.fit(seed=...)`, and are others in each call. In a traced
    forward they are drawn in each run, the same for its gradients, and for any number of threads. No gradient goes to x; low
    and high may be arrays or traced values that have one.

    Example:
        >>> from fastdl import manual_seed
        >>> manual_seed(0)
        >>> u = uniform_like(np.zeros((2, 3)), -1, 1)
        >>> u.shape, bool((np.abs(u) < 1).all())
        ((2, 3), True)
    """
    return low + (high - low) * _uniform(x)


def normal_like(x: Any, mean: Any = 0.0, std: Any = 1.0) -> Any:
    """Random numbers of x's shape and dtype, normally distributed; see uniform_like.

    `mean + std * normal_like(mean)` is the reparametrization of a variational autoencoder. By Box and Muller's method.

    Example:
        >>> from fastdl import manual_seed
        >>> manual_seed(0)
        >>> z = normal_like(np.zeros(10_000), mean=3.0, std=0.5)
        >>> bool(abs(z.mean() - 3) < 0.02), bool(abs(z.std() - 0.5) < 0.02)
        (True, True)

    Source: G. Box and M. Muller, "A note on the generation of random normal deviates", 1958.
    """
    z = np.sqrt(-2 * np.log(_uniform(x))) * np.cos(2 * pi * _uniform(x))
    return mean + std * z


def bernoulli_like(x: Any, p: Any = 0.5) -> Any:
    """Ones with probability p, else zeros, of x's shape and dtype; see uniform_like.

    Args:
        x: an array or traced value of floating numbers.
        p: a number, or an array or traced value that broadcasts to x's shape, from 0 to 1.

    Example:
        >>> from fastdl import manual_seed
        >>> manual_seed(0)
        >>> bernoulli_like(np.zeros(6), 1.0)
        array([1., 1., 1., 1., 1., 1.])
    """
    return np.where(_uniform(x) < p, np.ones_like(x), np.zeros_like(x))


def _uniform(x: Any) -> Any:
    return _layer(Uniform(), op.stop_gradient(x) if isinstance(x, Value) else x)


def mse_loss(x: Any, target: Any, reduction: str = "mean") -> Any:
    """The mean of (x - target)^2; see nn.MSELoss."""
    return _loss(MSELoss(reduction), x, target)


def l1_loss(x: Any, target: Any, reduction: str = "mean") -> Any:
    """The mean of |x - target|; see nn.L1Loss."""
    return _loss(L1Loss(reduction), x, target)


def huber_loss(x: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Any:
    """The mean of Huber's loss; see nn.HuberLoss."""
    return _loss(HuberLoss(reduction, delta), x, target)


def binary_cross_entropy(x: Any, target: Any, reduction: str = "mean") -> Any:
    """The cross entropy of probabilities x; see nn.BCELoss."""
    return _loss(BCELoss(reduction=reduction), x, target)


def binary_cross_entropy_with_logits(x: Any, target: Any, reduction: str = "mean") -> Any:
    """The cross entropy of scores x; see nn.BCEWithLogitsLoss."""
    return _loss(BCEWithLogitsLoss(reduction=reduction), x, target)


def nll_loss(x: Any, target: Any, reduction: str = "mean", ignore_index: int = -100) -> Any:
    """The negative log likelihood of classes; see nn.NLLLoss."""
    return _loss(NLLLoss(reduction=reduction, ignore_index=ignore_index), x, target)


def cross_entropy(
    x: Any, target: Any, reduction: str = "mean", ignore_index: int = -100, label_smoothing: float = 0.0
) -> Any:
    """The cross entropy of scores x and classes; see nn.CrossEntropyLoss."""
    options: dict[str, Any] = {"reduction": reduction, "ignore_index": ignore_index}
    return _loss(CrossEntropyLoss(label_smoothing=label_smoothing, **options), x, target)


def _is_for_layer(x: Value, dim: int) -> bool:
    return x.ndim > 1 and dim % x.ndim != 0


def _layer(layer: Module, x: Any) -> Any:
    """A layer of an array, or of traced values of any shape."""
    if isinstance(x, Value):
        if x.ndim:
            return layer(x)
        return op.reshape(layer(op.reshape(x, (1,))), ())
    with no_grad():
        return layer(np.asarray(x))


def _loss(loss: Any, x: Any, target: Any) -> Any:
    if isinstance(x, Value):
        return loss(x, target)
    with no_grad():
        return loss(np.asarray(x), target)
