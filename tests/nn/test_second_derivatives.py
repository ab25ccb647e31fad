"""Derivatives of layers' gradients: gradient penalties, and equations that a network's derivatives satisfy."""

from contextlib import nullcontext
from itertools import product

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.graph.gradient import RULES
from fastdl.testing import LAYER_CASES, LOSS_CASES
from fastdl.testing.cases import make_input, make_target

STEP = 1e-5
CASES = [case for case in LAYER_CASES if case.smooth or issubclass(case.subject, (nn.MaxPool1d, nn.MaxPool2d, nn.ReLU))]


class Slope(nn.Module):
    """The gradient with respect to x of the sum of a layer's outputs times c."""

    def __init__(self, layer):
        self.layer = layer

    def forward(self, x, c):
        return fastdl.grad(lambda x: np.sum(self.layer(x) * c))(x)


def shapes(case):
    return [shape for shape in case.shapes if 0 < np.prod(shape) < 3000 and len(shape) > 1]


def is_traceable(call):
    """Call something; whether a layer in it is one that a trace takes."""
    try:
        call()
    except ValueError as error:
        if "a layer that can be traced" not in str(error):
            raise
        return False
    return True


def along(function, x, direction):
    """The derivative of a function in a direction, by central differences."""
    return (function(x + STEP * direction) - function(x - STEP * direction)) / (2 * STEP)


# Each way to run, and each mode, once.
QUICK = ((True, False), (False, True))


@pytest.mark.parametrize(
    ("training", "eager"),
    [pytest.param(*each, marks=() if each in QUICK else pytest.mark.slow) for each in product((True, False), repeat=2)],
)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_derivatives_of_gradients(case, training, eager, each):
    for shape in each(shape=shapes(case)[:3]):
        rng = np.random.default_rng(0)
        layer = case.make(np.float64).train(training)
        if not training:
            for buffer in layer.buffers():
                buffer += rng.uniform(0.1, 0.5, buffer.shape).astype(buffer.dtype)
        for parameter in layer.parameters():
            parameter.data = parameter.data + 0.3 * rng.standard_normal(parameter.shape)
        x = make_input(case, shape, rng, np.float64)
        try:
            y = layer(x)
        except (ValueError, TypeError):
            continue  # one sample where the batch's statistics are taken
        if type(y) is not np.ndarray:
            continue
        buffers = [buffer.copy() for buffer in layer.buffers()]
        model = Slope(layer)
        c, d = rng.standard_normal(y.shape), rng.standard_normal(x.shape)

        def slope(x, c=c, model=model, layer=layer, buffers=buffers):
            for buffer, before in zip(layer.buffers(), buffers, strict=True):
                np.copyto(buffer, before)
            fastdl.manual_seed(0)
            return model(x, c)

        def output(x, layer=layer):
            fastdl.manual_seed(0)
            return layer(x)

        with fastdl.eager() if eager else nullcontext():
            if not is_traceable(lambda x=x, slope=slope: slope(x)):
                continue
            gx, gc = model.backward(d)
        direction = rng.standard_normal(x.shape)
        bound = 1e-6 * (1 + np.abs(gx).max()) * np.sqrt(x.size)
        wanted = np.sum(along(slope, x, direction) * d)
        np.testing.assert_allclose(np.sum(gx * direction), wanted, rtol=2e-5, atol=bound)
        with fastdl.no_grad():
            np.testing.assert_allclose(gc, along(output, x, d), rtol=2e-5, atol=1e-6 * (1 + np.abs(gc).max()))
        for parameter in layer.parameters():
            gradient, before = parameter.grad.copy(), parameter.data.copy()
            direction = rng.standard_normal(parameter.shape)
            ends = []
            for sign in (1, -1):
                parameter.data = before + sign * STEP * direction
                ends.append(np.sum(slope(x) * d))
            parameter.data = before
            wanted = (ends[0] - ends[1]) / (2 * STEP)
            bound = 1e-6 * (1 + np.abs(gradient).max()) * np.sqrt(parameter.size)
            np.testing.assert_allclose(np.sum(gradient * direction), wanted, rtol=2e-5, atol=bound)


class SlopeOfLoss(nn.Module):
    """The gradient of a loss with respect to the output."""

    def __init__(self, criterion):
        self.criterion = criterion

    def forward(self, x, t):
        return fastdl.grad(lambda x: np.sum(self.criterion(x, t)))(x)


