"""Functions of arrays and of traced values that NumPy lacks, by the names of torch.nn.functional."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdl.graph import operations as op
from fastdl.graph.value import Value
from fastdl.nn.grad_mode import no_grad
from fastdl.nn.module import Module
from fastdl.nn.softmax import LogSoftmax, Softmax


def softmax(x: Any, dim: int = -1) -> Any:
    """exp(x) / sum(exp(x)) along an axis."""
    if isinstance(x, Value) and not _is_for_layer(x, dim):
        value: Any = x
        e = np.exp(value - op.stop_gradient(np.max(value, axis=dim, keepdims=True)))
        return e / np.sum(e, axis=dim, keepdims=True)
    return _layer(Softmax(dim), x)


def log_softmax(x: Any, dim: int = -1) -> Any:
    """x - log(sum(exp(x))) along an axis, without overflow."""
    if isinstance(x, Value) and not _is_for_layer(x, dim):
        return x - logsumexp(x, dim, keepdim=True)
    return _layer(LogSoftmax(dim), x)


def logsumexp(x: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """log(sum(exp(x))) along an axis, without overflow."""
    largest: Any = np.max(x, axis=dim, keepdims=True)
    largest = op.stop_gradient(largest) if isinstance(largest, Value) else largest
    found = np.log(np.sum(np.exp(x - largest), axis=dim, keepdims=True)) + largest
    return found if keepdim else np.squeeze(found, dim)


def _is_for_layer(x: Value, dim: int) -> bool:
    return x.ndim > 1 and dim % x.ndim != 0


def _layer(layer: Module, x: Any) -> Any:
    if isinstance(x, Value):
        return layer(x)
    with no_grad():
        return layer(np.asarray(x))
