"""The fully connected networks that are trained: one description, the same weights and data for every library."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Network:
    """Linear layers with ReLU between them, a loss, an optimizer and a batch size.

    loss: "mse" against random targets or "cross entropy" against random classes.
    optimizer: "sgd" (lr 0.01) or "adam" (lr 0.001).
    """

    sizes: tuple[int, ...]
    batch: int
    loss: str = "mse"
    optimizer: str = "sgd"
    momentum: float = 0.0

    @property
    def batches(self) -> int:
        """How many batches the data hold: enough for an epoch to be worth its start, some megabytes at most."""
        fitting = 2**20 // (self.batch * self.sizes[0])
        return min(max(100, 1000 // self.batch), fitting)

    def parameters(self) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """W (out, in) and b (out,) of each layer, drawn as torch draws them."""
        rng = np.random.default_rng(0)
        drawn = []
        for inputs, outputs in pairwise(self.sizes):
            bound = 1 / sqrt(inputs)
            W, b = rng.uniform(-bound, bound, (outputs, inputs)), rng.uniform(-bound, bound, outputs)
            drawn.append((W.astype(np.float32), b.astype(np.float32)))
        return drawn

    def data(self) -> tuple[NDArray[np.float32], NDArray[np.float32] | NDArray[np.int64]]:
        """x (batches * batch, in) and the targets."""
        rng = np.random.default_rng(1)
        n = self.batches * self.batch
        x = rng.standard_normal((n, self.sizes[0])).astype(np.float32)
        if self.loss == "mse":
            return x, rng.random((n, self.sizes[-1])).astype(np.float32)
        return x, rng.integers(self.sizes[-1], size=n)

    def multiply_adds(self) -> int:
        """Those of a step's matrix products: forward, weight gradients, and input gradients but for the first layer."""
        products = [inputs * outputs for inputs, outputs in pairwise(self.sizes)]
        return self.batch * (3 * sum(products) - products[0])
