"""The naive counterpart of every layer, loss and optimizer: fastdl's models, run on the reference's for-loops.

`naive(module, x)` works for any model of fastdl's own layers. Most of them are written out here once more; any other runs its own
`_forward` and `_backward` with the reference's functions in the place of its kernels.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import singledispatch
from importlib import import_module
from importlib.util import find_spec
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl import nn, optim
from fastdl.casting import cast
from fastdl.errors import InvalidTypeError
from fastdl.nn.activation import _Elementwise as KernelActivation
from fastdl.nn.batch_norm import _BatchNorm
from fastdl.nn.conv import _Convolution
from fastdl.nn.loss import _Elementwise as KernelLoss
from fastdl.nn.pool import _AvgPool, _MaxPool
from fastdl.nn.softmax import _OverAxis
from fastdl.random import stream
from fastdl.reference import (
    activation,
    batch_norm,
    conv,
    cross_entropy,
    dropout,
    layer_norm,
    linear,
    loss,
    pool,
    softmax,
)
from fastdl.reference import optim as reference_optim

Array = NDArray[Any]
Backward = Callable[[Array], Array]


@singledispatch
def naive(module: Any, x: Array, gradients: dict[int, Array]) -> tuple[Array, Backward]:
    """Run a module on the reference's loops.

    Returns the output and a function from the output's gradient to the input's, which adds the parameters' gradients to
    `gradients`, by the Parameter's id.
    """
    kernels = list(_kernels_of(type(module)))
    if not kernels:
        raise InvalidTypeError("naive", "one of fastdl's own layers", type(module).__name__)
    with _on_the_reference(kernels):
        y, saved = module._forward(x)

    def backward(gy: Array) -> Array:
        before = [(parameter, parameter.grad.copy()) for parameter in module.parameters()]
        module.zero_grad()
        with _on_the_reference(kernels):
            gx = module._backward(saved, gy, True, True)
        for parameter, grad in before:
            gradients.setdefault(id(parameter), np.zeros_like(grad))
            gradients[id(parameter)] += parameter.grad
            parameter.grad = grad
        return gx

    return y, backward


def _kernels_of(kind: type[Any]) -> Iterator[tuple[Any, str, Any]]:
    """The kernels that a layer's modules and classes name, as owner, name and the reference's function."""
    for base in kind.__mro__:
        if not base.__module__.startswith("fastdl.nn."):
            continue
        for owner in (base, sys.modules[base.__module__]):
            for name, value in list(vars(owner).items()):
                kernel = getattr(value, "__func__", value)
                package, _, subject = getattr(kernel, "__module__", "").rpartition(".")
                if package == "fastdl._kernels" and find_spec(f"fastdl.reference.{subject}"):
                    twin = getattr(import_module(f"fastdl.reference.{subject}"), kernel.__name__, None)
                    if twin is not None:
                        yield owner, name, staticmethod(twin) if isinstance(owner, type) else twin


@contextmanager
def _on_the_reference(kernels: list[tuple[Any, str, Any]]) -> Iterator[None]:
    """Let these names stand for the reference's functions inside the block."""
    before = [(owner, name, vars(owner)[name]) for owner, name, _ in kernels]
    try:
        for owner, name, twin in kernels:
            setattr(owner, name, twin)
        yield
    finally:
        for owner, name, kernel in before:
            setattr(owner, name, kernel)


@naive.register
def _(module: nn.Linear, x: Array, gradients: dict[int, Array]) -> tuple[Array, Backward]:
    W, b = module.weight.data, None if module.bias is None else module.bias.data
    y = np.zeros((*x.shape[:-1], len(W)), x.dtype)
    linear.linear_forward(x, W, b, y)

    def backward(gy: Array) -> Array:
        gW = gradients.setdefault(id(module.weight), np.zeros_like(W))
        gb = None if b is None else gradients.setdefault(id(module.bias), np.zeros_like(b))
        gx = np.zeros_like(x)
        linear.linear_backward(gy, x, W, True, gx, gW, gb)
        return gx

    return y, backward


