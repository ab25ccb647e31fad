"""Random networks, criteria and options of usual sizes: native fits, whole or step by step, leave what one node by node does."""

import random
from contextlib import nullcontext

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.callbacks import Callback

F = np.float64
WIDTHS = (3, 30, 64, 128, 200, 256)
ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.GELU, nn.Sigmoid, nn.ELU, nn.SiLU, nn.LeakyReLU, nn.Softplus)


class InPython(nn.Module):
    """A factor, with a backward of its own."""

    def __init__(self):
        self.factor = nn.Parameter(np.full(1, 0.9, F))

    def forward(self, x):
        self.x = x
        return self.factor.data * x

    def backward(self, grad_output):
        self.factor.grad += np.sum(grad_output * self.x)
        return self.factor.data * grad_output


class Gate(nn.Module):
    """Forward alone, with a parameter and a buffer."""

    def __init__(self, width):
        self.gate, self.mean = nn.Parameter(np.linspace(-0.5, 0.5, width)), nn.Buffer(np.zeros(width))

    def forward(self, x):
        if self.training:
            self.mean.update(0.9 * self.mean + 0.1 * np.mean(x, axis=0))
        return x / (1 + np.exp(-self.gate * x)) + 0.1 * self.mean


class Sum(nn.Module):
    """Forward alone, of two bodies."""

    def __init__(self, one, other):
        self.one, self.other = one, other

    def forward(self, x):
        return 0.5 * self.one(x) + np.tanh(self.other(x))


class StepByStep(Callback):
    """Has every step be a call of its own."""

    watches = False

    def on_step_end(self, *_):
        pass


def linear(draws, inputs, outputs):
    return nn.Linear(inputs, outputs, bias=draws.random() < 0.8, rng=draws.randrange(999), dtype=F)


def stack(draws, width, depth, outputs):
    """Random layers from so many numbers to others."""
    layers = []
    for _ in range(draws.randint(1, 4)):
        kind = draws.choices(range(9), (8, 4, 1, 1, 1, 1, 1, 2 * bool(depth), 2 * bool(depth)))[0]
        if kind == 0:
            layers.append(linear(draws, width, width := draws.choice(WIDTHS)))
        elif kind == 1:
            layers.append(draws.choice(ACTIVATIONS)())
        elif kind == 2:
            layers.append(nn.Dropout(0.2))
        elif kind < 5:
            layers.append((nn.BatchNorm1d, nn.LayerNorm)[kind - 3](width, dtype=F))
        elif kind == 5:
            layers.append(InPython())
        elif kind == 6:
            layers.append(Gate(width))
        elif kind == 7:
            layers.append(nn.Residual(stack(draws, width, depth - 1, width)))
        else:
            layers.append(Sum(stack(draws, width, depth - 1, width), linear(draws, width, width)))
        last = layers[-1]
        if isinstance(last, nn.Linear) and last.weight.shape == (width, width) and draws.random() < 0.2:
            layers.append(last)  # one layer in two places
    return nn.Sequential(*layers, linear(draws, width, outputs))


class Scaled(nn.Module):
    """Forward alone: channels by what their means say."""

    def __init__(self, channels):
        self.gate = nn.Parameter(np.linspace(-0.5, 0.5, channels))

    def forward(self, x):
        return x * np.tanh(self.gate[:, None, None] * np.mean(x, axis=(2, 3), keepdims=True))


def convolution(draws, inputs, outputs, stride=1):
    groups, size = draws.choice([1, 1, inputs]) if outputs % inputs == 0 else 1, draws.choice([1, 3])
    return nn.Conv2d(
        inputs,
        outputs,
        size,
        stride=stride,
        padding=size // 2,
        groups=groups,
        bias=draws.random() < 0.8,
        rng=draws.randrange(999),
        dtype=F,
    )


