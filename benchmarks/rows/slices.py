"""Slices of wider arrays as input and gradient."""

from __future__ import annotations

from functools import partial

from benchmarks.row import Side, row, side
from benchmarks.stack import LayerCall, call

MODEL = (call("Linear", 4, 64), call("Tanh"), call("Linear", 64, 64), call("Tanh"), call("Linear", 64, 2))


def slices(layers: tuple[LayerCall, ...], shape: tuple[int, ...]) -> dict[str, Side]:
    """Slices of axis 1 against contiguous arrays that are copied before the call."""
    names = {True: "fastdl", False: "contiguous and a copy"}
    return {names[cut]: side("fastdl", "sliced", layers, shape, cut, threads=(1,)) for cut in names}


for name, layers, shape in (
    ("model", MODEL, (128, 4)),
    ("Linear", (call("Linear", 4, 8),), (128, 4)),
    ("Conv2d", (call("Conv2d", 3, 8, 3),), (16, 3, 12, 12)),
):
    work = f"{name} on x[:, :{shape[1]}] of {shape}, forward + backward"
    row(f"P47 {name}", work, {"contiguous and a copy": 0.77})(partial(slices, layers, shape))
