"""What a fit, a step and their surroundings cost beside the arithmetic: small networks pay it each time."""

from __future__ import annotations

from functools import partial

from benchmarks.network import Network
from benchmarks.row import Side, row, side
from benchmarks.rows.networks import PAPER

NETWORK = Network(PAPER, 100)
SIZES = "2-25-25-25-2, MSE, SGD, batch 100"


def alone(function: str) -> dict[str, Side]:
    """One of fastdl's own costs, on one thread."""
    return {"fastdl": side("fastdl", function, NETWORK, threads=(1,))}


row("P27 again", f"{SIZES}: fit of one step, where the trainer has fitted before", limit=60)(
    partial(alone, "fit_again")
)
row("P27 first", f"{SIZES}: the first fit, of one step", limit=1500)(partial(alone, "first_fit"))
row("P27 making", f"{SIZES}: making model, optimizer and trainer", limit=150)(partial(alone, "making"))


def against_a_fit(function: str) -> dict[str, Side]:
    """A way to train against the same steps in one fit over arrays."""
    return alone(function) | {"fit over arrays": side("fastdl", "fit", NETWORK, threads=(1,))}


# The least ratios are those of a step of 13 us that takes 3 us more.
row("P27 step", f"{SIZES}: trainer.step", {"fit over arrays": 0.81})(partial(against_a_fit, "steps"))
row("P48 batches", f"{SIZES}: fit over an iterable of batches, a step", {"fit over arrays": 0.81})(
    partial(against_a_fit, "fit_batches")
)
row("P48 callback", f"{SIZES}: fit with a callback on steps, a step", {"fit over arrays": 0.81})(
    partial(against_a_fit, "fit_watched")
)


@row("P48 validation", f"{SIZES}: an epoch of one step with a validation of 100 rows, beyond both", limit=10)
def validation() -> dict[str, Side]:
    return alone("validation_overhead")


@row("P27 partial_fit", "2-25-25-25-2, SGD: partial_fit of 100 rows", {"scikit-learn": 5})
def partial_fits() -> dict[str, Side]:
    return {
        "fastdl": side("fastdl", "partial_fit", NETWORK, threads=(1,)),
        "scikit-learn": side("sklearn", "partial_fit", NETWORK, threads=(1,)),
    }
