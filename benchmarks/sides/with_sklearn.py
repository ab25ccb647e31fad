"""scikit-learn's side: MLPRegressor, one step at a time."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import sklearn
from sklearn.neural_network import MLPRegressor

from benchmarks.network import Network
from benchmarks.row import Timed, repeated

VERSION = f"scikit-learn {sklearn.__version__}"


def loop(network: Network, threads: int) -> Timed:
    """`partial_fit` of one batch; a unit is a step. The process was started for this number of threads."""
    x, t = (np.split(array, network.batches) for array in network.data())
    model = MLPRegressor(
        hidden_layer_sizes=network.sizes[1:-1],
        solver="sgd",
        alpha=0.0,
        batch_size=network.batch,
        learning_rate_init=0.01,
        momentum=network.momentum,
        nesterovs_momentum=False,
        random_state=0,
    )
    batches = cycle(list(zip(x, t, strict=True)))
    return repeated(lambda: model.partial_fit(*next(batches)))
