"""The package itself: its import, its size, and the time to a first result."""

from __future__ import annotations

from benchmarks.network import Network
from benchmarks.row import Side, row, side

PACKAGES = {"fastdl": "fastdl", "PyTorch": "torch"}


@row("P20", "import, beyond NumPy's", limit=30, unit="ms")
def import_time() -> dict[str, Side]:
    return {name: side("files", "import_time", package, threads=(1,)) for name, package in PACKAGES.items()}


@row("P21", "size of the package", limit=8, unit="MB")
def size() -> dict[str, Side]:
    return {name: side("files", "size", package, threads=(1,)) for name, package in PACKAGES.items()}


@row("P44", "2-25-25-25-2, MSE, SGD, batch 100: from import to the end of an epoch", {"JAX scan": 15}, unit="ms")
def first_epoch() -> dict[str, Side]:
    network, sides = Network((2, 25, 25, 25, 2), 100), {"fastdl": ("fastdl", "fit"), "PyTorch": ("torch", "loop")}
    sides |= {"JAX step": ("jax", "step"), "JAX scan": ("jax", "scan")}
    return {name: side("interpreters", "first_epoch", *each, network, threads=(1,)) for name, each in sides.items()}
