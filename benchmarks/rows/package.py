"""The package itself: its import and its size."""

from __future__ import annotations

from benchmarks.row import Side, row, side

PACKAGES = {"fastdl": "fastdl", "PyTorch": "torch"}


@row("P20", "import, beyond NumPy's", limit=30, unit="ms")
def import_time() -> dict[str, Side]:
    return {name: side("files", "import_time", package, threads=(1,)) for name, package in PACKAGES.items()}


@row("P21", "size of the package", limit=8, unit="MB")
def size() -> dict[str, Side]:
    return {name: side("files", "size", package, threads=(1,)) for name, package in PACKAGES.items()}
