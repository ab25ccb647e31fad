"""PyTorch's side: eager mode."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import torch

from benchmarks.network import Network
from benchmarks.row import Timed, repeated
from benchmarks.stack import LayerCall, Stack

VERSION = f"PyTorch {torch.__version__}, eager"


def sequential(network: Network) -> torch.nn.Sequential:
    """The network with its weights."""
    layers: list[torch.nn.Module] = []
    for W, b in network.parameters():
        linear = torch.nn.Linear(W.shape[1], W.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W))
            linear.bias.copy_(torch.from_numpy(b))
        layers += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def loop(network: Network, threads: int) -> Timed:
    """The explicit loop over batches that are ready; a unit is a step."""
    torch.set_num_threads(threads)
    model = sequential(network)
    criterion = torch.nn.MSELoss() if network.loss == "mse" else torch.nn.CrossEntropyLoss()
    if network.optimizer == "adam":
        optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=network.momentum)
    return steps(model, criterion, optimizer, network.data(), network.batch)


def loop_stack(stack: Stack, threads: int) -> Timed:
    """The explicit loop over a stack of layers; a unit is a step."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = torch.nn.Sequential(*(each.of(torch.nn) for each in stack.layers))
    make, lr = {"adam": (torch.optim.Adam, 0.001), "sgd": (torch.optim.SGD, 0.01)}[stack.optimizer]
    return steps(model, torch.nn.CrossEntropyLoss(), make(model.parameters(), lr=lr), stack.data(), stack.batch)


def steps(model: Any, criterion: Any, optimizer: Any, data: Any, batch: int) -> Timed:
    """Training steps over batches that are ready."""
    parts = [torch.from_numpy(array).split(batch) for array in data]
    batches = cycle(list(zip(*parts, strict=True)))

    def step() -> None:
        x, t = next(batches)
        optimizer.zero_grad()
        criterion(model(x), t).backward()
        optimizer.step()

    return repeated(step)


def layer(each: LayerCall, shape: tuple[int, ...], dtype: str, threads: int) -> Timed:
    """Forward and backward of a layer, the input's gradient included."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    kind = getattr(torch, dtype)
    subject, x = each.of(torch.nn).to(kind), torch.randn(shape, dtype=kind, requires_grad=True)
    gy = torch.randn_like(subject(x))

    def call() -> None:
        x.grad = None
        subject.zero_grad()
        subject(x).backward(gy)

    return repeated(call)


def predict(network: Network, threads: int) -> Timed:
    """The prediction of one sample."""
    torch.set_num_threads(threads)
    model, x = sequential(network).eval(), torch.from_numpy(network.data()[0][:1])

    def call() -> None:
        with torch.inference_mode():
            model(x)

    return repeated(call)
