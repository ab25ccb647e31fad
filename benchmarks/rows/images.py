"""Layers of images, forward and backward, and networks of them."""

from __future__ import annotations

from functools import partial
from math import prod

from benchmarks.row import Side, row, side
from benchmarks.stack import DROPOUT, LENET, LayerCall, Stack, call

IMAGES = (64, 32, 32, 32)


def layer(each: LayerCall, shape: tuple[int, ...], dtype: str = "float32") -> dict[str, Side]:
    """Forward and backward, the input's gradient included."""
    return {library: side(library, "layer", each, shape, dtype) for library in ("fastdl", "torch")}


CONVOLUTIONS = (
    ("P10", "Conv2d 1>8 5x5", call("Conv2d", 1, 8, 5), (64, 1, 28, 28), 4),
    ("P11", "Conv2d 8>16 5x5", call("Conv2d", 8, 16, 5), (64, 8, 12, 12), 1.5),
    ("P12", "Conv2d 3>32 3x3 pad 1", call("Conv2d", 3, 32, 3, padding=1), (32, 3, 32, 32), 2.5),
    ("P13 64", "Conv2d 64>64 3x3 pad 1", call("Conv2d", 64, 64, 3, padding=1), (32, 64, 32, 32), 1.0),
    ("P13 128", "Conv2d 128>128 3x3 pad 1", call("Conv2d", 128, 128, 3, padding=1), (32, 128, 16, 16), 1.0),
    ("P13 256", "Conv2d 256>256 3x3 pad 1", call("Conv2d", 256, 256, 3, padding=1), (32, 256, 8, 8), 1.0),
    ("P14", "Conv2d 64>128 1x1", call("Conv2d", 64, 128, 1), (32, 64, 16, 16), 1.2),
)
for name, words, convolution, shape, goal in CONVOLUTIONS:
    row(name, f"{words} on {shape}, forward + backward", {"torch": goal})(partial(layer, convolution, shape))
    if name in ("P10", "P12", "P13 128"):
        work = f"{words} on {shape} in float64, forward + backward"
        row(f"P15 {name}", work, {"torch": 2})(partial(layer, convolution, shape, "float64"))
    if name.startswith("P13"):
        weights = 4 * prod(convolution.arguments[:2]) * 9
        work = f"{words} on {shape}: memory of a training step beyond its arrays"
        memory = {"fastdl": side("fastdl", "step_memory", convolution, shape, threads=(2,))}
        row(f"P26 {name}", work, limit=2 * 4 + 4 * weights / 2**20, unit="MB")(partial(dict, memory))


@row("P9", "2-500-500-500-500-2, dropout 0.5, SGD, batch 100: fit, a step", {"torch": 1.3})
def dropout() -> dict[str, Side]:
    return stack(DROPOUT)


def stack(network: Stack) -> dict[str, Side]:
    """`Trainer.fit` against PyTorch's explicit loop."""
    return {"fastdl": side("fastdl", "fit_stack", network), "torch": side("torch", "loop_stack", network)}


@row("P16", f"BatchNorm2d on {IMAGES}, forward + backward", {"torch": 1.8, "copy": 0.8})
def batch_norm() -> dict[str, Side]:
    return layer(call("BatchNorm2d", 32), IMAGES) | {"copy": side("numpy", "copy", 5 * 4 * prod(IMAGES))}


@row("P18", "LeNet-5, 28x28, Adam, batch 64: fit, a step", {"torch": 3.5})
def lenet() -> dict[str, Side]:
    return stack(LENET)


@row("P24 P13", "Conv2d 128>128 3x3 pad 1 on (32, 128, 16, 16), forward + backward on two threads", {"one thread": 1.8})
def two_threads() -> dict[str, Side]:
    convolution, shape = call("Conv2d", 128, 128, 3, padding=1), (32, 128, 16, 16)
    names = {2: "fastdl", 1: "one thread"}
    return {names[n]: side("fastdl", "layer", convolution, shape, "float32", threads=(n,)) for n in names}
