"""Activations beside PyTorch's: outputs and input gradients, with every option."""

import numpy as np
import pytest

from fastdl import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

CASES = [
    ("ReLU", {}),
    ("LeakyReLU", {}),
    ("LeakyReLU", {"negative_slope": 0.2}),
    ("LeakyReLU", {"negative_slope": 0.0}),
    ("LeakyReLU", {"negative_slope": 1.5}),
    ("ELU", {}),
    ("ELU", {"alpha": 0.4}),
    ("ELU", {"alpha": 2.0}),
    ("Tanh", {}),
    ("Sigmoid", {}),
    ("GELU", {}),
    ("GELU", {"approximate": "tanh"}),
    ("SiLU", {}),
    ("Softplus", {}),
    ("Softplus", {"beta": 0.5}),
    ("Softplus", {"beta": 3.0, "threshold": 5.0}),
    ("Softplus", {"threshold": 0.0}),
    ("Identity", {}),
]
SHAPES = [(), (1,), (16,), (100,), (0, 3), (31, 7), (2, 3, 4, 5)]
cases = pytest.mark.parametrize(("name", "options"), CASES, ids=str)


def hold_together(ours, theirs, x, gy, agree, **tolerance):
    x_torch = torch.tensor(x, requires_grad=True)
    y_torch = theirs(x_torch)
    y_torch.backward(torch.tensor(gy))
    agree(ours(x), y_torch, **tolerance)
    agree(ours.backward(gy), x_torch.grad, **tolerance)


def draw(shape, dtype, seed=0, scale=2.0):
    return np.asarray(np.random.default_rng(seed).normal(scale=scale, size=shape), dtype=dtype)


@cases
def test_activation(each, name, options, dtype, agree):
    for shape in each(shape=SHAPES):
        x, gy = draw(shape, dtype), draw(shape, dtype, seed=1)
        hold_together(getattr(nn, name)(**options), getattr(torch.nn, name)(**options), x, gy, agree)


@cases
def test_activation_from_the_middle_to_the_tails(each, name, options, dtype, agree):
    for reach in each(reach=[1e-30, 1e-3, 1.0, 6.0, 30.0, 200.0, 2000.0]):
        x = np.linspace(-reach, reach, 401, dtype=dtype)
        ours, theirs = getattr(nn, name)(**options), getattr(torch.nn, name)(**options)
        # PyTorch's 1 + tanh, and its slope, lose digits in the tails: at -7.5 it has none left, where ours has 15.
        hold_together(ours, theirs, x, np.ones_like(x), agree, cancelling=64 if "approximate" in options else 8)


@cases
def test_activation_around_0_and_at_nan(name, options, dtype, agree):
    tiny = np.finfo(dtype).tiny
    x = np.array([0.0, -0.0, tiny, -tiny, 1.0] + [np.nan] * (name != "ELU"), dtype=dtype)
    hold_together(getattr(nn, name)(**options), getattr(torch.nn, name)(**options), x, np.full_like(x, 3), agree)


def test_the_slope_of_elu_at_nan_is_nan_unlike_torchs():
    ours, x_torch = nn.ELU(), torch.tensor([float("nan")], requires_grad=True)
    torch.nn.ELU()(x_torch).backward(torch.ones(1))
    assert np.isnan(ours(np.array([np.nan])))
    assert np.isnan(ours.backward(np.ones(1)))
    assert x_torch.grad.item() == 1


@pytest.mark.parametrize(("name", "options"), [case for case in CASES if case[0] not in ("GELU", "SiLU")], ids=str)
def test_activation_at_infinities(name, options, dtype, agree):
    # GELU and SiLU have the form inf * 0 at -inf: NaN in both libraries (PyTorch's float32 GELU at +inf, too).
    x = np.array([np.inf, -np.inf], dtype=dtype)
    agree(getattr(nn, name)(**options)(x), getattr(torch.nn, name)(**options)(torch.tensor(x)))


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("shape", [(5,), (1, 1), (7, 3), (16, 65), (3, 4, 5), (2, 3, 4, 5), (2, 17, 1, 3)], ids=str)
def test_softmax_over_every_axis(each, name, shape, dtype, agree):
    x, gy = draw(shape, dtype, scale=3), draw(shape, dtype, seed=1)
    for dim in each(dim=range(-len(shape), len(shape))):
        hold_together(getattr(nn, name)(dim=dim), getattr(torch.nn, name)(dim=dim), x, gy, agree)


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("dim", [0, 1])
def test_softmax_of_extreme_scores(name, dim, dtype, agree):
    x = np.array([[1e4, -1e4, 0], [200, 0, -200], [-np.inf, 3, 2], [1e30, 1e30, 1e30]], dtype=dtype)
    hold_together(getattr(nn, name)(dim=dim), getattr(torch.nn, name)(dim=dim), x, draw(x.shape, dtype), agree)


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("row", [[np.nan, 1, 2], [np.inf, 1, 2], [-np.inf, -np.inf, -np.inf]], ids=str)
def test_softmax_where_it_has_no_value(name, row, dtype, agree):
    x = np.array([row, [0, 1, 2]], dtype=dtype)
    hold_together(getattr(nn, name)(dim=1), getattr(torch.nn, name)(dim=1), x, draw(x.shape, dtype), agree)


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize(("shape", "dim"), [((0, 3), 1), ((0, 3), 0), ((3, 0), 1), ((2, 0, 4), -1)], ids=str)
def test_softmax_of_nothing(name, shape, dim, dtype, agree):
    empty = np.empty(shape, dtype)
    hold_together(getattr(nn, name)(dim=dim), getattr(torch.nn, name)(dim=dim), empty, empty, agree)
