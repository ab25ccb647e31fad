"""Layers, losses and their functions of values whose sizes behind the first axis are open, such as products of all samples."""

from contextlib import nullcontext

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.nn import functional

X = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
ELEMENTWISE = ["relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "sigmoid", "tanh"]


class Of(nn.Module):
    """A function of what a layer makes of the input, and of the module."""

    def __init__(self, function):
        self.function, self.linear, self.norm = function, nn.Linear(3, 3, rng=0), nn.LayerNorm(3)
        self.relu, self.identity, self.softmax = nn.ReLU(), nn.Identity(), nn.Softmax()

    def forward(self, x):
        return self.function(self, self.linear(x))


FUNCTIONS = {
    **{
        name: lambda m, h, name=name: getattr(functional, name)(h @ h.T)
        for name in (*ELEMENTWISE, "softmax", "log_softmax", "logsumexp")
    },
    **{
        f"{name} transposed": lambda m, h, name=name: getattr(functional, name)(h.T)
        for name in ("relu", "softmax", "log_softmax")
    },
    "layers": lambda m, h: m.identity(m.relu(h.T)) + m.softmax(h.T),
    "rows of three axes": lambda m, h: m.linear(m.norm(h[:, None] * h)),
    "a chain": lambda m, h: m.relu(m.linear(m.relu(h[:, None] * h))),
    "softmax of samples": lambda m, h: (
        functional.softmax(h[:, None] * h, 0) + functional.softmax(h[:, None] * h, 1) + functional.softmax(h, 0)
    ),
    "mse_loss": lambda m, h: functional.mse_loss(h @ h.T, 0.5 * (h @ h.T)),
    "l1_loss": lambda m, h: functional.l1_loss(h @ h.T, 0.5 * (h @ h.T), reduction="sum"),
    "huber_loss": lambda m, h: functional.huber_loss(h @ h.T, np.zeros_like(h @ h.T), reduction="none"),
    "bce": lambda m, h: functional.binary_cross_entropy_with_logits(h @ h.T, functional.sigmoid(h @ h.T)),
    "probabilities": lambda m, h: functional.cross_entropy(h @ h.T, functional.softmax(2 * (h @ h.T))),
    "classes": lambda m, h: functional.cross_entropy(h @ h.T, np.argmin(h @ h.T, axis=1)),
    "pairs": lambda m, h: functional.cross_entropy(h @ h.T, np.arange(len(h))),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_gradients_are_those_of_fixed_sizes(name):
    found = []
    for eager in (False, True):
        model = Of(FUNCTIONS[name])
        with fastdl.eager() if eager else nullcontext():
            y, pull = model.vjp(X)
        weights = np.random.default_rng(1).standard_normal(np.shape(y)).astype(np.float32)
        found.append((y, pull(weights), model.linear.weight.grad))
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_one_program_serves_every_number_of_samples():
    model = Of(lambda m, h: functional.relu(h @ h.T) + functional.softmax(h @ h.T))
    for samples in (1, 2, 5):
        h = model.linear(X[:samples])
        e = np.exp(h @ h.T)
        want = np.maximum(h @ h.T, 0) + e / e.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(model(X[:samples]), want, rtol=1e-5)


def test_random_numbers_of_open_sizes_are_drawn():
    fastdl.manual_seed(0)
    normal = Of(lambda m, h: functional.normal_like(h @ h.T))(np.tile(X, (8, 1)))
    assert normal.shape == (40, 40)
    assert abs(normal.mean()) < 0.1
    assert abs(normal.std() - 1) < 0.1
    ones = Of(lambda m, h: functional.dropout(np.ones_like(h @ h.T)))(np.tile(X, (8, 1)))
    assert set(np.unique(ones)) == {0, 2}


def test_a_contrastive_loss_is_trained_natively():
    def criterion(output, target):
        scores = functional.normalize(output) @ functional.normalize(target).T
        return functional.cross_entropy(scores, functional.softmax(target @ target.T)) + functional.mse_loss(
            scores, target @ target.T
        )

    model = Of(lambda m, h: h)
    history = Trainer(model, criterion, optim.SGD(model.parameters(), lr=0.05)).fit(X, X, epochs=20, batch_size=5)
    assert history.engine.startswith("native")
    assert history["loss"][-1] < history["loss"][0]
