"""Linear beside PyTorch's: outputs and all gradients, on any leading dimensions."""

import numpy as np
import pytest

from fastdl import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

LEADING = [(), (1,), (2,), (7,), (65,), (0,), (2, 3), (2, 0, 3), (2, 1, 3), (3, 2, 1, 4)]
SIZES = [(1, 1), (2, 25), (25, 2), (25, 25), (33, 1), (1, 31), (100, 17)]

biases = pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])


def twins(in_features, out_features, dtype, bias=True):
    """A layer and torch's with the same weights."""
    ours = nn.Linear(in_features, out_features, bias, rng=0, dtype=dtype)
    theirs = torch.nn.Linear(in_features, out_features, bias, dtype=torch.tensor(ours.weight.data).dtype)
    theirs.load_state_dict({name: torch.tensor(array) for name, array in ours.state_dict().items()})
    return ours, theirs


def draw(shape, dtype, seed):
    return np.asarray(np.random.default_rng(seed).normal(size=shape), dtype=dtype)


def step_both(ours, theirs, leading, dtype, agree, seed=0):
    """Forward and backward; the outputs and input gradients agree."""
    x = draw((*leading, ours.in_features), dtype, seed)
    gy = draw((*leading, ours.out_features), dtype, seed + 1)
    x_torch = torch.tensor(x, requires_grad=True)
    y_torch = theirs(x_torch)
    y_torch.backward(torch.tensor(gy))
    agree(ours(x), y_torch)
    agree(ours.backward(gy), x_torch.grad)


@biases
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_linear(each, sizes, bias, dtype, agree):
    for leading in each(leading=LEADING):
        ours, theirs = twins(*sizes, dtype, bias)
        step_both(ours, theirs, leading, dtype, agree)
        agree(ours.weight.grad, theirs.weight.grad)
        if bias:
            agree(ours.bias.grad, theirs.bias.grad)


@pytest.mark.parametrize("rows", [1, 2, 513])
@pytest.mark.parametrize("sizes", [(300, 257), (784, 128), (1025, 10), (64, 1030)], ids=str)
def test_linear_of_many_blocks_and_threads(rows, sizes, dtype, agree):
    ours, theirs = twins(*sizes, dtype)
    step_both(ours, theirs, (rows,), dtype, agree)
    agree(ours.weight.grad, theirs.weight.grad)
    agree(ours.bias.grad, theirs.bias.grad)


@biases
def test_gradients_accumulate(bias, dtype, agree):
    ours, theirs = twins(7, 5, dtype, bias)
    for seed, leading in enumerate([(16,), (2, 3), (1,)]):
        step_both(ours, theirs, leading, dtype, agree, seed)
    agree(ours.weight.grad, theirs.weight.grad)
    if bias:
        agree(ours.bias.grad, theirs.bias.grad)


@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_a_frozen_parameter_gets_no_gradient(frozen, dtype, agree):
    ours, theirs = twins(7, 5, dtype)
    getattr(ours, frozen).requires_grad = False
    getattr(theirs, frozen).requires_grad = False
    step_both(ours, theirs, (16,), dtype, agree)
    other = "bias" if frozen == "weight" else "weight"
    agree(getattr(ours, other).grad, getattr(theirs, other).grad)
    assert getattr(theirs, frozen).grad is None
    assert not getattr(ours, frozen).grad.any()


def test_a_layer_in_two_places_adds_up_both_gradients(dtype, agree):
    layer, layer_torch = twins(6, 6, dtype)
    ours = nn.Sequential(layer, nn.Tanh(), layer)
    theirs = torch.nn.Sequential(layer_torch, torch.nn.Tanh(), layer_torch)
    x, gy = draw((9, 6), dtype, 0), draw((9, 6), dtype, 1)
    x_torch = torch.tensor(x, requires_grad=True)
    theirs(x_torch).backward(torch.tensor(gy))
    ours(x)
    agree(ours.backward(gy), x_torch.grad)
    agree(layer.weight.grad, layer_torch.weight.grad)
    agree(layer.bias.grad, layer_torch.bias.grad)
