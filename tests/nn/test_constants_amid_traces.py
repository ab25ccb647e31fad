"""What forward computes of arrays and parameters' values: it follows when they change, and has its gradients."""

import signal
from contextlib import nullcontext

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim

X = np.random.default_rng(0).standard_normal((6, 3))
POINTS = np.random.default_rng(1).standard_normal((4, 3))
F64 = {"dtype": np.float64}


class Traced(nn.Module):
    def __init__(self):
        self.w = nn.Parameter(np.full(3, 0.5))

    def forward(self, x):
        return np.tanh(x) * self.w


class InPython(nn.Module):
    def __init__(self):
        self.w = nn.Parameter(np.full(3, 0.5))

    def forward(self, x):
        self.y = np.tanh(x)
        return self.y * self.w.data

    def backward(self, grad_output):
        self.w.grad += np.sum(grad_output * self.y, axis=0)
        return grad_output * self.w.data * (1 - self.y**2)


INNER = {
    "a layer": lambda: nn.Linear(3, 3, rng=0, **F64),
    "a norm": lambda: nn.BatchNorm1d(3, **F64),
    "a container": lambda: nn.Sequential(nn.Linear(3, 3, rng=0, **F64), nn.Tanh()),
    "a residual block": lambda: nn.Residual(nn.Linear(3, 3, rng=0, **F64)),
    "a traced module": Traced,
    "a module in Python": InPython,
}


class OfPoints(nn.Module):
    """x times the mean of what a module makes of some points."""

    def __init__(self, inner):
        self.inner = inner

    def forward(self, x):
        return x * np.mean(self.inner(POINTS), axis=0)


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("name", INNER)
def test_a_module_of_an_array(name, eager):
    model = OfPoints(INNER[name]())
    alone = INNER[name]()
    within = fastdl.eager if eager else nullcontext
    for factor in (1.0, 2.0):  # a program of the first values would be out of date
        for one, other in zip(model.parameters(), alone.parameters(), strict=True):
            one.data = factor * (other.data + 0.1)
        for one, other in zip(model.parameters(), alone.parameters(), strict=True):
            other.data = one.data
        model.zero_grad(), alone.zero_grad()
        wanted = alone(POINTS)
        with within():
            y = model(X)
            np.testing.assert_allclose(y, X * wanted.mean(0), rtol=1e-9, atol=1e-12)
            model.backward(np.ones_like(y))
        alone.backward(np.broadcast_to(X.sum(0) / len(POINTS), wanted.shape).copy())
        for one, other in zip(model.parameters(), alone.parameters(), strict=True):
            np.testing.assert_allclose(one.grad, other.grad, rtol=1e-9, atol=1e-10)
    for one, other in zip(model.buffers(), alone.buffers(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("name", ["a container", "a traced module"])
def test_a_module_that_has_a_program_of_its_own_is_traced_amid_another(name):
    model = OfPoints(INNER[name]())
    for _ in range(6):
        model.inner(POINTS)
    y = model(X)
    model.backward(np.ones_like(y))
    assert all(parameter.grad.any() for parameter in model.parameters())


@pytest.mark.parametrize("name", INNER)
def test_training_moves_it(name):
    model = OfPoints(INNER[name]())
    before = model(X)
    trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.3))
    history = trainer.fit(X, 2 * X, epochs=5, batch_size=3)
    assert history["loss"][-1] < history["loss"][0]
    with fastdl.no_grad():
        assert np.abs(model(X) - before).max() > 1e-3


class OfData(nn.Module):
    """What reads parameters and buffers by their attributes for arrays and numbers."""

    def __init__(self):
        self.w, self.v = nn.Parameter(np.full(3, 2.0)), nn.Parameter(np.full(3, 3.0))
        self.shift, self.number = nn.Buffer(np.full(3, 0.5)), nn.Scalar(4.0)

    def forward(self, x):
        return x * self.w.data * self.v + self.shift.data * self.number.value


@pytest.mark.parametrize("eager", [False, True])
def test_values_by_attributes_follow_and_have_no_gradient(eager):
    model = OfData()
    with fastdl.eager() if eager else nullcontext():
        np.testing.assert_allclose(model(X), X * 6 + 2)
        model.backward(np.ones_like(X))
        np.testing.assert_array_equal(model.w.grad, np.zeros(3))
        np.testing.assert_allclose(model.v.grad, 2 * X.sum(0))
        model.w.data, model.shift.data, model.number.value = np.full(3, 5.0), np.full(3, 1.0), 7.0
        np.testing.assert_allclose(model(X), X * 15 + 7)


def test_gradients_are_no_part_of_traced_code():
    class OfGradient(OfData):
        def forward(self, x):
            return x * self.w.grad

    with pytest.raises(
        TypeError, match=r"Parameter\.grad: expected a call outside of forward functions and losses, got one"
    ):
        OfGradient()(X)


def test_a_signal_handler_amid_a_trace_has_arrays():
    found = []

    class Interrupted(OfPoints):
        def forward(self, x):
            signal.raise_signal(signal.SIGUSR1)
            return super().forward(x)

    class Handler:
        def method(self, *_):
            found.append((model.inner(POINTS), model.inner.weight.data, model.inner.weight.grad))

        def __call__(self, *_):
            self.method()

    model = Interrupted(INNER["a layer"]())
    wanted = model.inner(POINTS)
    before = signal.getsignal(signal.SIGUSR1)
    try:
        for handler in (Handler(), Handler().method, lambda *_: Handler().method()):
            found.clear()
            signal.signal(signal.SIGUSR1, handler)
            vars(model).pop("_flat", None)  # it is traced again
            model(X)
            assert found
            for y, weight, gradient in found:
                np.testing.assert_array_equal(y, wanted)
                assert type(weight) is type(gradient) is np.ndarray
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("kind", ["a layer", "forward alone"])
def test_another_model_amid_a_trace_has_arrays_and_a_warning(kind):
    """It is no part of the model, whose program would have to follow it: what it computes is a constant of the trace."""
    seen = []
    other = INNER["a layer"]() if kind == "a layer" else OfPoints(INNER["a layer"]())
    weight = next(other.parameters())

    class Uses(OfPoints):
        def forward(self, x):
            seen.append((other(POINTS), weight.data, weight.grad))
            return super().forward(x)

    name = type(other).__name__
    with pytest.warns(UserWarning, match=rf"test_constants_amid_traces.py:\d+: traced code calls {name} on arrays"):
        Uses(INNER["a layer"]())(X)
    assert all(type(each) is np.ndarray for found in seen for each in found)


def test_no_warning_of_what_is_traced_has_no_parameters_or_runs_node_by_node():
    other = INNER["a layer"]()

    class Uses(OfPoints):
        def forward(self, x):
            return super().forward(x) + np.sum(other(x)) + nn.Tanh()(POINTS)[0, 0]

    Uses(INNER["a layer"]())(X)

    class Eager(OfPoints):
        traced = False

        def forward(self, x):
            return super().forward(x) + other(POINTS)[0, 0]

    Eager(INNER["a layer"]())(X)
