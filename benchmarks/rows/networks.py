"""Training fully connected networks: P1 to P8."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.network import Network
from benchmarks.row import Side, row

PAPER = (2, 25, 25, 25, 2)
LARGE = Network((1024, 1024, 1024, 10), 256, "cross entropy")


def fit(network: Network, threads: int):
    """fastdl's `Trainer.fit`."""
    from benchmarks.sides import with_fastdl

    return with_fastdl.fit(network, threads)
