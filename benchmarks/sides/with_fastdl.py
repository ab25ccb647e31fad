"""fastdl's side."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import numpy as np

import fastdl
from benchmarks.network import Network
from benchmarks.row import Timed, repeated
from fastdl import Trainer, nn, optim
from fastdl._kernels.gemm import gemm

VERSION = f"fastdl {fastdl.__version__}, CPU level {fastdl.cpu_level()}, {fastdl.build_info()['compiler']}"


def parts(network: Network) -> tuple[nn.Sequential, nn.Loss, optim.Optimizer]:
    """Model, criterion and optimizer."""
    layers: list[nn.Module] = []
    for W, b in network.parameters():
        linear = nn.Linear(W.shape[1], W.shape[0])
        for parameter, values in zip(linear.parameters(), (W, b), strict=True):
            parameter.data = values
        layers += [linear, nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    criterion = nn.MSELoss() if network.loss == "mse" else nn.CrossEntropyLoss()
    if network.optimizer == "adam":
        return model, criterion, optim.Adam(model.parameters(), lr=0.001)
    return model, criterion, optim.SGD(model.parameters(), lr=0.01, momentum=network.momentum)


def fit(network: Network, threads: int) -> Timed:
    """`Trainer.fit`, with its shuffling and gathering; a unit is a step."""
    fastdl.set_num_threads(threads)
    trainer, (x, t) = Trainer(*parts(network)), network.data()
    return Timed(
        lambda n: trainer.fit(x, t, epochs=n, batch_size=network.batch, seed=0, progress=False), network.batches
    )


def loop(network: Network, threads: int) -> Timed:
    """The explicit loop; a unit is a step."""
    fastdl.set_num_threads(threads)
    model, criterion, optimizer = parts(network)
    batches = cycle(fastdl.data.batches(*network.data(), network.batch, shuffle=False))

    def step() -> None:
        x, t = next(batches)
        optimizer.zero_grad()
        criterion(model(x), t)
        model.backward(criterion.backward())
        optimizer.step()

    return repeated(step)


def activation(kind: str, shape: tuple[int, ...], threads: int) -> Timed:
    """Forward and backward of an activation, named as its class."""
    fastdl.set_num_threads(threads)
    rng = np.random.default_rng(0)
    x, gy = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    layer = getattr(nn, kind)()

    def call() -> None:
        layer(x)
        layer.backward(gy)

    return repeated(call)


def product(m: int, k: int, n: int, transposed: bool, threads: int) -> Timed:
    """X W, or X W^T, into an array that is there."""
    fastdl.set_num_threads(threads)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((m, k)).astype(np.float32)
    W = rng.standard_normal((n, k) if transposed else (k, n)).astype(np.float32)
    y = np.empty((m, n), np.float32)
    return repeated(lambda: gemm(x, W, None, False, transposed, False, None, 0.0, 0.0, y))


def several_fits(network: Network, models: int, at_once: bool, threads: int) -> Timed:
    """Several models fitted, each in a Python thread of its own or one after another; a unit is all of them."""
    fits = [fit(network, threads).run for _ in range(models)]
    pool = ThreadPoolExecutor(models if at_once else 1)
    return Timed(lambda n: list(pool.map(lambda each: each(n), fits)))
