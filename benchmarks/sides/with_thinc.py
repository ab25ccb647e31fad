"""thinc's side."""

from __future__ import annotations

from importlib.metadata import version
from itertools import cycle, pairwise
from typing import Any

import numpy as np
from thinc.api import SGD, Adam, Linear, NumpyOps, Relu, Softmax, chain, set_current_ops

from benchmarks.network import Network
from benchmarks.row import Timed, repeated

VERSION = f"thinc {version('thinc')}"


def model(network: Network) -> Any:
    """The network, its weights drawn by thinc."""
    set_current_ops(NumpyOps())
    *hidden, last = [(outputs, inputs) for inputs, outputs in pairwise(network.sizes)]
    return chain(*(Relu(*shape) for shape in hidden), (Linear if network.loss == "mse" else Softmax)(*last))


def loop(network: Network, threads: int) -> Timed:
    """begin_update, backprop, finish_update; a unit is a step. The process was started for this number of threads."""
    if network.momentum:
        raise ValueError("with_thinc: expected no momentum, which thinc's SGD does not have")
    x, t = network.data()
    if network.loss != "mse":
        t = np.eye(network.sizes[-1], dtype=np.float32)[t]
    x, t = np.split(x, network.batches), np.split(t, network.batches)
    trained = model(network)
    trained.initialize(X=x[0], Y=t[0])
    options = {"use_averages": False, "grad_clip": 0.0}
    optimizer = Adam(0.001, **options) if network.optimizer == "adam" else SGD(0.01, **options)
    batches = cycle(list(zip(x, t, strict=True)))

    def step() -> None:
        x, t = next(batches)
        y, backprop = trained.begin_update(x)
        error = y - t
        if network.loss == "mse":
            np.mean(error * error)
            backprop(error * (2 / error.size))
        else:  # of cross entropy, with respect to what goes into the softmax
            np.mean(np.log((y * t).sum(axis=1)))
            backprop(error / len(error))
        trained.finish_update(optimizer)

    return repeated(step)


def predict(network: Network, threads: int) -> Timed:
    """The prediction of one sample."""
    trained, (x, t) = model(network), network.data()
    sample = x[:1]
    trained.initialize(X=sample, Y=t[:1])
    return repeated(lambda: trained.predict(sample))
