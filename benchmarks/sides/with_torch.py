"""PyTorch's side: eager mode."""

from __future__ import annotations

from itertools import cycle

import torch

from benchmarks.network import Network
from benchmarks.row import Timed, repeated

VERSION = f"PyTorch {torch.__version__}, eager"


def loop(network: Network, threads: int) -> Timed:
    """The explicit loop over batches that are ready; a unit is a step."""
    torch.set_num_threads(threads)
    layers: list[torch.nn.Module] = []
    for W, b in network.parameters():
        linear = torch.nn.Linear(W.shape[1], W.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W))
            linear.bias.copy_(torch.from_numpy(b))
        layers += [linear, torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    criterion = torch.nn.MSELoss() if network.loss == "mse" else torch.nn.CrossEntropyLoss()
    if network.optimizer == "adam":
        optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=network.momentum)
    parts = [torch.from_numpy(array).split(network.batch) for array in network.data()]
    batches = cycle(list(zip(*parts, strict=True)))

    def step() -> None:
        x, t = next(batches)
        optimizer.zero_grad()
        criterion(model(x), t).backward()
        optimizer.step()

    return repeated(step)


def activation(kind: str, shape: tuple[int, ...], threads: int) -> Timed:
    """Forward and backward of an activation, named as its class."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    x, gy = torch.randn(shape, requires_grad=True), torch.randn(shape)
    layer = getattr(torch.nn, kind)()

    def call() -> None:
        x.grad = None
        layer(x).backward(gy)

    return repeated(call)
