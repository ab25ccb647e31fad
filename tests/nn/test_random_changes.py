"""Calls of modules that define forward alone, amid random changes of the model: native ones and eager ones agree."""

import copy
import random

import numpy as np
import pytest

import fastdl
from fastdl import nn, optim

FACTOR = 1.5
STEPS = 25


class Part(nn.Module):
    """Reads whatever may change from call to call."""

    def __init__(self):
        self.layer, self.norm, self.drop = nn.Linear(4, 4, rng=0), nn.BatchNorm1d(4), nn.Dropout(0.0)
        self.number, self.scalar, self.buffer = 2.0, nn.Scalar(0.5), nn.Buffer(np.zeros(4))
        self.register_buffer("scale", np.ones(4))

    def forward(self, x):
        h = np.tanh(self.layer(x)) * self.scale + self.number
        h = self.norm(h) + self.norm.running_mean * self.scalar
        return self.drop(h) * FACTOR + self.buffer


class Whole(nn.Module):
    """One output or two."""

    def __init__(self):
        self.one, self.other, self.out = (
            Part(),
            nn.Sequential(nn.Linear(4, 4, rng=1), nn.ReLU(), Part()),
            nn.Linear(4, 2, rng=2),
        )

    def forward(self, x):
        h = self.one(x) + self.other(x)
        if self.training:
            h = 2 * h
        return (self.out(h), np.sum(h, axis=1)) if self.one.number > 1 else self.out(h)


class Changes:
    """What is done to a model between calls, each drawn from a seed."""

    def __init__(self, model, seed):
        self.model, self.random, self.rng = model, random.Random(seed), np.random.default_rng(seed)
        self.optimizer = None

    @property
    def part(self):
        return self.random.choice([each for each in self.model.modules() if isinstance(each, Part)])

    @property
    def parameter(self):
        return self.random.choice(list(self.model.parameters()))

    def make(self):
        return self.random.choice([getattr(self, name) for name in dir(self) if name.startswith("change_")])()

    def change_mode(self):
        self.model.train(not self.model.training)

    def change_mode_of_a_part(self):
        part = self.part
        part.train(not part.training)

    def change_what_is_frozen(self):
        parameter = self.parameter
        parameter.requires_grad = not parameter.requires_grad

    def change_values(self):
        parameter = self.parameter
        parameter.data = parameter.data * self.random.uniform(0.5, 1.2)

    def change_registered_array(self):
        self.part.scale[...] = self.rng.standard_normal(4)

    def change_all_by_a_state(self):
        factor = self.random.uniform(0.8, 1.1)
        state = self.model.state_dict()
        self.model.load_state_dict(
            {name: each * factor if each.dtype.kind == "f" else each for name, each in state.items()}
        )

    def change_number(self):
        self.part.number = self.random.choice([0.5, 2.0, 3.0])

    def change_scalar(self):
        self.part.scalar.value = self.random.uniform(0, 1)

    def change_buffer(self):
        self.part.buffer.data = self.rng.standard_normal(4)

    def change_global(self):
        global FACTOR
        FACTOR = self.random.choice([1.0, 1.5, 2.0])

    def change_memory(self):
        self.optimizer = optim.SGD(self.model.parameters(), lr=0.01)

    def change_by_a_step(self):
        if self.optimizer is not None:
            self.optimizer.step()


def same(found, wanted, tolerance):
    found, wanted = (each if isinstance(each, tuple) else (each,) for each in (found, wanted))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", [Part, Whole])
@pytest.mark.parametrize("seed", range(8))
def test_calls_follow_every_change(seed, kind):
    model = kind().astype(np.float64)
    changes = Changes(model, seed)
    rng = changes.rng
    for _ in range(STEPS):
        if changes.random.random() < 0.5:
            changes.make()
        x = rng.standard_normal((changes.random.choice([2, 3, 8, 5]), 4))
        model.zero_grad()
        twin = copy.deepcopy(model)
        if changes.random.random() < 0.4:
            with fastdl.no_grad():
                y = model(x)
                with fastdl.eager():
                    same(y, twin(x), 1e-7)
        else:
            y = model(x)
            seeds = (
                tuple(map(rng.standard_normal, map(np.shape, y)))
                if isinstance(y, tuple)
                else rng.standard_normal(y.shape)
            )
            with fastdl.eager():
                same(y, twin(x), 1e-7)
                wanted = twin.backward(seeds)
            same(model.backward(seeds), wanted, 1e-6)
            for parameter, other in zip(model.parameters(), twin.parameters(), strict=True):
                np.testing.assert_allclose(parameter.grad, other.grad, rtol=1e-6, atol=1e-6)
        for (name, array), other in zip(model.state_dict().items(), twin.state_dict().values(), strict=True):
            np.testing.assert_allclose(array, other, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.fixture(autouse=True)
def _global():
    global FACTOR
    yield
    FACTOR = 1.5
