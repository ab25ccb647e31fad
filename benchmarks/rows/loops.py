"""Naive for-loops, element by element: the papers' vectorization study."""

from __future__ import annotations

from functools import partial

from benchmarks.network import Network
from benchmarks.row import Side, row, side
from benchmarks.rows.networks import PAPER


def naive(ours: str) -> dict[str, Side]:
    """One of fastdl's ways to train against loops over arrays and over plain lists."""
    network = Network(PAPER, 1)
    return {
        "fastdl": side("fastdl", ours, network),
        "loops over arrays": side("loops", "train", network, "Network", threads=(1,)),
        "loops over lists": side("loops", "train", network, "ListNetwork", threads=(1,)),
    }


for ours, name, goal in (("loop", "explicit loop", 150), ("fit", "fit", 1200)):
    work = f"2-25-25-25-2, MSE, SGD, batch 1: {name}, a step"
    row(f"P22 {name}", work, {"loops over arrays": goal})(partial(naive, ours))
