"""JAX's side: a compiled step, and a compiled scan over an epoch. Compile time is left out."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.network import Network
from benchmarks.row import Timed, repeated

VERSION = f"JAX {jax.__version__}, compile time left out"


def outputs(parameters: list[Any], x: Any) -> Any:
    """The network's."""
    *hidden, (W_last, b_last) = parameters
    for W, b in hidden:
        x = jax.nn.relu(x @ W.T + b)
    return x @ W_last.T + b_last


def loss(kind: str, parameters: list[Any], x: Any, t: Any) -> Any:
    """The mean loss of a batch."""
    y = outputs(parameters, x)
    if kind == "mse":
        return jnp.mean((y - t) ** 2)
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(y), t[:, None], axis=1))


def start(network: Network) -> tuple[Any, ...]:
    """Parameters, what the optimizer keeps of each, and the number of the step."""
    parameters = jax.tree.map(jnp.asarray, network.parameters())
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    if network.optimizer == "adam":
        return parameters, (zeros, zeros), jnp.zeros(())
    return parameters, (zeros,) if network.momentum else (), jnp.zeros(())


def descend(network: Network, state: tuple[Any, ...], batch: tuple[Any, Any]) -> tuple[tuple[Any, ...], Any]:
    """A step: the new state and the loss before."""
    parameters, kept, count = state
    value, gradients = jax.value_and_grad(loss, argnums=1)(network.loss, parameters, *batch)
    count = count + 1
    if network.optimizer == "adam":
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, kept[0], gradients)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, kept[1], gradients)
        rate, root = 0.001 / (1 - 0.9**count), jnp.sqrt(1 - 0.999**count)
        moved = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) / root + 1e-8), parameters, first, second)
        return (moved, (first, second), count), value
    if network.momentum:
        kept = (jax.tree.map(lambda v, g: network.momentum * v + g, kept[0], gradients),)
        gradients = kept[0]
    return (jax.tree.map(lambda p, g: p - 0.01 * g, parameters, gradients), kept, count), value


def batches(network: Network) -> tuple[Any, Any]:
    """The data, batch by batch along the first axis."""
    x, t = (jnp.asarray(array) for array in network.data())
    return tuple(array.reshape(network.batches, network.batch, *array.shape[1:]) for array in (x, t))


def step(network: Network, threads: int) -> Timed:
    """A jitted step, called for each batch; a unit is a step. The process was started for this number of threads."""
    x, t = batches(network)
    each = cycle([(x[i], t[i]) for i in range(network.batches)])
    jitted, state = jax.jit(lambda state, batch: descend(network, state, batch)), start(network)

    def run(n: int) -> None:
        nonlocal state
        value = None
        for _ in range(n):
            state, value = jitted(state, next(each))
        jax.block_until_ready((state, value))

    return Timed(run)


def scan(network: Network, threads: int) -> Timed:
    """A jitted `lax.scan` of the step over all batches; a unit is a step."""
    data, state = batches(network), start(network)
    jitted = jax.jit(lambda state, data: jax.lax.scan(lambda *each: descend(network, *each), state, data))

    def run(n: int) -> None:
        nonlocal state
        for _ in range(n):
            state, values = jitted(state, data)
            jax.block_until_ready((state, values))

    return Timed(run, network.batches)


def predict(network: Network, threads: int) -> Timed:
    """A jitted prediction of one sample."""
    parameters, x = jax.tree.map(jnp.asarray, network.parameters()), jnp.asarray(network.data()[0][:1])
    jitted = jax.jit(outputs)
    return repeated(lambda: jax.block_until_ready(jitted(parameters, x)))
