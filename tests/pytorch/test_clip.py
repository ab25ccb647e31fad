"""Gradient clipping beside PyTorch's."""

import numpy as np
import pytest

from fastdl import nn, optim

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

SHAPES = [(25, 2), (25,), (1,), (33, 7), (3, 1, 2)]


def twins(dtype, scale=1.0, special=()):
    rng = np.random.default_rng(0)
    gradients = [(scale * rng.normal(size=shape)).astype(dtype) for shape in SHAPES]
    gradients[0].flat[: len(special)] = special
    ours = [nn.Parameter(np.zeros(shape, dtype)) for shape in SHAPES]
    theirs = [torch.zeros(shape, dtype=torch.tensor(gradients[0]).dtype, requires_grad=True) for shape in SHAPES]
    for parameter, parameter_torch, gradient in zip(ours, theirs, gradients, strict=True):
        parameter.grad, parameter_torch.grad = gradient, torch.tensor(gradient)
    return ours, theirs


def grads_agree(ours, theirs, agree):
    for parameter, parameter_torch in zip(ours, theirs, strict=True):
        agree(parameter.grad, parameter_torch.grad)


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0, np.inf])
def test_by_norm(each, norm_type, dtype, agree):
    for max_norm, scale in each(max_norm=[0.0, 1e-3, 1.0, 1e3, np.inf], scale=[0.0, 1e-8, 1.0, 1e4]):
        ours, theirs = twins(dtype, scale)
        norm = optim.clip_grad_norm(ours, max_norm, norm_type)
        agree(norm, torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type))
        assert type(norm) is float
        grads_agree(ours, theirs, agree)


@pytest.mark.parametrize("special", [[np.nan], [np.inf], [-np.inf, np.inf]], ids=str)
@pytest.mark.parametrize("norm_type", [2.0, 1.0, np.inf])
def test_by_norm_where_it_has_no_finite_one(special, norm_type, dtype, agree):
    ours, theirs = twins(dtype, special=special)
    agree(optim.clip_grad_norm(ours, 1.0, norm_type), torch.nn.utils.clip_grad_norm_(theirs, 1.0, norm_type))
    grads_agree(ours, theirs, agree)


@pytest.mark.parametrize("clip_value", [0.0, 0.1, 1.0, 1e4])
@pytest.mark.parametrize("special", [[], [np.nan, np.inf, -np.inf]], ids=str)
def test_by_value(clip_value, special, dtype, agree):
    ours, theirs = twins(dtype, special=special)
    optim.clip_grad_value(ours, clip_value)
    torch.nn.utils.clip_grad_value_(theirs, clip_value)
    grads_agree(ours, theirs, agree)


def test_one_parameter_alone(dtype, agree):
    (ours, *_), (theirs, *_) = twins(dtype)
    agree(optim.clip_grad_norm(ours, 0.5), torch.nn.utils.clip_grad_norm_(theirs, 0.5))
    agree(ours.grad, theirs.grad)
    optim.clip_grad_value(ours, 0.01)
    torch.nn.utils.clip_grad_value_(theirs, 0.01)
    agree(ours.grad, theirs.grad)
