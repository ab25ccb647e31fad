"""One sample at a time: both gradients of a Linear in one pass over its weights."""

from itertools import pairwise

import numpy as np
import pytest

from fastdl import nn, optim
from fastdl.training.engine import PlainEngine, Task
from fastdl.training.native_engine import NativeEngine


def trained(engine, make, x, y, epochs=3):
    model = make()
    optimizer = optim.SGD(model.parameters(), lr=0.002, momentum=0.9)
    task = Task(model, nn.MSELoss(), optimizer, None, None)
    runs = NativeEngine(task, x, y, 1) if engine is NativeEngine else PlainEngine(task, "compared")
    losses = [runs.epoch(x, y, None, 1, None)[:3] for _ in range(epochs)]
    return losses, model.state_dict(), [parameter.grad.copy() for parameter in model.parameters()]


def tied(dtype):
    layer = nn.Linear(9, 9, rng=0, dtype=dtype)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(9, 3, rng=1, dtype=dtype))


def frozen(dtype):
    model = nn.Sequential(nn.Linear(9, 70, rng=0, dtype=dtype), nn.ReLU(), nn.Linear(70, 3, rng=1, dtype=dtype))
    model[2].weight.requires_grad = False
    model[0].bias.requires_grad = False
    return model


def plain(*sizes):
    def make(dtype):
        layers = []
        for I, O in pairwise(sizes):
            layers += [nn.Linear(I, O, bias=O != 17, rng=I, dtype=dtype), nn.Tanh()]
        return nn.Sequential(*layers[:-1])

    return make


MODELS = {
    "narrow": plain(9, 25, 25, 3),
    "wide": plain(9, 131, 64, 65, 3),
    "without bias": plain(9, 17, 3),
    "tied": tied,
    "frozen": frozen,
}


@pytest.mark.parametrize("name", MODELS)
def test_single_rows_train_as_layer_by_layer(level, dtype, name):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 9)).astype(dtype), rng.standard_normal((20, 3)).astype(dtype)
    tolerance = {"rtol": 2e-4, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-10, "atol": 1e-12}
    native, by_layers = (trained(engine, lambda: MODELS[name](dtype), x, y) for engine in (NativeEngine, PlainEngine))
    np.testing.assert_allclose(native[0], by_layers[0], **tolerance)
    for key, value in native[1].items():
        np.testing.assert_allclose(value, by_layers[1][key], **tolerance)
    for one, other in zip(native[2], by_layers[2], strict=True):
        np.testing.assert_allclose(one, other, **tolerance)


def test_denormal_numbers_are_flushed_in_every_step(level):
    """Where they are not, a step with moments that have died away takes ten times as long."""
    parameter = nn.Parameter(np.ones(100, np.float32))
    optimizer = optim.Adam([parameter])
    state = optimizer.state_dict()
    state["state"][0]["exp_avg"][:] = 1e-42
    state["state"][0]["step"] = 10
    optimizer.load_state_dict(state)
    optimizer.step()
    assert not optimizer.state_dict()["state"][0]["exp_avg"].any()
