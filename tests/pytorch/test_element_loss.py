"""Losses over elements beside PyTorch's: values and gradients, with every option and reduction."""

import numpy as np
import pytest

from fastdl import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

SHAPES = [(), (1,), (17,), (5, 3), (33, 25), (2, 3, 4, 5)]
REDUCTIONS = ["mean", "sum", "none"]
CASES = [
    ("MSELoss", {}),
    ("L1Loss", {}),
    ("HuberLoss", {}),
    ("HuberLoss", {"delta": 0.3}),
    ("HuberLoss", {"delta": 4.0}),
]

reductions = pytest.mark.parametrize("reduction", REDUCTIONS)


def draw(shape, dtype, seed=0):
    return np.asarray(np.random.default_rng(seed).normal(size=shape), dtype=dtype)


def probabilities(shape, dtype, seed=0):
    return np.asarray(np.random.default_rng(seed).uniform(0.01, 0.99, size=shape), dtype=dtype)


def hold_together(name, options, reduction, x, t, agree):
    """Value and gradient; for reduction none, also the gradient of a weighted sum."""
    ours = getattr(nn, name)(reduction=reduction, **options)
    tensors = {
        key: torch.tensor(value, dtype=torch.tensor(x).dtype)
        for key, value in options.items()
        if isinstance(value, (list, np.ndarray))
    }
    theirs = getattr(torch.nn, name)(reduction=reduction, **{**options, **tensors})
    x_torch = torch.tensor(x, requires_grad=True)
    loss, loss_torch = ours(x, t), theirs(x_torch, torch.tensor(t))
    agree(loss, loss_torch)
    loss_torch.sum().backward()
    agree(ours.backward(), x_torch.grad)
    if reduction != "none":
        assert type(loss) is float
        return
    gy = draw(x.shape, x.dtype, seed=9)
    x_torch.grad = None
    theirs(x_torch, torch.tensor(t)).backward(torch.tensor(gy))
    ours(x, t)
    agree(ours.backward(gy), x_torch.grad)


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_regression_loss(each, name, options, dtype, agree):
    for reduction, shape in each(reduction=REDUCTIONS, shape=SHAPES):
        hold_together(name, options, reduction, draw(shape, dtype), draw(shape, dtype, seed=1), agree)


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_at_the_kinks(each, name, options, dtype, agree):
    for reduction in each(reduction=REDUCTIONS):
        delta = options.get("delta", 1.0)
        x = np.array([0.0, -0.0, 1.0, delta, -delta, np.nextafter(dtype(delta), dtype(9)), 1e4, -1e4], dtype=dtype)
        hold_together(name, options, reduction, x, np.zeros_like(x), agree)


@pytest.mark.parametrize("weight_shape", [None, (1,), (3,), (4, 1), (4, 3)], ids=str)
def test_binary_cross_entropy(each, weight_shape, dtype, agree):
    for reduction in each(reduction=REDUCTIONS):
        x, t = probabilities((4, 3), dtype), probabilities((4, 3), dtype, seed=1)
        options = {} if weight_shape is None else {"weight": probabilities(weight_shape, dtype, seed=2)}
        hold_together("BCELoss", options, reduction, x, t, agree)


def test_binary_cross_entropy_of_any_shape(each, dtype, agree):
    for reduction, shape in each(reduction=REDUCTIONS, shape=SHAPES):
        hold_together("BCELoss", {}, reduction, probabilities(shape, dtype), probabilities(shape, dtype, seed=1), agree)


@reductions
def test_binary_cross_entropy_at_0_and_1(reduction, dtype, agree):
    tiny = np.finfo(dtype).tiny
    x, t = (
        array.ravel().astype(dtype) for array in np.meshgrid([0, tiny, 1e-30, 1e-6, 0.5, 1 - 1e-7, 1], [0, 0.25, 1])
    )
    ours, x_torch = nn.BCELoss(reduction=reduction), torch.tensor(x, requires_grad=True)
    loss = torch.nn.BCELoss(reduction=reduction)(x_torch, torch.tensor(t))
    agree(ours(x, t), loss)
    loss.sum().backward()
    # The smallest denominator is 1e-12; PyTorch's is the float32 next to it, 4e-9 off.
    np.testing.assert_allclose(ours.backward(), x_torch.grad, rtol=1e-6 if dtype is np.float32 else 1e-8)


