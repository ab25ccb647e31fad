"""JAX's side: a compiled step, and a compiled scan over an epoch. Compile time is left out."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.network import Network
from benchmarks.row import Timed

VERSION = f"JAX {jax.__version__}, compile time left out"

LR = 0.01


def loss(parameters: list[Any], x: Any, t: Any) -> Any:
    """The mean squared error of a batch."""
    *hidden, (W_last, b_last) = parameters
    for W, b in hidden:
        x = jax.nn.relu(x @ W.T + b)
    return jnp.mean((x @ W_last.T + b_last - t) ** 2)


def descend(parameters: list[Any], batch: tuple[Any, Any]) -> tuple[list[Any], Any]:
    """A step of SGD: the new parameters and the loss before."""
    value, gradients = jax.value_and_grad(loss)(parameters, *batch)
    return jax.tree.map(lambda p, g: p - LR * g, parameters, gradients), value


def batches(network: Network) -> tuple[Any, Any]:
    """The data, batch by batch along the first axis."""
    if (network.loss, network.optimizer, network.momentum) != ("mse", "sgd", 0.0):
        raise ValueError(f"with_jax: expected squared error and plain SGD, got {network}")
    x, t = (jnp.asarray(array) for array in network.data())
    return x.reshape(network.batches, network.batch, -1), t.reshape(network.batches, network.batch, -1)


def step(network: Network, threads: int) -> Timed:
    """A jitted step, called for each batch; a unit is a step. The process was started for this number of threads."""
    x, t = batches(network)
    each = cycle([(x[i], t[i]) for i in range(network.batches)])
    jitted, parameters = jax.jit(descend), jax.tree.map(jnp.asarray, network.parameters())

    def run(n: int) -> None:
        nonlocal parameters
        value = None
        for _ in range(n):
            parameters, value = jitted(parameters, next(each))
        jax.block_until_ready((parameters, value))

    return Timed(run)


def scan(network: Network, threads: int) -> Timed:
    """A jitted `lax.scan` of the step over all batches; a unit is a step."""
    data, parameters = batches(network), jax.tree.map(jnp.asarray, network.parameters())
    jitted = jax.jit(lambda parameters, data: jax.lax.scan(descend, parameters, data))

    def run(n: int) -> None:
        nonlocal parameters
        for _ in range(n):
            parameters, values = jitted(parameters, data)
            jax.block_until_ready((parameters, values))

    return Timed(run, network.batches)
