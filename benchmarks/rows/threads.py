"""What a second core brings."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.network import Network
from benchmarks.row import Side, row, side
from benchmarks.rows.networks import LARGE, PAPER, SMALL
from benchmarks.stack import call


@row("P24 P8", "1024-1024-1024-10, cross entropy, SGD, batch 256: fit, a step, two threads", {"one thread": 1.85})
def two_threads() -> dict[str, Side]:
    return {name: side("fastdl", "fit", LARGE, threads=(n,)) for n, name in ((2, "fastdl"), (1, "one thread"))}


# What two threads are to reach of one thread's speed beside a busy process, and on a quiet machine.
SHARED: tuple[tuple[str, str, tuple[object, ...], float], ...] = (
    (
        "P13",
        "Conv2d 64>64 3x3 pad 1, forward + backward",
        ("layer", call("Conv2d", 64, 64, 3, padding=1), (32, 64, 32, 32), "float32"),
        1.9,
    ),
    ("88", "88-88-88, batch 32, a step", ("fit", Network((88,) * 3, 32)), 1.4),
    ("256", "256-256-256, batch 100, a step", ("fit", Network((256,) * 3, 100)), 1.75),
    ("1024", "1024-1024-1024, batch 256, a step", ("fit", Network((1024,) * 3, 256)), 1.9),
)


def shared(work: tuple[Any, ...], busy: bool) -> dict[str, Side]:
    """The same work on two threads and on one."""
    function, *arguments = ("beside_busy", *work) if busy else work
    names = {2: "fastdl", 1: "one thread"}
    return {name: side("fastdl", function, *arguments, threads=(n,)) for n, name in names.items()}


for name, work, how, quiet in SHARED:
    for busy, goal in ((True, 0.95), (False, quiet)):
        surroundings = "beside a busy process" if busy else "on a quiet machine"
        words = f"{work}: two threads {surroundings}"
        row(f"P28 {name} {'busy' if busy else 'quiet'}", words, {"one thread": goal})(partial(shared, how, busy))


def four_models(network: Network) -> dict[str, Side]:
    """Four fits in four Python threads, on one kernel thread each."""
    names = {True: "fastdl", False: "one after another"}
    return {name: side("fastdl", "several_fits", network, 4, at_once, threads=(1,)) for at_once, name in names.items()}


for name, network in (("P1", Network(PAPER, 100)), ("P6", SMALL)):
    sizes = "-".join(map(str, network.sizes))
    work = f"{sizes}, batch {network.batch}: an epoch of four fits in four threads"
    row(f"P25 {name}", work, {"one after another": 1.85})(partial(four_models, network))
