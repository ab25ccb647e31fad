"""The papers' baseline: a network of plain for-loops, element by element, trained one sample at a time."""

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from typing import Any

import numpy as np


class Network:
    """Linear layers with ReLU between them, squared error averaged over the outputs of a sample, plain SGD.

    W[l] is (sizes[l + 1], sizes[l]) and b[l] is (sizes[l + 1],), uniform within 1 / sqrt(sizes[l]) of 0 as in torch.

    >>> network = Network([2, 25, 25, 25, 2], rng=0)
    >>> losses = network.train(x=[[0.1, 0.9], [0.5, 0.5]], t=[[1, 0], [0, 1]], lr=0.01, epochs=20)
    >>> losses[-1] < losses[0]
    True
    """

    def __init__(
        self, sizes: Sequence[int], rng: int | np.random.Generator | None = None, dtype: type[np.floating] = np.float32
    ) -> None:
        rng = np.random.default_rng(rng)
        self.dtype = dtype
        self.W, self.b, self.gW, self.gb = [], [], [], []
        for n_in, n_out in pairwise(sizes):
            bound = 1 / sqrt(n_in)
            self.W.append(self.hold(rng.uniform(-bound, bound, (n_out, n_in))))
            self.b.append(self.hold(rng.uniform(-bound, bound, n_out)))
            self.gW.append(self.hold(np.zeros((n_out, n_in))))
            self.gb.append(self.hold(np.zeros(n_out)))

    def hold(self, values: Any) -> Any:
        """Values in the network's own kind of array."""
        return np.asarray(values, self.dtype)

    def zeros(self, n: int) -> Any:
        """A vector of n zeros in the network's own kind of array."""
        return np.zeros(n, self.dtype)

    def forward(self, x: Any) -> Any:
        """The outputs for one sample; keeps every layer's input."""
        self.x = []
        for layer, (W, b) in enumerate(zip(self.W, self.b, strict=True)):
            if layer > 0:
                x = self.relu_forward(x)
            self.x.append(x)
            x = self.linear_forward(x, W, b)
        return x

    def backward(self, gy: Any) -> Any:
        """The gradient with respect to the sample, from the one with respect to the outputs; fills gW and gb."""
        for layer in reversed(range(len(self.W))):
            gy = self.linear_backward(gy, self.x[layer], self.W[layer], self.gW[layer], self.gb[layer])
            if layer > 0:
                gy = self.relu_backward(gy, self.x[layer])
        return gy

    def linear_forward(self, x: Any, W: Any, b: Any) -> Any:
        y = self.zeros(len(b))
        for o in range(len(b)):
            row = W[o]
            total = b[o]
            for i in range(len(x)):
                total += row[i] * x[i]
            y[o] = total
        return y

    def linear_backward(self, gy: Any, x: Any, W: Any, gW: Any, gb: Any) -> Any:
        gx = self.zeros(len(x))
        for o in range(len(gy)):
            row, grow, g = W[o], gW[o], gy[o]
            gb[o] = g
            for i in range(len(x)):
                grow[i] = g * x[i]
                gx[i] += g * row[i]
        return gx

    def relu_forward(self, x: Any) -> Any:
        y = self.zeros(len(x))
        for i in range(len(x)):
            y[i] = 0.0 if x[i] < 0 else x[i]
        return y

    def relu_backward(self, gy: Any, y: Any) -> Any:
        gx = self.zeros(len(y))
        for i in range(len(y)):
            if y[i] > 0:
                gx[i] = gy[i]
        return gx

    def step(self, lr: float) -> None:
        """W -= lr gW and b -= lr gb."""
        for W, b, gW, gb in zip(self.W, self.b, self.gW, self.gb, strict=True):
            for o in range(len(b)):
                row, grow = W[o], gW[o]
                b[o] -= lr * gb[o]
                for i in range(len(row)):
                    row[i] -= lr * grow[i]

    def train(self, x: Any, t: Any, lr: float, epochs: int) -> list[float]:
        """A step for each sample, in their order, `epochs` times over; the mean loss of each epoch.

        x is (N, sizes[0]) and t is (N, sizes[-1]); a sample's loss is sum_o (y[o] - t[o])^2 / sizes[-1].
        """
        x, t = self.hold(x), self.hold(t)
        losses = []
        for _ in range(epochs):
            total = 0.0
            for n in range(len(x)):
                y = self.forward(x[n])
                gy = self.zeros(len(y))
                target = t[n]
                for o in range(len(y)):
                    error = y[o] - target[o]
                    total += error * error / len(y)
                    gy[o] = 2 * error / len(y)
                self.backward(gy)
                self.step(lr)
            losses.append(float(total / len(x)))
        return losses

    def predict(self, x: Any) -> list[Any]:
        """The outputs for each sample of x (N, sizes[0])."""
        return [self.forward(sample) for sample in self.hold(x)]


class ListNetwork(Network):
    """The same network, its numbers in plain Python lists (double precision, the same initial parameters)."""

    def hold(self, values: Any) -> Any:
        return super().hold(values).tolist()

    def zeros(self, n: int) -> list[float]:
        return [0.0] * n
