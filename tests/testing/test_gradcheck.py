"""Gradcheck: what it passes, and what it finds."""

import numpy as np
import pytest

from fastdl import nn
from fastdl.testing import LOSS_CASES, gradcheck, make_input, make_target

RNG = np.random.default_rng(0)
A, B = RNG.standard_normal((4, 3)), RNG.standard_normal((4, 3))
IDS = np.array([0, 2, 2, 1])


class Joined(nn.Module):
    def __init__(self):
        self.w, self.table = nn.Parameter(np.ones(3)), nn.Parameter(RNG.standard_normal((3, 3)))

    def forward(self, a, b, ids=None):
        y = np.tanh(a * self.w) * b
        return {"y": y if ids is None else y + self.table[ids], "size": np.sum(a**2, axis=1)}


class Wrong(nn.Module):
    """A product with a wrong gradient of its second factor."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def forward(self, a, b):
        self.latest = a, b
        return a * b

    def backward(self, gy):
        a, b = self.latest
        return gy * b, gy * a * self.factor


class Huber(nn.Loss):
    def __init__(self, factor=1.0, reduction="mean"):
        super().__init__(reduction)
        self.factor = factor

    def function(self, output, target):
        return np.log(np.cosh(output - target))

    def derivative(self, output, target):
        return self.factor * np.tanh(output - target)


@pytest.mark.parametrize("x", [(A, B), (A, B, IDS), {"b": B, "a": A, "ids": IDS}], ids=["pair", "indices", "names"])
def test_several_inputs_and_outputs_are_checked(x):
    assert gradcheck(Joined(), x)


@pytest.mark.parametrize("case", LOSS_CASES, ids=str)
def test_losses_are_checked(case):
    shape, rng = case.shapes[0], np.random.default_rng(2)
    x, t = make_input(case, shape, rng, float), make_target(case, shape, rng, float)
    assert gradcheck(case.make(np.float64), (x, t))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_wrong_derivative_of_a_loss_is_found(reduction):
    assert gradcheck(Huber(reduction=reduction), (A, B))
    with pytest.raises(AssertionError, match=r"gradcheck: output\[\d, \d\]: backward gives"):
        gradcheck(Huber(1.1, reduction), (A, B))


def test_functions_of_outputs_and_targets_are_checked():
    assert gradcheck(lambda o, t: np.mean((o - t) ** 2, axis=1), (A, B))
    assert gradcheck(lambda o, t: np.mean(o["a"] * t) + np.sum(o["b"] ** 2), ({"a": A, "b": A[:, 0]}, B))


def test_a_module_as_a_criterion_is_checked_with_its_parameters():
    class Scaled(nn.Module):
        def __init__(self):
            self.scale = nn.Parameter(np.ones(1))

        def forward(self, output, target):
            return np.mean(np.exp(-self.scale) * (output - target) ** 2 + self.scale)

    assert gradcheck(Scaled(), (A, B))


def test_a_wrong_gradient_of_one_of_several_inputs_is_found():
    class Caller(nn.Module):
        def __init__(self, factor):
            self.inner = Wrong(factor)

        def forward(self, a, b):
            return self.inner(a, b)

    assert gradcheck(Caller(1.0), (A, B))
    with pytest.raises(AssertionError, match=r"gradcheck: input.1\[\d, \d\]: backward gives"):
        gradcheck(Caller(1.1), (A, B))


@pytest.mark.parametrize("x", [A, (A,), (A, B, B)], ids=["alone", "one", "three"])
def test_a_loss_takes_a_pair(x):
    with pytest.raises(TypeError, match=r"gradcheck: expected a pair \(output, target\) for MSELoss"):
        gradcheck(nn.MSELoss(), x)