@naive.register
def _(module: _Convolution, x: Array, gradients: dict[int, Array]) -> tuple[Array, Backward]:

    def image(array: Array) -> Array:
        return array[:, :, None] if x.ndim == 3 else array

    def pair(lengths: tuple[int, ...], of_one_row: int) -> tuple[int, int]:
        return (of_one_row, lengths[0]) if x.ndim == 3 else (lengths[0], lengths[1])

    W, b = module.weight.data, None if module.bias is None else module.bias.data
    kernel, stride, dilation = (pair(lengths, 1) for lengths in (module.kernel_size, module.stride, module.dilation))
    reach = tuple(d * (k - 1) for k, d in zip(kernel, dilation, strict=True))
    if module.padding == "same":
        padding, sizes = (reach[0] // 2, reach[1] // 2), x.shape[2:]
    else:
        padding = (0, 0) if isinstance(module.padding, str) else pair(module.padding, 0)
        spare = (n + 2 * p - r - 1 for n, p, r in zip(image(x).shape[2:], padding, reach, strict=True))
        sizes = [n // s + 1 for n, s in zip(spare, stride, strict=True)][-(x.ndim - 2) :]
    geometry = stride, padding, dilation, module.groups
    y = np.zeros((len(x), len(W), *sizes), x.dtype)
    conv.conv_forward(image(x), image(W), b, *geometry, image(y))

    def backward(gy: Array) -> Array:
        gW = gradients.setdefault(id(module.weight), np.zeros_like(W))
        gb = None if b is None else gradients.setdefault(id(module.bias), np.zeros_like(b))
        gx = np.zeros_like(x)
        conv.conv_backward(image(gy), image(x), image(W), *geometry, True, image(gx), image(gW), gb)
        return gx

    return y, backward


@naive.register
def _(module: KernelActivation, x: Array, gradients: dict[int, Array]) -> tuple[Array, Backward]:
    options = module.kind, module._alpha, module._beta
    y = np.zeros_like(x)
    activation.activation_forward(x, *options, y)

    def backward(gy: Array) -> Array:
        gx = np.zeros_like(x)
        activation.activation_backward(gy, x, y, *options, gx)
        return gx

    return y, backward


@naive.register
def _(module: nn.Identity, x: Array, gradients: dict[int, Array]) -> tuple[Array, Backward]:
    return x, lambda gy: gy


@naive.register
def _(module: _OverAxis, x: Array, gradients: dict[int, Array]) -> tuple[Array, Backward]:
    name = "softmax" if isinstance(module, nn.Softmax) else "log_softmax"
    axis = module.dim % x.ndim
    shape = prod(x.shape[:axis]), x.shape[axis], prod(x.shape[axis + 1 :])
    y = np.zeros_like(x)
    if x.size:
        getattr(softmax, f"{name}_forward")(x.reshape(shape), y.reshape(shape))

    def backward(gy: Array) -> Array:
        gx = np.zeros_like(x)
        if x.size:
            getattr(softmax, f"{name}_backward")(gy.reshape(shape), y.reshape(shape), gx.reshape(shape))
        return gx

    return y, backward


@naive.register
def _(module: nn.Flatten, x: Array, gradients: dict[int, Array]) -> tuple[Array, Backward]:
    first, last = module.start_dim % x.ndim, module.end_dim % x.ndim
    y = x.reshape(*x.shape[:first], prod(x.shape[first : last + 1]), *x.shape[last + 1 :])
    return y, lambda gy: gy.reshape(x.shape)


def _images(array: Array) -> Array:
    """Signals (N, C, L) as images of one row."""
    return array if array.ndim == 4 else array[:, :, None]


@naive.register
def _(module: _MaxPool, x: Array, gradients: dict[int, Array]) -> tuple[Array, Backward]:
    y = np.zeros((*x.shape[:2], *module._outputs(x.shape[2:])), x.dtype)
    index = np.zeros(y.shape, np.int32)
    pool.max_pool_forward(_images(x), *module._pairs, _images(y), _images(index))

    def backward(gy: Array) -> Array:
        gx = np.zeros_like(x)
        pool.max_pool_backward(_images(gy), _images(index), *module._pairs, _images(gx))
        return gx

    return y, backward


@naive.register
def _(module: _AvgPool, x: Array, gradients: dict[int, Array]) -> tuple[Array, Backward]:
    y = np.zeros((*x.shape[:2], *module._outputs(x.shape[2:])), x.dtype)
    options = *module._pairs[:3], module.count_include_pad, module.divisor_override
    pool.avg_pool_forward(_images(x), *options, _images(y))

    def backward(gy: Array) -> Array:
        gx = np.zeros_like(x)
        pool.avg_pool_backward(_images(gy), *options, _images(gx))
        return gx

    return y, backward


@naive.register
def _(module: nn.AdaptiveAvgPool2d, x: Array, gradients: dict[int, Array]) -> tuple[Array, Backward]:
    y = np.zeros((*x.shape[:2], *module._outputs(x.shape[2:])), x.dtype)
    pool.adaptive_avg_pool_forward(x, y)

    def backward(gy: Array) -> Array:
        gx = np.zeros_like(x)
        pool.adaptive_avg_pool_backward(gy, gx)
        return gx

    return y, backward


@naive.register
def _(module: _BatchNorm, x: Array, gradients: dict[int, Array]) -> tuple[Array, Backward]:
    _, W, b, running_mean, running_var, batches = module._arrays()
    mean, inverse, y = np.zeros(module.num_features, x.dtype), np.zeros(module.num_features, x.dtype), np.zeros_like(x)
    by_batch = module.training or batches is None
    if by_batch:
        batch_norm.batch_norm_forward(x, W, b, module.eps, 0.0, None, None, None, mean, inverse, y)
    else:
        batch_norm.batch_norm_evaluate(x, W, b, running_mean, running_var, module.eps, mean, inverse, y)

    def backward(gy: Array) -> Array:
        gW = None if W is None else gradients.setdefault(id(module.weight), np.zeros_like(W))
        gb = None if b is None else gradients.setdefault(id(module.bias), np.zeros_like(b))
        gx = np.zeros_like(x)
        batch_norm.batch_norm_backward(gy, x, W, mean, inverse, by_batch, True, gx, gW, gb)
        return gx

    return y, backward


@naive.register
def _(module: nn.LayerNorm, x: Array, gradients: dict[int, Array]) -> tuple[Array, Backward]:
    n = prod(module.normalized_shape)
    shape = x.size // n, n
    W, b = (None if a is None else a.reshape(n) for a in module._arrays()[1:])
    mean, inverse, y = np.zeros(shape[0], x.dtype), np.zeros(shape[0], x.dtype), np.zeros_like(x)
    layer_norm.layer_norm_forward(x.reshape(shape), W, b, module.eps, mean, inverse, y.reshape(shape))

    def backward(gy: Array) -> Array:
        gW, gb = (
            None if p is None else gradients.setdefault(id(p), np.zeros_like(p.data)).reshape(n)
            for p in (module.weight, module.bias)
        )
        gx = np.zeros_like(x)
        layer_norm.layer_norm_backward(
            gy.reshape(shape), x.reshape(shape), W, mean, inverse, True, gx.reshape(shape), gW, gb
        )
        return gx

    return y, backward


@naive.register
def _(module: nn.Dropout, x: Array, gradients: dict[int, Array]) -> tuple[Array, Backward]:
    if not module.training or module.p == 0:
        return x, lambda gy: gy
    run = prod(x.shape[2:]) if isinstance(module, nn.Dropout2d) else 1
    options = module.p, *stream().next(), run
    y = np.zeros_like(x)
    dropout.dropout_forward(x, *options, y)

    def backward(gy: Array) -> Array:
        gx = np.zeros_like(x)
        dropout.dropout_backward(gy, *options, gx)
        return gx

    return y, backward


@naive.register
def _(module: nn.Sequential, x: Array, gradients: dict[int, Array]) -> tuple[Array, Backward]:
    back: list[Backward] = []
    for layer in module:
        x, backward_layer = naive(layer, x, gradients)
        back.append(backward_layer)

    def backward(gy: Array) -> Array:
        for backward_layer in reversed(back):
            gy = backward_layer(gy)
        return gy

    return x, backward


@naive.register
def _(module: nn.Residual, x: Array, gradients: dict[int, Array]) -> tuple[Array, Backward]:
    y, through = naive(module.body, x, gradients)
    around_y, around = naive(module.shortcut or nn.Identity(), x, gradients)
    return y + around_y, lambda gy: through(gy) + around(gy)


@naive.register
def _(module: nn.Parallel, x: Array, gradients: dict[int, Array]) -> tuple[Array, Backward]:
    outputs, back = zip(*(naive(branch, x, gradients) for branch in module.branches), strict=True)
    cuts = np.cumsum([y.shape[1] for y in outputs])[:-1]

    def backward(gy: Array) -> Array:
        return sum(b(g) for b, g in zip(back, np.split(gy, cuts, axis=1), strict=True))  # pyright: ignore[reportReturnType]

    return np.concatenate(outputs, axis=1), backward


@naive.register
def _(module: nn.Siamese, x: Array, gradients: dict[int, Array]) -> tuple[Array, Backward]:
    outputs, back = zip(*(naive(module.body, x[:, i], gradients) for i in range(x.shape[1])), strict=True)
    cuts = np.cumsum([y.shape[1] for y in outputs])[:-1]

    def backward(gy: Array) -> Array:
        return np.stack([b(g) for b, g in zip(back, np.split(gy, cuts, axis=1), strict=True)], axis=1)

    return np.concatenate(outputs, axis=1), backward


@singledispatch
def naive_loss(criterion: Any, output: Array, target: Array) -> tuple[Any, Array]:
    """Run a loss on the reference's loops: its value, and the gradient with respect to output."""
    raise InvalidTypeError("naive_loss", "one of fastdl's own losses", type(criterion).__name__)


@naive_loss.register
def _(criterion: KernelLoss, output: Array, target: Array) -> tuple[Any, Array]:

    def like_output(factor: Array | None) -> Array | None:
        return None if factor is None else cast(np.broadcast_to(factor, output.shape), output.dtype)

    weight, pos_weight = like_output(criterion.weight), like_output(criterion.pos_weight)
    kind, delta = criterion.kind, criterion._delta
    losses, gradient = np.zeros_like(output), np.zeros_like(output)
    loss.loss_forward(output, target, weight, pos_weight, kind, delta, losses)
    divisor = {"mean": output.size, "batchmean": len(output)}.get(criterion.reduction, 1)
    scale = 1 / divisor if divisor else 0.0
    loss.loss_backward(output, target, weight, pos_weight, kind, delta, scale, gradient)
    return losses if criterion.reduction == "none" else losses.sum(dtype=np.float64) * scale, gradient


@naive_loss.register(nn.NLLLoss)
@naive_loss.register(nn.CrossEntropyLoss)
def _(criterion: Any, output: Array, target: Array) -> tuple[Any, Array]:
    N, _, D = shape = output.shape[0], output.shape[1], prod(output.shape[2:])
    x = output.reshape(shape)
    weight = None if criterion.weight is None else cast(criterion.weight, output.dtype)
    losses, gradient, p = np.zeros((N, D), x.dtype), np.zeros_like(x), np.zeros_like(x)
    divisor = float(N * D)
    smoothing = getattr(criterion, "label_smoothing", 0.0)
    probabilities = target.dtype.kind == "f"
    t = target.reshape(shape if probabilities else (N, D))
    if not probabilities:
        counted = t[t != criterion.ignore_index]
        divisor = float(len(counted) if weight is None else weight[counted].sum())
    divisor = {"mean": divisor, "batchmean": N}.get(criterion.reduction, 1)
    scale = 1 / divisor if divisor else 0.0
    gy = np.full((N, D), scale, x.dtype)
    if isinstance(criterion, nn.NLLLoss):
        cross_entropy.nll_forward(x, t, weight, criterion.ignore_index, losses)
        cross_entropy.nll_backward(t, weight, criterion.ignore_index, gy, gradient)
    elif probabilities:
        cross_entropy.cross_entropy_probabilities_forward(x, t, weight, smoothing, p, losses)
        cross_entropy.cross_entropy_probabilities_backward(p, t, weight, smoothing, gy, gradient)
    else:
        cross_entropy.cross_entropy_forward(x, t, weight, criterion.ignore_index, smoothing, p, losses)
        cross_entropy.cross_entropy_backward(p, t, weight, criterion.ignore_index, smoothing, gy, gradient)
    value = losses.reshape((N, *output.shape[2:])) if criterion.reduction == "none" else losses.sum() * scale
    return value, gradient.reshape(output.shape)


def naive_step(optimizer: optim.Optimizer, data: Array, grad: Array, state: dict[str, Array], step: int) -> None:
    """Take one step of an optimizer of fastdl's own on the reference's loops; state starts as zeros by name."""
    group = optimizer.param_groups[0]
    if not optimizer.native:
        raise InvalidTypeError("naive_step", "one of fastdl's own optimizers", type(optimizer).__name__)
    arrays = {name: state.setdefault(name, np.zeros_like(data)) for name in optimizer.state_names}
    take = getattr(reference_optim, f"{optimizer.native}_step")
    take(grad, group, step, data, *optimizer._states(arrays, group))
