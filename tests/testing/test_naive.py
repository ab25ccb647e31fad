"""Whole models, traced functions and what is refused, on the reference's loops."""

import numpy as np
import pytest

from fastdl import nn, optim
from fastdl.graph.interpreter import run
from fastdl.graph.trace import trace
from fastdl.nn.linear import linear_forward
from fastdl.nn.watching import PASSING
from fastdl.testing import naive, naive_loss, naive_step, on_the_reference


class Gated(nn.Module):
    def __init__(self):
        self.body, self.gate = nn.Sequential(nn.Linear(3, 4, rng=0), nn.Tanh()), nn.Linear(3, 4, rng=1)

    def forward(self, x):
        return self.body(x) / (1 + np.exp(-self.gate(x)))


def test_a_nested_model_is_its_naive_loops():
    body = nn.Sequential(nn.Conv2d(1, 2, 3, rng=0), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    model = nn.Sequential(body, nn.Residual(nn.Linear(8, 8, rng=1)), nn.Parallel(nn.Linear(8, 2, rng=2), nn.Identity()))
    x = np.random.default_rng(0).standard_normal((3, 1, 6, 6)).astype(np.float32)
    gradients: dict[int, np.ndarray] = {}
    want, backward = naive(model, x, gradients)
    gy = np.random.default_rng(1).standard_normal(want.shape).astype(np.float32)
    want_gx = backward(gy)
    assert all(not parameter.grad.any() for parameter in model.parameters())
    np.testing.assert_allclose(model(x), want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.backward(gy), want_gx, rtol=1e-5, atol=1e-6)
    for parameter in model.parameters():
        np.testing.assert_allclose(parameter.grad, gradients[id(parameter)], rtol=1e-5, atol=1e-5)


def test_the_interpreter_runs_a_traced_model_on_the_reference(monkeypatch):
    model, x = Gated(), np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3)
    graph, output, _, _ = trace(model, ((x,), {}), x.dtype, 5, PASSING)
    seen = []
    with on_the_reference(model):
        taken = nn.linear.linear_forward
        monkeypatch.setattr(nn.linear, "linear_forward", lambda *args: (seen.append(args), taken(*args))[1])
        (want,) = run(graph, [output], {"x0": x})
        monkeypatch.undo()
    assert len(seen) == 2
    assert taken.__module__ == "fastdl.reference.linear"
    assert nn.linear.linear_forward is linear_forward
    np.testing.assert_allclose(model(x), want, rtol=1e-5)


def test_a_container_goes_layer_by_layer_however_often_it_is_called(monkeypatch):
    model, x, seen = nn.Sequential(nn.Linear(3, 2, rng=0), nn.Tanh()), np.ones((4, 3), np.float32), []
    for _ in range(6):
        naive(model, x, {})
    with on_the_reference(model):
        taken = nn.linear.linear_forward
        monkeypatch.setattr(nn.linear, "linear_forward", lambda *args: (seen.append(args), taken(*args)))
        model(x)
        monkeypatch.undo()
    assert len(seen) == 1


def test_kernels_are_back_after_an_error():
    with pytest.raises(ZeroDivisionError), on_the_reference(nn.Linear(3, 2)):
        raise ZeroDivisionError
    assert nn.linear.linear_forward is linear_forward


def test_what_is_not_fastdls_own_is_refused():
    with pytest.raises(TypeError, match="naive: expected one of fastdl's own layers, got Gated"):
        naive(Gated(), np.zeros((1, 3), np.float32), {})
    with pytest.raises(TypeError, match="naive_loss: expected one of fastdl's own losses, got Loss"):
        naive_loss(nn.Loss(), np.zeros(3), np.zeros(3))

    class Own(optim.SGD):
        native = ""

    with pytest.raises(TypeError, match="naive_step: expected one of fastdl's own optimizers, got Own"):
        naive_step(Own([nn.Parameter(np.zeros(1))]), np.zeros(1), np.zeros(1), {}, 1)
