"""Activations and losses of one's own that define their function only: the derivative follows."""

import numpy as np
import pytest

from fastdl import Trainer, nn, optim
from fastdl.testing import gradcheck

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 3))
FUNCTIONS = {
    "mish": (lambda x: x * np.tanh(np.log1p(np.exp(x))), None),
    "silu": (lambda x: x / (1 + np.exp(-x)), nn.SiLU()),
    "softplus": (lambda x: np.log1p(np.exp(x)), nn.Softplus()),
    "relu": (lambda x: np.where(x > 0, x, 0), nn.ReLU()),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), nn.ELU()),
    "tanh": (np.tanh, nn.Tanh()),
}


@pytest.mark.parametrize(("function", "own"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_an_activation_needs_its_function_only(function, own, dtype):
    activation, x = nn.Activation(function), X.astype(dtype)
    y = activation(x)
    gx = activation.backward(np.ones_like(x))
    assert (y.dtype, gx.dtype) == (dtype, dtype)
    if own is not None:
        np.testing.assert_allclose(y, own(x), rtol=1e-5)
        np.testing.assert_allclose(gx, own.backward(np.ones_like(x)), rtol=1e-5, atol=1e-6)
    if dtype == np.float64:
        assert gradcheck(nn.Activation(function), x)


def test_a_subclass_may_define_its_function_only_and_read_what_it_holds():
    class Scaled(nn.Activation):
        def __init__(self, scale):
            self.scale = scale

        def function(self, x):
            return np.sin(self.scale * x)

    activation = Scaled(2.0)
    for scale in (2.0, 3.0):  # what it reads may change
        activation.scale = scale
        activation(X)
        np.testing.assert_allclose(activation.backward(np.ones_like(X)), scale * np.cos(scale * X))


def test_one_of_a_function_is_spelled_by_its_name():
    assert nn.Activation(np.tanh).spec() == "Activation(tanh)"
    with pytest.raises(TypeError, match=r"^Activation: expected a callable for derivative, got 3$"):
        nn.Activation(np.tanh, 3)


class LogCosh(nn.Loss):
    def function(self, output, target):
        return np.log(np.cosh(output - target))


class Given(LogCosh):
    def derivative(self, output, target):
        return np.tanh(output - target)


@pytest.mark.parametrize("reduction", ["mean", "sum", "batchmean", "none"])
def test_a_loss_needs_its_function_only(reduction, dtype):
    output, target = X.astype(dtype), (X[::-1] * 0.5).astype(dtype)
    one, other = LogCosh(reduction), Given(reduction)
    np.testing.assert_array_equal(one(output, target), other(output, target))
    weights = [np.linspace(0, 1, X.size).reshape(X.shape).astype(dtype)] if reduction == "none" else []
    gradient = one.backward(*weights)
    assert gradient.dtype == dtype
    np.testing.assert_allclose(gradient, other.backward(*weights), rtol=1e-5, atol=1e-7)


def test_a_loss_of_each_sample_with_class_indices():
    class Margin(nn.Loss):
        def function(self, output, target):
            own = output[np.arange(len(target)), target]
            return np.sum(np.maximum(output - own[:, None] + 1, 0), axis=1) - 1

    target = np.array([0, 2, 1, 1, 0, 2])
    criterion = Margin()
    criterion(X, target)
    gradient = criterion.backward()
    for place in np.ndindex(X.shape):
        step = np.zeros_like(X)
        step[place] = 1e-6
        slope = (criterion(X + step, target) - criterion(X - step, target)) / 2e-6
        assert gradient[place] == pytest.approx(slope, abs=1e-7)


def test_a_network_trains_by_them_as_by_given_derivatives():
    losses = []
    for criterion, activation in ((LogCosh(), nn.Activation(np.sin)), (Given(), nn.Activation(np.sin, np.cos))):
        layers = nn.Linear(3, 8, rng=1, dtype=np.float64), activation, nn.Linear(8, 3, rng=2, dtype=np.float64)
        model = nn.Sequential(*layers)
        trainer = Trainer(model, criterion, optim.Adam(model.parameters(), lr=0.01))
        losses.append(trainer.fit(X, np.cos(X), epochs=20, batch_size=4, seed=0)["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9)
    assert losses[0][-1] < losses[0][0] / 2


def test_what_cannot_be_traced_is_an_error_that_names_the_line():
    activation = nn.Activation(lambda x: np.interp(x, [0, 1], [0, 1]))
    activation(X)
    with pytest.raises(
        TypeError, match=r"^test_own_functions\.py:\d+: expected NumPy functions that can be traced, got np\.interp"
    ):
        activation.backward(np.ones_like(X))


def test_a_function_that_does_not_depend_on_its_input_has_no_gradient():
    activation = nn.Activation(lambda x: np.ones(X.shape))
    activation(X)
    np.testing.assert_array_equal(activation.backward(np.ones_like(X)), np.zeros_like(X))
