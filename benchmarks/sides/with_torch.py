"""PyTorch's side: eager mode."""

from __future__ import annotations

from itertools import cycle, pairwise
from typing import Any

import torch

from benchmarks.network import Network
from benchmarks.policy import Policy
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


class ActorCritic(torch.nn.Module):
    """The policy's scores and its value, of one body."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.body = body(policy)
        self.policy = torch.nn.Linear(policy.widths[-1], policy.actions)
        self.value = torch.nn.Linear(policy.widths[-1], 1)

    def forward(self, x: Any) -> Any:
        h = self.body(x)
        return self.policy(h), self.value(h)[:, 0]


def body(policy: Policy) -> torch.nn.Sequential:
    """The layers that the policy and the value share."""
    sizes = policy.observed, *policy.widths
    layers = [(torch.nn.Linear(*pair), torch.nn.Tanh()) for pair in pairwise(sizes)]
    return torch.nn.Sequential(*(layer for pair in layers for layer in pair))


def clipped_loss(output: Any, batch: Any) -> Any:
    """PPO's loss of the policy, of the value, and for entropy."""
    scores, value = output
    logp = torch.log_softmax(scores, 1)
    ratio = torch.exp(logp.gather(1, batch["action"][:, None])[:, 0] - batch["logp"])
    gain = torch.minimum(ratio * batch["advantage"], ratio.clamp(0.8, 1.2) * batch["advantage"])
    entropy = -torch.mean(torch.sum(torch.exp(logp) * logp, 1))
    return torch.mean(-gain + 0.5 * (value - batch["returned"]) ** 2) - 0.01 * entropy


def loop_policy(policy: Policy, threads: int) -> Timed:
    """The explicit loop over batches that are ready; a unit is an update."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = ActorCritic(policy)
    optimizer = torch.optim.Adam(model.parameters(), lr=policy.lr)
    x, targets = policy.data()
    parts = {name: torch.from_numpy(array).split(policy.batch) for name, array in targets.items()}
    rows = [dict(zip(parts, each, strict=True)) for each in zip(*parts.values(), strict=True)]
    batches = cycle(list(zip(torch.from_numpy(x).split(policy.batch), rows, strict=True)))

    def step() -> None:
        observed, batch = next(batches)
        optimizer.zero_grad()
        clipped_loss(model(observed), batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), policy.clip_norm)
        optimizer.step()

    return repeated(step)


def observe(policy: Policy, threads: int) -> Timed:
    """The scores for one observation."""
    torch.set_num_threads(threads)
    model = torch.nn.Sequential(body(policy), torch.nn.Linear(policy.widths[-1], policy.actions)).eval()
    x = torch.from_numpy(policy.data()[0][:1])

    def call() -> None:
        with torch.no_grad():
            model(x)

    return repeated(call)
