"""thinc's side."""

from __future__ import annotations

from importlib.metadata import version
from itertools import cycle, pairwise

import numpy as np
from thinc.api import SGD, Linear, NumpyOps, Relu, chain, set_current_ops

from benchmarks.network import Network
from benchmarks.row import Timed, repeated

VERSION = f"thinc {version('thinc')}"


def loop(network: Network, threads: int) -> Timed:
    """begin_update, backprop, finish_update; a unit is a step. The process was started for this number of threads."""
    set_current_ops(NumpyOps())
    *hidden, last = [(outputs, inputs) for inputs, outputs in pairwise(network.sizes)]
    model = chain(*(Relu(*shape) for shape in hidden), Linear(*last))
    x, t = (np.split(array, network.batches) for array in network.data())
    model.initialize(X=x[0], Y=t[0])
    optimizer = SGD(0.01, use_averages=False)
    batches = cycle(list(zip(x, t, strict=True)))

    def step() -> None:
        x, t = next(batches)
        y, backprop = model.begin_update(x)
        error = y - t
        np.mean(error * error)
        backprop(error * (2 / error.size))
        model.finish_update(optimizer)

    return repeated(step)
