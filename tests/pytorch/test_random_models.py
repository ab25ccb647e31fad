"""Random models compute, learn and keep statistics as the same do in PyTorch."""

import numpy as np
import pytest
from hypothesis import given, settings

from fastdl import Trainer, optim
from tests.nn.random_models import CLASSES, STEPS, WIDEST, RandomModel, depending
from tests.nn.test_random_models import LISTS, close, loss, rows

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the peers extra)")
F = torch.nn.functional


def fitted(a, width):
    while a.shape[1] < width:
        a = torch.cat([a, a], 1)
    return a[:, :width]


# What nn.random_models has in STEPS, by the same names.
IN_TORCH = {
    "linear": lambda p, a, b, k, t: p.linear(a.shape[1], b.shape[1])(a),
    "tied": lambda p, a, b, k, t: a @ p.linear(b.shape[1], a.shape[1]).weight,
    "normalized weight": lambda p, a, b, k, t: F.linear(
        a, F.normalize(p.linear(a.shape[1], 3).weight), p.linear(a.shape[1], 3).bias
    ),
    "batch norm": lambda p, a, b, k, t: p.norm(a.shape[1])(a),
    "layer norm": lambda p, a, b, k, t: p.layer_norm(a.shape[1])(a),
    "relu": lambda p, a, b, k, t: F.relu(a),
    "gelu": lambda p, a, b, k, t: F.gelu(a),
    "softmax": lambda p, a, b, k, t: F.softmax(a, -1),
    "scale": lambda p, a, b, k, t: a * p.parameter(a.shape[1]),
    "number": lambda p, a, b, k, t: torch.sin(a * p.parameter()),
    "gate": lambda p, a, b, k, t: torch.sigmoid(a) * torch.tanh(fitted(b, a.shape[1])),
    "add": lambda p, a, b, k, t: a + fitted(b, a.shape[1]),
    "divide": lambda p, a, b, k, t: a / (2 + fitted(b, a.shape[1]) ** 2),
    "larger": lambda p, a, b, k, t: torch.maximum(a, fitted(b, a.shape[1])),
    "where": lambda p, a, b, k, t: torch.where(fitted(t, a.shape[1]), a, fitted(b, a.shape[1])),
    "rows": lambda p, a, b, k, t: p.parameter(CLASSES, a.shape[1])[k] + a,
    "picked": lambda p, a, b, k, t: a * fitted(b, CLASSES).gather(1, k[:, None]),
    "joined": lambda p, a, b, k, t: torch.cat([a, b], 1)[:, :WIDEST],
    "cut": lambda p, a, b, k, t: a[:, 1:] if a.shape[1] > 2 else a,
    "turned": lambda p, a, b, k, t: torch.flip(a, [1]) - torch.roll(a, 1, 1),
    "sum": lambda p, a, b, k, t: a - a.sum(1, keepdim=True),
    "batch": lambda p, a, b, k, t: a - a.mean(0, keepdim=True),
    "spread": lambda p, a, b, k, t: a / (1 + a.var(0, correction=0, keepdim=True)),
    "largest": lambda p, a, b, k, t: a - a.amax(1, keepdim=True),
    "log sum": lambda p, a, b, k, t: a - a.logsumexp(1, keepdim=True),
    "cumulated": lambda p, a, b, k, t: a.cumsum(1) * 0.5,
    "sorted": lambda p, a, b, k, t: a.sort(dim=1, stable=True)[0],
    "product": lambda p, a, b, k, t: (a[:, :, None] * b[:, None, :]).sum(2),
    "attention": lambda p, a, b, k, t: (F.softmax(a[:, :, None] * b[:, None, :], -1) @ b[:, :, None])[:, :, 0],
    "rounded": lambda p, a, b, k, t: a + torch.floor(fitted(b, a.shape[1])) * 0.1,
    "stopped": lambda p, a, b, k, t: a * fitted(b, a.shape[1]).detach(),
}


