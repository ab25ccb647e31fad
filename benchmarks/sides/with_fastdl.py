"""fastdl's side."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ctypes import CDLL
from itertools import cycle, pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastdl
from benchmarks.busy import Busy
from benchmarks.network import Network
from benchmarks.policy import Policy
from benchmarks.row import Reading, Timed, repeated
from benchmarks.stack import LayerCall, Stack
from fastdl import Trainer, nn, no_grad, optim
from fastdl._kernels.gemm import gemm
from fastdl.callbacks import Callback

# So many times a reading is taken, and epochs of a fit that one is taken of.
SOME, EPOCHS = 15, 50
VERSION = f"fastdl {fastdl.__version__}, CPU level {fastdl.cpu_level()}, {fastdl.build_info()['compiler']}"


def sequential(network: Network) -> nn.Sequential:
    """The network with its weights."""
    layers: list[nn.Module] = []
    for W, b in network.parameters():
        linear = nn.Linear(W.shape[1], W.shape[0])
        for parameter, values in zip(linear.parameters(), (W, b), strict=True):
            parameter.data = values
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def parts(network: Network) -> tuple[nn.Sequential, nn.Loss, optim.Optimizer]:
    """Model, criterion and optimizer."""
    model = sequential(network)
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


def beside_busy(function: str, *arguments: Any) -> Timed:
    """Another of these functions' work, while another process keeps one of the processors busy."""
    work, busy = globals()[function](*arguments), Busy()

    def run(n: int) -> None:
        with busy:
            work.run(n)

    return Timed(run, work.units)


def one_batch(network: Network) -> tuple[NDArray[Any], NDArray[Any]]:
    """The rows of one step."""
    x, t = network.data()
    return x[: network.batch], t[: network.batch]


def fit_again(network: Network, threads: int) -> Timed:
    """A fit of one step, of a trainer that has fitted before."""
    fastdl.set_num_threads(threads)
    trainer, (x, t) = Trainer(*parts(network)), one_batch(network)
    return repeated(lambda: trainer.fit(x, t, epochs=1, batch_size=network.batch, progress=False))


def first_fit(network: Network, threads: int) -> Reading:
    """The first fit, of one step, of a new trainer: the median of some, in microseconds."""
    fastdl.set_num_threads(threads)
    x, t = one_batch(network)

    def first() -> float:
        trainer = Trainer(*parts(network))
        start = time.perf_counter()
        trainer.fit(x, t, epochs=1, batch_size=network.batch, progress=False)
        return 1e6 * (time.perf_counter() - start)

    return Reading(lambda: median(first() for _ in range(SOME)))


def making(network: Network, threads: int) -> Timed:
    """Model, optimizer and trainer, their weights drawn."""
    fastdl.set_num_threads(threads)

    def make() -> None:
        layers = [(nn.Linear(*pair), nn.ReLU()) for pair in pairwise(network.sizes)]
        model = nn.Sequential(*[each for pair in layers for each in pair][:-1])
        Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.01))

    return repeated(make)


def steps(network: Network, threads: int) -> Timed:
    """`Trainer.step` on one batch."""
    fastdl.set_num_threads(threads)
    trainer, (x, t) = Trainer(*parts(network)), one_batch(network)
    return repeated(lambda: trainer.step(x, t))


def fit_batches(network: Network, threads: int) -> Timed:
    """A fit over an iterable of batches; a unit is a step."""
    fastdl.set_num_threads(threads)
    trainer = Trainer(*parts(network))
    x, t = (np.split(array, network.batches) for array in network.data())
    batches = list(zip(x, t, strict=True))
    return Timed(lambda n: trainer.fit(batches, epochs=n, progress=False), network.batches)


class Watches(Callback):
    """Looks at each step."""

    def on_step_end(self, trainer: Trainer, step: int, loss: float) -> None:
        """Nothing more."""


def fit_watched(network: Network, threads: int) -> Timed:
    """A fit with a callback on steps; a unit is a step."""
    fastdl.set_num_threads(threads)
    trainer, (x, t) = Trainer(*parts(network)), network.data()
    options: dict[str, Any] = {"batch_size": network.batch, "progress": False, "callbacks": [Watches()]}
    return Timed(lambda n: trainer.fit(x, t, epochs=n, **options), network.batches)


def validation_overhead(network: Network, threads: int) -> Reading:
    """What a validation adds to an epoch of one step beyond its evaluation: the median of some, in microseconds."""
    fastdl.set_num_threads(threads)
    trainer, (x, t) = Trainer(*parts(network)), one_batch(network)
    options: dict[str, Any] = {"epochs": EPOCHS, "batch_size": network.batch, "progress": False}

    def taken(call: Callable[[], object]) -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    def overhead() -> float:
        with_one = taken(lambda: trainer.fit(x, t, validation_data=(x, t), **options))
        without = taken(lambda: trainer.fit(x, t, **options))
        evaluations = taken(lambda: [trainer.evaluate(x, t) for _ in range(EPOCHS)])
        return 1e6 * (with_one - without - evaluations) / EPOCHS

    return Reading(lambda: median(overhead() for _ in range(SOME)))


def partial_fit(network: Network, threads: int) -> Timed:
    """An estimator's `partial_fit` of some rows."""
    from fastdl.estimators import MLPRegressor  # which needs scikit-learn

    fastdl.set_num_threads(threads)
    x, t = one_batch(network)
    model = MLPRegressor(hidden_layer_sizes=network.sizes[1:-1], solver="sgd", batch_size=network.batch, random_state=0)
    return repeated(lambda: model.partial_fit(x, t))


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


