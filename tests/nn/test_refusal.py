"""Layers that do not fit together: which one refused, and which one gave what it cannot take."""

import contextlib

import numpy as np
import pytest

import fastdl
from fastdl import nn
from fastdl.errors import InvalidShapeError


def linear(inputs, outputs):
    return nn.Linear(inputs, outputs, rng=0, dtype=np.float64)


def with_weight(layer, weight):
    layer.weight = nn.Parameter(weight)
    return layer


class Pairs(nn.Module):
    def forward(self, x):
        return np.stack([x, x], axis=1)


class Image(nn.Module):
    def forward(self, x):
        return x[:, None]


class Hinting(nn.Module):
    traced = False

    def forward(self, x):
        raise InvalidShapeError("Hinting()", "input of another shape", x.shape, "write another")


MISFITS = {
    "in a row": (
        lambda: nn.Sequential(linear(2, 30), linear(25, 2)),
        r"^Linear\(25, 2\): expected input of shape \(\.\.\., 25\), got \(4, 30\) from layer 0, Linear\(2, 30\)$",
    ),
    "behind layers that keep the shape": (
        lambda: nn.Sequential(
            *(linear(2, 30), nn.ReLU(), nn.Dropout(), nn.BatchNorm1d(30, dtype=np.float64), nn.Softmax()),
            *(nn.Identity(), nn.Activation(np.sin, np.cos), linear(25, 2)),
        ),
        r"got \(4, 30\) from layer 0, Linear\(2, 30\)$",
    ),
    "named": (
        lambda: nn.Sequential({"in": linear(2, 3), "out": linear(4, 2)}),
        r"got \(4, 3\) from layer in, Linear\(2, 3\)$",
    ),
    "the latest that changes": (
        lambda: nn.Sequential(linear(2, 5), linear(5, 3), linear(4, 2)),
        r"got \(4, 3\) from layer 1, Linear\(5, 3\)$",
    ),
    "inside": (
        lambda: nn.Sequential(linear(2, 3), nn.Sequential(linear(3, 30), linear(25, 2)), nn.ReLU()),
        r"got \(4, 30\) from layer 0, Linear\(3, 30\)$",
    ),
    "from outside to inside": (
        lambda: nn.Sequential(linear(2, 30), nn.Sequential(nn.ReLU(), nn.Sequential(linear(25, 2)))),
        r"got \(4, 30\) from layer 0, Linear\(2, 30\)$",
    ),
    "from inside to outside": (
        lambda: nn.Sequential(nn.Sequential(linear(2, 30), nn.Tanh()), nn.Sequential(nn.Tanh()), linear(25, 2)),
        r"got \(4, 30\) from layer 0\.0, Linear\(2, 30\)$",
    ),
    "one layer in two places": (
        lambda: nn.Sequential(tied := linear(2, 30), tied),
        r"^Linear\(2, 30\): .*, got \(4, 30\) from layer 0, Linear\(2, 30\)$",
    ),
    "in a residual": (
        lambda: nn.Sequential(linear(2, 30), nn.Residual(nn.Sequential(linear(25, 25)))),
        r"^Linear\(25, 25\): .*, got \(4, 30\) from layer 0, Linear\(2, 30\)$",
    ),
    "in a siamese": (
        lambda: nn.Sequential(nn.Flatten(), linear(2, 3), Pairs(), nn.Siamese(linear(4, 1))),
        r"^Linear\(4, 1\): .*, got \(4, 3\) from layer 2, Pairs\(\)$",
    ),
    "too few pixels": (
        lambda: nn.Sequential(Image(), nn.Conv1d(1, 1, 5, rng=0, dtype=np.float64)),
        r"^Conv1d\(1, 1, 5\): .*, got \(2,\) from layer 0, Image\(\)$",
    ),
    "nothing before": (lambda: nn.Sequential(linear(25, 2), nn.ReLU()), r"got \(4, 2\)$"),
    "nothing before that changes": (lambda: nn.Sequential(nn.Sequential(), nn.ReLU(), linear(25, 2)), r"got \(4, 2\)$"),
    "another matter": (
        lambda: nn.Sequential(linear(2, 3), nn.Residual(linear(3, 3), linear(3, 4))),
        r"got \(4, 3\) and \(4, 4\); give a shortcut$",
    ),
    "another layer's weight": (
        lambda: nn.Sequential(linear(2, 3), with_weight(linear(3, 3), np.ones((4, 3)))),
        r"expected a weight of shape \(3, 3\), got \(4, 3\)$",
    ),
    "a hint": (
        lambda: nn.Sequential(linear(2, 3), Hinting()),
        r"got \(4, 3\) from layer 0, Linear\(2, 3\); write another$",
    ),
}


@pytest.mark.parametrize(("make", "message"), MISFITS.values(), ids=MISFITS)
@pytest.mark.parametrize("grad", [True, False])
def test_a_layer_that_cannot_take_its_input_says_which_layer_gave_it(make, message, grad):
    model, x = make(), np.ones((4, 2))
    for _ in range(5):  # later calls go another way
        with (
            fastdl.no_grad() if not grad else contextlib.nullcontext(),
            pytest.raises(ValueError, match=message) as caught,
        ):
            model(x)
        assert str(caught.value).count("from layer") <= 1
        assert caught.value.__cause__ is None