@pytest.mark.parametrize("case", [case for case in LOSS_CASES if case.smooth], ids=str)
def test_derivatives_of_losses_gradients(case, each):
    for shape in each(shape=shapes(case)[:3]):
        rng = np.random.default_rng(0)
        x = make_input(case, shape, rng, np.float64)
        t = make_target(case, shape, rng, np.float64)
        model, d, direction = SlopeOfLoss(case.make(np.float64)), rng.standard_normal(shape), rng.standard_normal(shape)
        if not is_traceable(lambda x=x, t=t, model=model: model(x, t)):
            continue
        gx, gt = model.backward(d)
        bound = 1e-6 * (1 + np.abs(gx).max()) * np.sqrt(x.size)
        wanted = np.sum(along(lambda x, m=model, t=t: m(x, t), x, STEP * direction) / STEP * d)
        np.testing.assert_allclose(np.sum(gx * direction), wanted, rtol=2e-4, atol=10 * bound)
        if t.dtype.kind == "f":
            wanted = np.sum(along(lambda t, m=model, x=x: m(x, t), t, direction) * d)
            np.testing.assert_allclose(np.sum(gt * direction), wanted, rtol=2e-5, atol=10 * bound)


@pytest.mark.parametrize("layer", [nn.Tanh(), nn.GELU(), nn.SiLU(), nn.Softplus(), nn.Sigmoid()], ids=repr)
def test_third_derivatives(layer):
    x = np.linspace(-2, 2, 9)[:, None]

    def derivative(order, x):
        if order == 0:
            return fastdl.grad(lambda x: np.sum(layer(x)))(x)
        return fastdl.grad(lambda x: np.sum(derivative(order - 1, x)))(x)

    for order in (1, 2):
        wanted = along(lambda x, n=order - 1: derivative(n, x), x, np.ones_like(x))
        np.testing.assert_allclose(derivative(order, x), wanted, rtol=1e-6, atol=1e-8)


def test_every_layer_in_programs_has_a_formula():
    without = {
        case.subject for case in LAYER_CASES if hasattr(case.subject, "_plan") and not hasattr(case.subject, "_formula")
    }
    assert all(
        subject.__module__ == "fastdl.nn.container" or subject in {nn.Flatten, nn.Identity} for subject in without
    )
    assert {"layer_backward", "layer_gradient", "loss_backward"} <= RULES.keys()


def test_a_layer_without_a_formula_is_refused_with_its_name(monkeypatch):
    monkeypatch.delattr(nn.Linear, "_formula")
    layer = nn.Linear(2, 2, rng=0, dtype=np.float64)
    layer(np.ones((2, 2)))
    model = Slope(layer)
    with pytest.raises(TypeError, match="expected layers that can be differentiated twice, got Linear"):
        model(np.ones((2, 2)), np.ones((2, 2)))


def test_a_network_learns_to_satisfy_an_equation():
    """u'' = -pi^2 sin(pi x) between 0 and 1, u = 0 at both ends: a network of fastdl's layers, trained natively."""

    class Wave(nn.Module):
        def __init__(self):
            self.body = nn.Sequential(
                nn.Linear(1, 20, rng=0), nn.Tanh(), nn.Linear(20, 20, rng=1), nn.Tanh(), nn.Linear(20, 1, rng=2)
            )

        def forward(self, x):
            return x * (1 - x) * self.body(x)

    def equation(output, x, model):
        first = fastdl.grad(lambda x: np.sum(model(x)))
        second = fastdl.grad(lambda x: np.sum(first(x)))(x)
        return np.mean((second + np.pi**2 * np.sin(np.pi * x)) ** 2)

    x = np.random.default_rng(0).uniform(0, 1, (256, 1)).astype(np.float32)
    model = Wave()
    trainer = Trainer(model, equation, optim.Adam(model.parameters(), lr=0.01))
    history = trainer.fit(x, x, epochs=200, batch_size=64, seed=0)
    assert history.engine.startswith("native")
    points = np.linspace(0, 1, 50, dtype=np.float32)[:, None]
    assert np.abs(model.eval()(points) - np.sin(np.pi * points)).max() < 0.02