def predict(network: Network, threads: int) -> Timed:
    """The prediction of one sample."""
    fastdl.set_num_threads(threads)
    model, x = sequential(network).eval(), network.data()[0][:1]

    def call() -> None:
        with no_grad():
            model(x)

    return repeated(call)


def fit_stack(stack: Stack, threads: int) -> Timed:
    """`Trainer.fit` of a stack of layers; a unit is a step."""
    fastdl.set_num_threads(threads)
    model, (x, t) = nn.Sequential(*(each.of(nn) for each in stack.layers)), stack.data()
    make, lr = {"adam": (optim.Adam, 0.001), "sgd": (optim.SGD, 0.01)}[stack.optimizer]
    trainer = Trainer(model, nn.CrossEntropyLoss(), make(model.parameters(), lr=lr))
    return Timed(lambda n: trainer.fit(x, t, epochs=n, batch_size=stack.batch, seed=0, progress=False), stack.batches)


def layer(each: LayerCall, shape: tuple[int, ...], dtype: str, threads: int) -> Timed:
    """Forward and backward of a layer."""
    fastdl.set_num_threads(threads)
    rng = np.random.default_rng(0)
    subject, x = each.of(nn).astype(dtype), rng.standard_normal(shape).astype(dtype)
    gy = rng.standard_normal(subject(x).shape).astype(dtype)

    def call() -> None:
        subject(x)
        subject.backward(gy)

    return repeated(call)


def sliced(layers: tuple[LayerCall, ...], shape: tuple[int, ...], cut: bool, threads: int) -> Timed:
    """Forward and backward of a model, of one layer alone, on slices of axis 1, or on arrays that are copied before."""
    fastdl.set_num_threads(threads)
    rng = np.random.default_rng(0)
    parts = [each.of(nn) for each in layers]
    subject = nn.Sequential(*parts) if len(parts) > 1 else parts[0]

    def slice_of(array: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([array, array], axis=1)[:, : array.shape[1]] if cut else array

    x = rng.standard_normal(shape).astype(np.float32)
    gy = slice_of(rng.standard_normal(subject(x).shape).astype(np.float32))
    x = slice_of(x)

    def call() -> None:
        subject(x if cut else x.copy())
        subject.backward(gy if cut else gy.copy())

    return repeated(call)


def step_memory(each: LayerCall, shape: tuple[int, ...], threads: int) -> Reading:
    """The most memory that forward and backward take beyond x, y, gx, gy, weights and their gradients, in MiB."""
    fastdl.set_num_threads(threads)
    subject, other, x = each.of(nn), nn.Conv2d(1, 1, 3), np.ones(shape, np.float32)
    other.backward(other(np.ones((64, 1, 64, 64), np.float32)))  # threads and code are there
    for parameter in subject.parameters():
        parameter.grad.fill(0)  # its pages are there
    CDLL(None).malloc_trim(0)  # what was freed is given back, so that it does not hide what is taken
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = memory("VmRSS")
    y = subject(x)
    gy = np.ones_like(y)
    gx = subject.backward(gy)
    beyond = (memory("VmHWM") - before - y.nbytes - gy.nbytes - gx.nbytes) / 2**20
    return Reading(lambda: beyond)  # measured once: what a step has taken stays there for the next


def memory(name: str) -> int:
    """A line of the system's account of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


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


class ActorCritic(nn.Module):
    """The policy's scores and its value, of one body."""

    def __init__(self, policy: Policy) -> None:
        sizes = policy.observed, *policy.widths
        layers = [(nn.Linear(*pair, rng=n), nn.Tanh()) for n, pair in enumerate(pairwise(sizes))]
        self.body = nn.Sequential(*(layer for pair in layers for layer in pair))
        self.policy = nn.Linear(sizes[-1], policy.actions, rng=7)
        self.value = nn.Linear(sizes[-1], 1, rng=8)

    def forward(self, x: Any) -> Any:
        h = self.body(x)
        return self.policy(h), self.value(h)[:, 0]


def clipped_loss(output: Any, batch: Any) -> Any:
    """PPO's loss of the policy, of the value, and for entropy."""
    scores, value = output
    logp = nn.functional.log_softmax(scores)
    ratio = np.exp(np.take_along_axis(logp, batch["action"][:, None], axis=1)[:, 0] - batch["logp"])
    gain = np.minimum(ratio * batch["advantage"], np.clip(ratio, 0.8, 1.2) * batch["advantage"])
    entropy = -np.mean(np.sum(np.exp(logp) * logp, axis=1))
    return np.mean(-gain + 0.5 * (value - batch["returned"]) ** 2) - 0.01 * entropy


def fit_policy(policy: Policy, threads: int) -> Timed:
    """Epochs of updates in one fit; a unit is an update."""
    fastdl.set_num_threads(threads)
    model, (x, targets) = ActorCritic(policy), policy.data()
    trainer = Trainer(model, clipped_loss, optim.Adam(model.parameters(), lr=policy.lr), clip_norm=policy.clip_norm)
    return Timed(lambda n: trainer.fit(x, targets, epochs=n, batch_size=policy.batch), policy.rows // policy.batch)


def observe(policy: Policy, threads: int) -> Timed:
    """The scores for one observation, as a loop in an environment asks for them."""
    fastdl.set_num_threads(threads)
    sizes = policy.observed, *policy.widths
    layers = [(nn.Linear(*pair, rng=n), nn.Tanh()) for n, pair in enumerate(pairwise(sizes))]
    model = nn.Sequential(*(layer for pair in layers for layer in pair), nn.Linear(sizes[-1], policy.actions)).eval()
    x = policy.data()[0][:1]

    def call() -> None:
        with nn.no_grad():
            model(x)

    return repeated(call)