def images(draws, channels, side, depth):
    """Random layers of images, with their channels and their side; those within others keep both."""
    layers, outermost = [], depth == 2
    for _ in range(draws.randint(1, 4)):
        kind = draws.choices(range(9), (6, 4, 1, 1, 1, 1, 3 * outermost, 2 * bool(depth), 2 * bool(depth)))[0]
        if kind == 0:
            outputs, stride = (draws.choice([2, 4, 8, 16]), draws.choice([1, 1, 2])) if outermost else (channels, 1)
            layers.append(convolution(draws, channels, outputs, stride))
            channels, side = outputs, -(-side // stride)
        elif kind == 1:
            layers.append(draws.choice(ACTIVATIONS)())
        elif kind == 2:
            layers.append(draws.choice([nn.Dropout, nn.Dropout2d])(0.2))
        elif kind == 3:
            layers.append(nn.BatchNorm2d(channels, dtype=F))
        elif kind == 4:
            layers.append(InPython())
        elif kind == 5:
            layers.append(Scaled(channels))
        elif kind == 6 and side >= 2:
            layers.append(draws.choice([nn.MaxPool2d, nn.AvgPool2d])(2))
            side //= 2
        elif kind == 7:
            layers.append(nn.Residual(images(draws, channels, side, depth - 1)[0]))
        elif kind == 8:
            layers.append(Sum(images(draws, channels, side, depth - 1)[0], convolution(draws, channels, channels)))
    return nn.Sequential(*layers), channels, side


class AsModule(nn.Module):
    """A criterion that defines forward alone."""

    def __init__(self, loss):
        self.loss = loss

    def forward(self, output, target):
        return self.loss(output, target)


def criterion(draws, loss, model):
    """A loss as it is, or what others make of it."""
    weight = model[-1].weight
    return draws.choice(
        [
            loss,
            lambda output, target: loss(output, target),
            lambda output, target: {"fit": loss(output, target), "size": 0.01 * np.mean(output**2)},
            lambda output, target: loss(output, target) + 1e-3 * np.sum(weight.data**2),
            AsModule(loss),
        ]
    )


def of_rows(draws, outputs):
    """A network of rows, their shape, and how many there are."""
    inputs = draws.choice([3, 16, 64])
    return stack(draws, inputs, 2, outputs), (inputs,), draws.choice([60, 200, 515])


def of_images(draws, outputs):
    """A network of images, their shape, and how many there are."""
    channels, side = draws.choice([1, 3]), draws.choice([6, 9, 12])
    shape = (channels, side, side)
    body, channels, side = images(draws, channels, side, 2)
    return (
        nn.Sequential(body, nn.Flatten(), linear(draws, channels * side * side, outputs)),
        shape,
        draws.choice([30, 67]),
    )


def fit(network, seed, eager=False, callbacks=(), threads=1):
    """What a random fit leaves."""
    draws, rng = random.Random(seed), np.random.default_rng(seed)
    fastdl.set_num_threads(threads)
    outputs = draws.choice([3, 10])
    model, shape, rows = network(draws, outputs)
    x, y = rng.standard_normal((rows, *shape)), rng.standard_normal((rows, outputs))
    kind, reduction = draws.choice([nn.CrossEntropyLoss, nn.MSELoss, nn.HuberLoss]), draws.choice(["mean", "sum"])
    if kind is nn.CrossEntropyLoss:
        y = rng.integers(0, outputs, rows)
    rate = 1e-2 if reduction == "mean" else 1e-4
    make = draws.choice([lambda p: optim.SGD(p, lr=rate, momentum=0.9), lambda p: optim.Adam(p, lr=1e-3)])
    trainer = Trainer(
        model,
        criterion(draws, kind(reduction=reduction), model),
        make(model.parameters()),
        clip_norm=draws.choice([None, None, None, 1.0]),
    )
    options = {
        "batch_size": draws.choice([16, 64, 128, 256, 300]),
        "shuffle": draws.random() < 0.7,
        "accumulate": draws.choice([1, 1, 1, 3]),
    }
    with fastdl.eager() if eager else nullcontext():
        history = trainer.fit(x, y, epochs=2, seed=seed, progress=False, callbacks=list(callbacks), **options)
        left = {"losses": np.array(history["loss"]), "predicted": trainer.predict(x[:50])}
    return left | dict(model.state_dict())


@pytest.mark.parametrize("seed", [*range(30), *(pytest.param(n, marks=pytest.mark.slow) for n in range(30, 200))])
@pytest.mark.parametrize("network", [of_rows, of_images])
def test_fits_leave_the_same(network, seed, threads):
    native, by_steps = fit(network, seed), fit(network, seed, callbacks=[StepByStep()], threads=2)
    wanted = fit(network, seed, eager=True)
    assert native.keys() == wanted.keys()
    for name, array in wanted.items():
        bound = 1e-6 * max(1e-3, np.abs(array).max(initial=0))
        np.testing.assert_allclose(native[name], array, rtol=0, atol=bound, err_msg=name)
        np.testing.assert_array_equal(native[name], by_steps[name], err_msg=name)
