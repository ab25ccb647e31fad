"""Losses whose targets are computed, and layers, losses and functions of parameters: nothing loses its gradient."""

from contextlib import nullcontext

import numpy as np
import pytest

import fastdl
from fastdl import nn
from fastdl.nn import functional

RNG = np.random.default_rng(0)
X, T = RNG.uniform(0.1, 0.9, (4, 3)), RNG.uniform(0.1, 0.9, (4, 3))
FACTORS = RNG.uniform(0.5, 2, 3)


class Own(nn.Loss):
    """A loss with a derivative, whose derivative with respect to the target is traced."""

    def function(self, output, target):
        return np.sin(output) * np.square(target)

    def derivative(self, output, target):
        return np.cos(output) * np.square(target)


class OfSamples(nn.Loss):
    """One loss for each sample."""

    def function(self, output, target):
        return np.sum(output**2 * target, axis=1)

    def derivative(self, output, target):
        return 2 * output * target


LOSSES = {
    "mse": nn.MSELoss,
    "mae": nn.MAELoss,
    "huber": lambda reduction: nn.HuberLoss(reduction, 0.2),
    "bce": lambda reduction: nn.BCELoss(FACTORS, reduction),
    "logits": lambda reduction: nn.BCEWithLogitsLoss(FACTORS, reduction, FACTORS[::-1]),
    "cross entropy": lambda reduction: nn.CrossEntropyLoss(FACTORS, reduction=reduction, label_smoothing=0.1),
    "own": Own,
    "of samples": OfSamples,
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "batchmean", "none"])
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_with_respect_to_output_and_target(name, reduction):
    if name == "cross entropy" and reduction == "batchmean":
        reduction = "mean"
    criterion = LOSSES[name](reduction=reduction)

    def loss(x, t):
        return np.sum(criterion(x, t)) if reduction == "none" else criterion(x, t)

    def through(x, t):
        return loss(np.tanh(x), np.sqrt(t))

    for function in (loss, through):
        found = fastdl.grad(function, argnums=(0, 1))(X, T)
        with fastdl.eager():
            by_nodes = fastdl.grad(function, argnums=(0, 1))(X, T)
        for which in (0, 1):
            np.testing.assert_allclose(found[which], by_nodes[which], rtol=1e-9, atol=1e-12)
            for place in ((0, 0), (3, 1), (2, 2)):
                step = np.zeros_like(X)
                step[place] = 1e-6
                ends = [[X, T], [X, T]]
                ends[0][which], ends[1][which] = ends[0][which] + step, ends[1][which] - step
                values = [fastdl.value_and_grad(function)(*end)[0] for end in ends]
                slope = (values[0] - values[1]) / 2e-6
                assert found[which][place] == pytest.approx(slope, rel=1e-5, abs=1e-8), which


def test_an_output_that_is_its_own_target():
    """x stands on both sides: as output, and in the target."""
    found = fastdl.grad(lambda x: functional.mse_loss(3 * x, x, reduction="sum"))(X)
    np.testing.assert_allclose(found, 8 * X, rtol=1e-12)


def test_both_sides_of_a_distillation_learn():
    class Both(nn.Module):
        def __init__(self):
            self.a, self.b = nn.Linear(3, 2, rng=0, dtype=np.float64), nn.Linear(3, 2, rng=1, dtype=np.float64)

        def forward(self, x):
            return functional.mse_loss(self.a(x), self.b(x))

    model = Both()
    model.backward(np.ones_like(model(X)))
    difference = model.a(X) - model.b(X)
    wanted = 2 / difference.size * difference.T @ X
    np.testing.assert_allclose(model.a.weight.grad, wanted, rtol=1e-9)
    np.testing.assert_allclose(model.b.weight.grad, -wanted, rtol=1e-9)


class Twice(nn.Module):
    def forward(self, x):
        return np.tanh(x) * 2


class TwiceInPython(nn.Module):
    def forward(self, x):
        return 2 * x

    def backward(self, grad_output):
        return 2 * grad_output


# What is applied to a parameter p, and the same of its array.
APPLIED = {
    "an activation": (nn.Softplus(), lambda p: np.log1p(np.exp(p))),
    "a linear layer": (nn.Linear(3, 3, rng=0, dtype=np.float64), None),
    "a container": (nn.Sequential(nn.Linear(3, 3, rng=0, dtype=np.float64), nn.Tanh()), None),
    "a residual block": (nn.Residual(nn.Linear(3, 3, rng=0, dtype=np.float64)), None),
    "a module": (Twice(), lambda p: 2 * np.tanh(p)),
    "a module in Python": (TwiceInPython(), lambda p: 2 * p),
    "a function": (functional.softplus, lambda p: np.log1p(np.exp(p))),
    "softmax": (functional.softmax, lambda p: np.exp(p) / np.exp(p).sum(1, keepdims=True)),
    "logsumexp": (lambda p: functional.logsumexp(p, keepdim=True), lambda p: np.log(np.exp(p).sum(1, keepdims=True))),
    "a loss": (lambda p: nn.MSELoss()(p, np.ones((4, 3))), lambda p: np.mean((p - 1) ** 2)),
    "a target": (lambda p: nn.MSELoss()(np.ones((4, 3)), p), lambda p: np.mean((p - 1) ** 2)),
    "a loss function": (lambda p: functional.l1_loss(p, np.ones((4, 3))), lambda p: np.mean(np.abs(p - 1))),
    "one_hot": (lambda p: p * functional.one_hot(np.array([0, 1, 2, 0]), 3), lambda p: p * np.eye(3)[[0, 1, 2, 0]]),
}


class OfParameter(nn.Module):
    def __init__(self, applied):
        self.applied, self.p = applied, nn.Parameter(T)

    def forward(self, x):
        return self.applied(self.p) * np.mean(x)


@pytest.mark.parametrize("name", APPLIED)
@pytest.mark.parametrize("eager", [False, True])
def test_what_is_applied_to_a_parameter(name, eager):
    applied, wanted = APPLIED[name]
    model, x = OfParameter(applied), np.ones((2, 3))
    with fastdl.eager() if eager else nullcontext():
        y = model(x)
        model.backward(np.ones(np.shape(y)))
    np.testing.assert_allclose(y, applied(T) if wanted is None else wanted(T), rtol=1e-9)
    for place in ((0, 0), (2, 1)):
        ends = []
        for side in (1e-6, -1e-6):
            changed = T.copy()
            changed[place] += side
            model.p.data = changed
            ends.append(np.sum(model(x)))
        assert model.p.grad[place] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-8)
        model.p.data = T