class Twin(torch.nn.Module):
    """The model in PyTorch, with the same layers and parameters by the same names."""

    def __init__(self, model):
        super().__init__()
        kinds = {"linear": torch.nn.Linear, "norm": torch.nn.BatchNorm1d, "layer": torch.nn.LayerNorm}
        self.layers = torch.nn.ModuleDict()
        for name in model.layers:
            sizes = [int(each) for each in name.split("_") if each.isdigit()]
            self.layers[name] = kinds[name.split("_")[0]](*sizes, dtype=torch.float64)
        self.values = torch.nn.ParameterList([torch.tensor(each.data) for each in model.values])
        self.steps, self._places = model.steps, model._places
        self.load_state_dict({name: torch.tensor(array) for name, array in model.state_dict().items()})

    def forward(self, x, k, t):
        last, means = _run(self, x, k, t)
        return last, means

    def linear(self, into, out):
        return self.layers[f"linear_{into}_{out}"]

    def norm(self, width):
        return self.layers[f"norm_{width}"]

    def layer_norm(self, width):
        return self.layers[f"layer_norm_{width}"]

    def parameter(self, *shape):
        return self.values[self._places[shape]]


def _run(model, x, k, t):
    names, values = list(IN_TORCH), [x, x * x]
    for step, one, other in model.steps:
        a, b = values[one % len(values)], values[other % len(values)]
        y = IN_TORCH[names[step % len(names)]](model, a, b, k, t)
        values.append(y / torch.sqrt(1 + 0.1 * y * y))
    return values[-1], values[len(values) // 2].mean(1)


def in_torch(arrays):
    return [torch.from_numpy(each) for each in arrays]


def same_state(model, twin):
    theirs = twin.state_dict()
    for name, array in model.state_dict().items():
        np.testing.assert_allclose(array, theirs[name].numpy(), rtol=1e-7, atol=1e-9, err_msg=name)


def test_each_step_is_there():
    assert list(IN_TORCH) == list(STEPS)


@settings(max_examples=30)
@given(LISTS)
def test_values_gradients_and_statistics(steps):
    model = RandomModel(steps)
    twin = Twin(model)
    rng = np.random.default_rng(1)
    for count in (5, 2, 7):
        inputs = rows(count, seed=count)
        x, k, t = in_torch(inputs)
        outputs, theirs = model(*inputs), twin(x.requires_grad_(), k, t)
        gradients = tuple(rng.standard_normal(each.shape) for each in outputs)
        for one, other in zip(outputs, theirs, strict=True):
            close(one, other.detach().numpy())
        gx = model.backward(gradients)[0]
        torch.autograd.backward(theirs, in_torch(gradients))
        close(gx, x.grad.numpy())
        slopes = dict(twin.named_parameters())
        for name, parameter in model.named_parameters():
            of_theirs = slopes[name].grad
            close(parameter.grad, 0 if of_theirs is None else of_theirs.numpy())
    same_state(model, twin)


@settings(max_examples=15)
@given(LISTS)
def test_training(steps):
    """Two epochs with a short last batch."""
    model = RandomModel(depending(steps))
    twin = Twin(model)
    inputs, target = rows(11), np.linspace(-1, 1, 11)
    trainer = Trainer(model, loss, optim.SGD(model.parameters(), lr=0.02, momentum=0.9))
    assert trainer.fit(inputs, target, epochs=2, batch_size=4, shuffle=False).engine.startswith("native")
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.02, momentum=0.9)
    x, k, t, y = in_torch([*inputs, target])
    for _ in range(2):
        for first in range(0, 11, 4):
            part = slice(first, first + 4)
            optimizer.zero_grad()
            last, means = twin(x[part], k[part], t[part])
            (((last - 0.3) ** 2).mean() + ((means - y[part]) ** 2).mean()).backward()
            optimizer.step()
    same_state(model, twin)
