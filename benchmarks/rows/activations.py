"""Activations, forward and backward."""

from __future__ import annotations

from functools import partial
from math import prod

from benchmarks.row import Side, row, side
from benchmarks.stack import call

SHAPE = (64, 32, 32, 32)


def activation(kind: str) -> dict[str, Side]:
    """Against PyTorch, and against a copy of the five arrays (x, y; gy, what is kept, gx), each byte counted once."""
    return {
        "fastdl": side("fastdl", "layer", call(kind), SHAPE, "float32"),
        "PyTorch": side("torch", "layer", call(kind), SHAPE, "float32"),
        "copy": side("numpy", "copy", 5 * 4 * prod(SHAPE)),
    }


for kind in ("ReLU", "Tanh", "Sigmoid", "ELU"):
    work = f"{kind} on {SHAPE}, forward + backward"
    row(f"P17 {kind}", work, {"PyTorch": 1.5, "copy": 0.85})(partial(activation, kind))
