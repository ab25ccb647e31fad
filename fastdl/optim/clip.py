"""Gradient clipping, by norm and by value."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from fastdl._kernels.optim import clamp, norm, shrink
from fastdl.errors import InvalidTypeError
from fastdl.nn.parameter import Parameter
from fastdl.validation import real_number

# A factor for gradients of float64 whose norm float64 cannot hold.
FAR_BELOW = 2.0**-512


def clip_grad_norm(parameters: Iterable[Parameter] | Parameter, max_norm: float, norm_type: float = 2.0) -> float:
    """Scale all gradients together so that their norm is at most max_norm; returns the norm before.

    g = g max_norm / (norm + 1e-6) where that factor is below 1; the norm is taken over all gradients as one vector.

    Args:
        parameters: parameters; frozen ones do not count.
        max_norm: the largest norm allowed, >= 0; infinity only measures.
        norm_type: 2, another number >= 1, or infinity (the largest magnitude).

    Example:
        >>> p = Parameter(np.zeros(2))
        >>> p.grad = [3.0, 4.0]
        >>> clip_grad_norm([p], 1.0), p.grad.round(3)
        (5.0, array([0.6, 0.8]))

    Source: torch.nn.utils.clip_grad_norm_.
    """
    if not _is_infinity(max_norm):
        max_norm = real_number(max_norm, "max_norm", "clip_grad_norm", low=0.0)
    if not _is_infinity(norm_type):
        norm_type = real_number(norm_type, "norm_type", "clip_grad_norm", low=1.0)
    gradients = _gradients(parameters, "clip_grad_norm")
    found = total = _norm(gradients, norm_type)
    if np.isinf(total) and all(np.isfinite(grad).all() for grad in gradients):
        for grad in gradients:
            grad *= FAR_BELOW
        total = _norm(gradients, norm_type)
    if not max_norm / (total + 1e-6) >= 1:
        for grad in gradients:
            shrink(max_norm, total, grad)
    return found


def _norm(gradients: list[np.ndarray], norm_type: float) -> float:
    """The norm of all gradients as one vector; NaN where one is."""
    if norm_type == 2:
        norms = [norm(grad) for grad in gradients]
        return math.nan if any(map(math.isnan, norms)) else math.hypot(*norms)
    norms = [_scaled_norm(grad.reshape(-1).astype(np.float64), norm_type) for grad in gradients]
    return _scaled_norm(np.array(norms), norm_type)


def _scaled_norm(values: np.ndarray, norm_type: float) -> float:
    """The largest magnitude times the norm of what is divided by it, whose powers do not overflow."""
    largest = float(np.abs(values).max(initial=0.0))
    if largest in (0.0, math.inf) or math.isnan(largest):
        return largest
    return largest * float(np.linalg.norm(values / largest, norm_type))


def clip_grad_value(parameters: Iterable[Parameter] | Parameter, clip_value: float) -> None:
    """Hold each element of each gradient within [-clip_value, clip_value]; a NaN stays.

    Example:
        >>> p = Parameter(np.zeros(2))
        >>> p.grad = [3.0, -0.5]
        >>> clip_grad_value([p], 1.0)
        >>> p.grad
        array([ 1. , -0.5])

    Source: torch.nn.utils.clip_grad_value_.
    """
    clip_value = real_number(clip_value, "clip_value", "clip_grad_value", low=0.0)
    for grad in _gradients(parameters, "clip_grad_value"):
        clamp(-clip_value, clip_value, grad)


def _is_infinity(value: object) -> bool:
    return isinstance(value, (float, np.floating)) and value == np.inf


def _gradients(parameters: Iterable[Parameter] | Parameter, name: str) -> list[np.ndarray]:
    if not isinstance(parameters, (Parameter, Iterable)):
        raise InvalidTypeError(name, "Parameters such as model.parameters() gives", type(parameters).__name__)
    each = [parameters] if isinstance(parameters, Parameter) else list(parameters)
    for parameter in each:
        if not isinstance(parameter, Parameter):
            raise InvalidTypeError(name, "Parameters such as model.parameters() gives", type(parameter).__name__)
    return [parameter.grad for parameter in each if parameter.requires_grad]
