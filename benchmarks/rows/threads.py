"""What a second core brings."""

from __future__ import annotations

from functools import partial

from benchmarks.network import Network
from benchmarks.row import Side, row, side
from benchmarks.rows.networks import LARGE, PAPER, SMALL


@row("P24 P8", "1024-1024-1024-10, cross entropy, SGD, batch 256: fit, a step, two threads", {"one thread": 1.85})
def two_threads() -> dict[str, Side]:
    return {name: side("fastdl", "fit", LARGE, threads=(n,)) for n, name in ((2, "fastdl"), (1, "one thread"))}


def four_models(network: Network) -> dict[str, Side]:
    """Four fits in four Python threads, on one kernel thread each."""
    names = {True: "fastdl", False: "one after another"}
    return {name: side("fastdl", "several_fits", network, 4, at_once, threads=(1,)) for at_once, name in names.items()}


for name, network in (("P1", Network(PAPER, 100)), ("P6", SMALL)):
    sizes = "-".join(map(str, network.sizes))
    work = f"{sizes}, batch {network.batch}: an epoch of four fits in four threads"
    row(f"P25 {name}", work, {"one after another": 1.85})(partial(four_models, network))
