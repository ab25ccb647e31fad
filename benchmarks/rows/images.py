"""Layers of images, forward and backward."""

from __future__ import annotations

from functools import partial
from math import prod

from benchmarks.row import Side, row, side
from benchmarks.stack import LayerCall, call

IMAGES = (64, 32, 32, 32)

# Name, words, layer, input and goal.
CONVOLUTIONS = (
    ("P10", "Conv2d 1>8 5x5", call("Conv2d", 1, 8, 5), (64, 1, 28, 28), 5),
    ("P11", "Conv2d 8>16 5x5", call("Conv2d", 8, 16, 5), (64, 8, 12, 12), 2),
    ("P12", "Conv2d 3>32 3x3 pad 1", call("Conv2d", 3, 32, 3, padding=1), (32, 3, 32, 32), 3),
    ("P13 64", "Conv2d 64>64 3x3 pad 1", call("Conv2d", 64, 64, 3, padding=1), (32, 64, 32, 32), 2.5),
    ("P13 128", "Conv2d 128>128 3x3 pad 1", call("Conv2d", 128, 128, 3, padding=1), (32, 128, 16, 16), 2.5),
    ("P13 256", "Conv2d 256>256 3x3 pad 1", call("Conv2d", 256, 256, 3, padding=1), (32, 256, 8, 8), 2.5),
    ("P14", "Conv2d 64>128 1x1", call("Conv2d", 64, 128, 1), (32, 64, 16, 16), 1.6),
)


def layer(each: LayerCall, shape: tuple[int, ...], dtype: str) -> dict[str, Side]:
    """Forward and backward, the input's gradient included."""
    names = {"fastdl": "fastdl", "PyTorch": "torch"}
    return {name: side(library, "layer", each, shape, dtype) for name, library in names.items()}


def over_one_thread(each: LayerCall, shape: tuple[int, ...]) -> dict[str, Side]:
    """fastdl on two threads against fastdl on one."""
    names = {2: "fastdl", 1: "one thread"}
    return {names[n]: side("fastdl", "layer", each, shape, "float32", threads=(n,)) for n in names}


def memory(each: LayerCall, shape: tuple[int, ...]) -> dict[str, Side]:
    """What a step takes on two threads, in a process that has nothing left from before."""
    return {"fastdl": side("fastdl", "step_memory", each, shape, threads=(2,), fresh=True)}


for name, words, convolution, shape, goal in CONVOLUTIONS:
    work = f"{words}, {shape[2]}x{shape[3]}, batch {shape[0]}"
    sides = partial(layer, convolution, shape)
    row(name, f"{work}, forward + backward", {"PyTorch": goal})(partial(sides, "float32"))
    row(f"P15 {name}", f"{work}, forward + backward, float64", {"PyTorch": 2})(partial(sides, "float64"))
    if name.startswith("P13"):
        words = f"{work}, forward + backward, two threads"
        row(f"P24 {name}", words, {"one thread": 1.85})(partial(over_one_thread, convolution, shape))
    weights = 4 * prod(convolution.arguments[:2]) * convolution.arguments[2] ** 2
    words, limit = f"{work}: memory of a step beyond its arrays", 2 * 4 + 4 * weights / 2**20
    row(f"P26 {name}", words, limit=limit, unit="MiB")(partial(memory, convolution, shape))


@row("P16", f"BatchNorm2d on {IMAGES}, forward + backward", {"PyTorch": 3, "copy": 0.85})
def batch_norm() -> dict[str, Side]:
    return layer(call("BatchNorm2d", 32), IMAGES, "float32") | {"copy": side("numpy", "copy", 5 * 4 * prod(IMAGES))}
