"""Random models of up to 30 operations: of fastdl's layers, shared parameters and NumPy's functions, by a list of numbers.

A model has three inputs: floating rows (N, 4), class numbers (N,) and truth values (N, 3). Each step takes one or two of the
earlier values, all of shape (N, width), and makes another. The functions are written once for fastdl, here, and once for PyTorch,
in the test beside PyTorch.
"""

import numpy as np

from fastdl import nn, stop_gradient
from fastdl.nn import functional

WIDEST = 6
CLASSES = 5


def fitted(a, width):
    """A value with as many columns: the first ones, or repeated."""
    while a.shape[1] < width:
        a = np.concatenate([a, a], axis=1)
    return a[:, :width]


# By name: what a step makes of the parts, two values, the class numbers and the truth values.
STEPS = {
    "linear": lambda p, a, b, k, t: p.linear(a.shape[1], b.shape[1])(a),
    "tied": lambda p, a, b, k, t: a @ p.weight(b.shape[1], a.shape[1]),
    "normalized weight": lambda p, a, b, k, t: functional.linear(
        a, functional.normalize(p.weight(a.shape[1], 3)), p.linear(a.shape[1], 3).bias
    ),
    "batch norm": lambda p, a, b, k, t: p.norm(a.shape[1])(a),
    "layer norm": lambda p, a, b, k, t: p.layer_norm(a.shape[1])(a),
    "relu": lambda p, a, b, k, t: functional.relu(a),
    "gelu": lambda p, a, b, k, t: functional.gelu(a),
    "softmax": lambda p, a, b, k, t: functional.softmax(a),
    "scale": lambda p, a, b, k, t: a * p.parameter(a.shape[1]),
    "number": lambda p, a, b, k, t: np.sin(a * p.parameter()),
    "gate": lambda p, a, b, k, t: functional.sigmoid(a) * np.tanh(fitted(b, a.shape[1])),
    "add": lambda p, a, b, k, t: a + fitted(b, a.shape[1]),
    "divide": lambda p, a, b, k, t: a / (2 + fitted(b, a.shape[1]) ** 2),
    "larger": lambda p, a, b, k, t: np.maximum(a, fitted(b, a.shape[1])),
    "where": lambda p, a, b, k, t: np.where(fitted(t, a.shape[1]), a, fitted(b, a.shape[1])),
    "rows": lambda p, a, b, k, t: np.take(p.parameter(CLASSES, a.shape[1]), k, axis=0) + a,
    "picked": lambda p, a, b, k, t: a * np.take_along_axis(fitted(b, CLASSES), k[:, None], axis=1),
    "joined": lambda p, a, b, k, t: np.concatenate([a, b], axis=1)[:, :WIDEST],
    "cut": lambda p, a, b, k, t: a[:, 1:] if a.shape[1] > 2 else a,
    "turned": lambda p, a, b, k, t: np.flip(a, 1) - np.roll(a, 1, axis=1),
    "sum": lambda p, a, b, k, t: a - np.sum(a, axis=1, keepdims=True),
    "batch": lambda p, a, b, k, t: a - np.mean(a, axis=0, keepdims=True),
    "spread": lambda p, a, b, k, t: a / (1 + np.var(a, axis=0, keepdims=True)),
    "largest": lambda p, a, b, k, t: a - np.max(a, axis=1, keepdims=True),
    "log sum": lambda p, a, b, k, t: a - functional.logsumexp(a, 1, keepdim=True),
    "cumulated": lambda p, a, b, k, t: np.cumsum(a, axis=1) * 0.5,
    "sorted": lambda p, a, b, k, t: np.sort(a, axis=1),
    "product": lambda p, a, b, k, t: np.sum(a[:, :, None] * b[:, None, :], axis=2),
    "attention": lambda p, a, b, k, t: np.matmul(functional.softmax(a[:, :, None] * b[:, None, :]), b[:, :, None])[
        :, :, 0
    ],
    "rounded": lambda p, a, b, k, t: a + np.floor(fitted(b, a.shape[1])) * 0.1,
    "stopped": lambda p, a, b, k, t: a * stop_gradient(fitted(b, a.shape[1])),
}


def bounded(a):
    """A value that stays small, so that thirty steps do."""
    return a / np.sqrt(1 + 0.1 * a * a)


def run(model, steps, functions, x, k, t):
    """What a list of (step, one value, another one) computes with the parts of a model: rows, and one number for each."""
    names, values = list(functions), [x, x * x]
    for step, one, other in steps:
        a, b = values[one % len(values)], values[other % len(values)]
        values.append(bounded(functions[names[step % len(names)]](model, a, b, k, t)))
    return values[-1], np.mean(values[len(values) // 2], axis=1)


def depending(steps):
    """The steps between a linear layer and one that adds what it made to the last value: the output depends on parameters."""
    names = list(STEPS)
    return [(names.index("linear"), 0, 1), *steps, (names.index("add"), len(steps) + 2, 2)]


class RandomModel(nn.Module):
    """The model of such a list. Its layers and parameters are named by what they are for: steps of the same widths share them."""

    def __init__(self, steps):
        self.steps, self._makes, self._rng = steps, True, np.random.default_rng(0)
        self.layers, self.values, self._places = nn.ModuleDict({}), nn.ParameterList([]), {}
        run(self, steps, STEPS, np.ones((2, 4)), np.zeros(2, np.int64), np.zeros((2, 3), bool))
        self._makes = False
        for layer in self.layers.values():
            if isinstance(layer, nn.BatchNorm1d):
                layer.reset_running_stats()

    def forward(self, x, k, t):
        return run(self, self.steps, STEPS, x, k, t)

    def _layer(self, name, make, *sizes, **options):
        if name not in self.layers:
            self.layers[name] = make(*sizes, **options, dtype=np.float64)
        return self.layers[name]

    def linear(self, into, out):
        return self._layer(f"linear_{into}_{out}", nn.Linear, into, out, rng=100 * into + out)

    def weight(self, into, out):
        weight = self.linear(into, out).weight
        return weight.data if self._makes else weight

    def norm(self, width):
        return self._layer(f"norm_{width}", nn.BatchNorm1d, width)

    def layer_norm(self, width):
        return self._layer(f"layer_norm_{width}", nn.LayerNorm, width)

    def parameter(self, *shape):
        if shape not in self._places:
            self._places[shape] = len(self.values)
            self.values.append(nn.Parameter(self._rng.uniform(0.5, 1.5, shape)))
        parameter = self.values[self._places[shape]]
        return parameter.data if self._makes else parameter
