"""The papers' experiments on computation time: their network, their data, and what training must come to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdl import Trainer, data, nn, optim
from fastdl.reference.network import ListNetwork, Network

SIZES, LR = (2, 25, 25, 25, 2), 0.01
Parameters = list[NDArray[Any]]


class Points(NamedTuple):
    """Standardized points of the disk and their labels one-hot: those to train and those to test."""

    x: NDArray[np.float32]
    t: NDArray[np.float32]
    x_test: NDArray[np.float32]
    labels: NDArray[np.int64]


def points(n: int) -> Points:
    """n points to train and n to test."""
    (x, y), (x_test, labels) = data.disk(n, rng=0), data.disk(n, rng=1)
    x, x_test = data.standardize(x, x_test)
    return Points(x, np.eye(2, dtype=np.float32)[y], x_test, labels)


class Outcome(NamedTuple):
    """What training comes to: W and b of each layer in turn, and how many test points the network takes wrong."""

    parameters: Parameters
    errors: int


# A way to train: from points, epochs and batch size.
Way = Callable[[Points, int, int], Outcome]


def naive(kind: type[Network]) -> Way:
    """for-loops, one sample at a time: built, trained and tested."""

    def built_trained_tested(points: Points, epochs: int, batch: int) -> Outcome:
        network = kind(SIZES, rng=0)
        network.train(points.x, points.t, LR, epochs)
        parameters = [np.array(each) for pair in zip(network.W, network.b, strict=True) for each in pair]
        return Outcome(parameters, wrong(network.predict(points.x_test), points.labels))

    return built_trained_tested


loops_over_arrays, loops_over_lists = naive(Network), naive(ListNetwork)


class Parts(NamedTuple):
    """What fastdl trains."""

    model: nn.Sequential
    criterion: nn.MSELoss
    optimizer: optim.SGD

    @property
    def parameters(self) -> Parameters:
        """W and b of each layer in turn."""
        return [parameter.data for parameter in self.model.parameters()]


def parts() -> Parts:
    """fastdl's model, criterion and optimizer, with the naive network's initial parameters."""
    start, layers = Network(SIZES, rng=0), []
    for W, b in zip(start.W, start.b, strict=True):
        linear = nn.Linear(W.shape[1], W.shape[0])
        linear.weight.data, linear.bias.data = W, b
        layers += [linear, nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    return Parts(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=LR))


def explicit_loop(parts: Parts, points: Points, epochs: int, batch: int) -> None:
    """The loop written out."""
    model, criterion, optimizer = parts
    for _ in range(epochs):
        for x, t in data.batches(points.x, points.t, batch, shuffle=False):
            optimizer.zero_grad()
            criterion(model(x), t)
            model.backward(criterion.backward())
            optimizer.step()


def fit(parts: Parts, points: Points, epochs: int, batch: int) -> None:
    """`Trainer.fit`; nothing is shuffled, as in the papers."""
    Trainer(*parts).fit(points.x, points.t, epochs=epochs, batch_size=batch, shuffle=False, progress=False)


def fastdl(train: Callable[[Parts, Points, int, int], None]) -> Way:
    """fastdl built, trained in one of its ways and tested."""

    def built_trained_tested(points: Points, epochs: int, batch: int) -> Outcome:
        made = parts()
        train(made, points, epochs, batch)
        return Outcome(made.parameters, wrong(made.model(points.x_test), points.labels))

    return built_trained_tested


def matrices(points: Points, epochs: int, batch: int) -> Outcome:
    """What it must come to: NumPy's matrix products in double precision, each gradient written down here."""
    start = Network(SIZES, rng=0, dtype=np.float64)
    W, b = [np.float32(each).astype(float) for each in start.W], [np.float32(each).astype(float) for each in start.b]
    for _ in range(epochs):
        for first in range(0, len(points.x), batch):
            x, t = points.x[first : first + batch].astype(float), points.t[first : first + batch]
            kept = forward(W, b, x)
            gy = 2 * (kept[-1] - t) / t.size
            for layer in reversed(range(len(W))):
                gx = gy @ W[layer] * (kept[layer] > 0)
                W[layer] -= LR * gy.T @ kept[layer]
                b[layer] -= LR * gy.sum(axis=0)
                gy = gx
    last = forward(W, b, points.x_test)[-1]
    return Outcome([each for pair in zip(W, b, strict=True) for each in pair], wrong(last, points.labels))


def forward(W: Parameters, b: Parameters, x: NDArray[Any]) -> list[NDArray[Any]]:
    """The input of each layer, and the outputs."""
    kept = [x]
    for layer in range(len(W)):
        y = kept[-1] @ W[layer].T + b[layer]
        kept.append(np.maximum(y, 0) if layer < len(W) - 1 else y)
    return kept


def wrong(outputs: Any, labels: NDArray[np.int64]) -> int:
    """How many samples have their largest output elsewhere."""
    return int((np.argmax(np.asarray(outputs), axis=1) != labels).sum())
