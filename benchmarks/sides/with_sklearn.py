"""scikit-learn's side: MLPRegressor and MLPClassifier."""

from __future__ import annotations

import warnings

import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from benchmarks.network import Network
from benchmarks.row import Timed, repeated

VERSION = f"scikit-learn {sklearn.__version__}"
warnings.simplefilter("ignore", ConvergenceWarning)  # it is given a number of epochs


def model(network: Network) -> MLPRegressor | MLPClassifier:
    """The network, its weights drawn by scikit-learn."""
    kind, adam = MLPRegressor if network.loss == "mse" else MLPClassifier, network.optimizer == "adam"
    return kind(
        hidden_layer_sizes=network.sizes[1:-1],
        solver=network.optimizer,
        alpha=0.0,
        batch_size=network.batch,
        learning_rate_init=0.001 if adam else 0.01,
        momentum=network.momentum,
        nesterovs_momentum=False,
        tol=0.0,
        n_iter_no_change=10**9,
        warm_start=True,
        random_state=0,
    )


def fit(network: Network, threads: int) -> Timed:
    """`fit`, with its shuffling; a unit is a step. The process was started for this number of threads."""
    trained, (x, t) = model(network), network.data()
    return Timed(lambda n: trained.set_params(max_iter=n).fit(x, t), network.batches)


def partial_fit(network: Network, threads: int) -> Timed:
    """`partial_fit` of some rows."""
    trained, (x, t) = model(network), network.data()
    return repeated(lambda: trained.partial_fit(x[: network.batch], t[: network.batch]))


def predict(network: Network, threads: int) -> Timed:
    """The prediction of one sample."""
    x, t = network.data()
    trained, sample = model(network).set_params(max_iter=1).fit(x, t), x[:1]
    return repeated(lambda: trained.predict(sample))
