"""The side without a library: the papers' network in plain for-loops, fastdl's reference as it is."""

from __future__ import annotations

from platform import python_version

from benchmarks.network import Network
from benchmarks.row import Timed
from fastdl.reference import network as reference

VERSION = f"plain Python {python_version()}, fastdl's reference"


def train(network: Network, kind: str, threads: int) -> Timed:
    """A step for each sample; kind "Network" loops over arrays, "ListNetwork" over plain lists. A unit is a step."""
    naive = getattr(reference, kind)(network.sizes, rng=0)
    samples = 20
    x, t = (naive.hold(array[:samples]) for array in network.data())
    return Timed(lambda n: naive.train(x, t, lr=0.01, epochs=n), samples)