@pytest.mark.parametrize("weight_shape", [None, (1,), (3,), (4, 1), (4, 3)], ids=str)
@pytest.mark.parametrize("pos_weight_shape", [None, (1,), (3,), (4, 3)], ids=str)
def test_binary_cross_entropy_of_scores(each, weight_shape, pos_weight_shape, dtype, agree):
    for reduction in each(reduction=REDUCTIONS):
        x, t = draw((4, 3), dtype), probabilities((4, 3), dtype, seed=1)
        options = {} if weight_shape is None else {"weight": probabilities(weight_shape, dtype, seed=2)}
        if pos_weight_shape is not None:
            options["pos_weight"] = 3 * probabilities(pos_weight_shape, dtype, seed=3)
        hold_together("BCEWithLogitsLoss", options, reduction, x, t, agree)


def test_binary_cross_entropy_of_scores_of_any_shape(each, dtype, agree):
    for reduction, shape in each(reduction=REDUCTIONS, shape=SHAPES):
        hold_together(
            "BCEWithLogitsLoss", {}, reduction, draw(shape, dtype), probabilities(shape, dtype, seed=1), agree
        )


@pytest.mark.parametrize("pos_weight", [None, 2.5])
@reductions
def test_binary_cross_entropy_of_extreme_scores(pos_weight, reduction, dtype, agree):
    scores = [-1e4, -200, -90, -20, -1e-3, -0.0, 0.0, 1e-3, 20, 90, 200, 1e4]
    x, t = (array.ravel().astype(dtype) for array in np.meshgrid(scores, [0, 0.25, 1]))
    options = {} if pos_weight is None else {"pos_weight": np.array([pos_weight], dtype=dtype)}
    hold_together("BCEWithLogitsLoss", options, reduction, x, t, agree)


@pytest.mark.parametrize("name", ["MSELoss", "L1Loss", "HuberLoss", "BCELoss", "BCEWithLogitsLoss"])
@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_empty_batch(name, reduction, dtype, agree):
    hold_together(name, {}, reduction, np.empty((0, 3), dtype), np.empty((0, 3), dtype), agree)


@pytest.mark.parametrize("name", ["MSELoss", "HuberLoss", "BCEWithLogitsLoss"])
@reductions
def test_nan_is_passed_on(name, reduction, dtype, agree):
    hold_together(name, {}, reduction, np.array([[np.nan, 0.5]], dtype), np.array([[0.5, 0.0]], dtype), agree)


def test_the_slope_of_mae_at_nan_is_nan_unlike_torchs():
    ours, x_torch = nn.L1Loss(), torch.tensor([float("nan")], requires_grad=True)
    loss = torch.nn.L1Loss()(x_torch, torch.zeros(1))
    loss.backward()
    assert np.isnan([ours(np.array([np.nan]), np.zeros(1)), loss.item(), ours.backward().item()]).all()
    assert x_torch.grad.item() == 0


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_regression_loss_of_numbers(each, name, options, dtype, agree):
    for reduction in each(reduction=REDUCTIONS):
        hold_together(name, options, reduction, dtype(0.3), dtype(-1.2), agree)


def test_weights_of_any_sign(each, dtype, agree):
    for reduction, shape in each(reduction=REDUCTIONS, shape=SHAPES):
        weight = {"weight": draw(shape[-1:], dtype, seed=4)}
        x, t = probabilities(shape, dtype), probabilities(shape, dtype, seed=1)
        hold_together("BCELoss", weight, reduction, x, t, agree)
        hold_together("BCEWithLogitsLoss", weight, reduction, draw(shape, dtype), t, agree)
        positive = {"pos_weight": draw(shape[-1:], dtype, seed=5)}
        hold_together("BCEWithLogitsLoss", {**weight, **positive}, reduction, draw(shape, dtype), t, agree)
