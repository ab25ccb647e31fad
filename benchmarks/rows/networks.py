"""Training fully connected networks."""

from __future__ import annotations

from benchmarks.network import Network
from benchmarks.row import Side, row, side

PAPER = (2, 25, 25, 25, 2)
SMALL = Network((784, 128, 10), 64, "cross entropy", momentum=0.9)
MEDIUM = Network((784, 512, 512, 10), 128, "cross entropy")
LARGE = Network((1024, 1024, 1024, 10), 256, "cross entropy")


def fit(network: Network) -> dict[str, Side]:
    """`Trainer.fit` against PyTorch's explicit loop."""
    return {"fastdl": side("fastdl", "fit", network), "torch": side("torch", "loop", network)}


def jax(network: Network) -> dict[str, Side]:
    """JAX's two ways to train."""
    return {"JAX scan": side("jax", "scan", network), "JAX step": side("jax", "step", network)}


@row("P1", "2-25-25-25-2, MSE, SGD, batch 100: fit, a step", {"torch": 20, "JAX scan": 3})
def paper_batch_100() -> dict[str, Side]:
    return fit(Network(PAPER, 100)) | jax(Network(PAPER, 100))


@row("P2", "2-25-25-25-2, MSE, SGD, batch 1: fit, a step", {"torch": 200, "JAX scan": 1.5})
def paper_batch_1() -> dict[str, Side]:
    return fit(Network(PAPER, 1)) | jax(Network(PAPER, 1))


@row("P3", "2-25-25-25-2, MSE, SGD, batch 1000: fit, a step", {"torch": 3.5, "JAX step": 2.5})
def paper_batch_1000() -> dict[str, Side]:
    return fit(Network(PAPER, 1000)) | jax(Network(PAPER, 1000))


@row("P4", "2-25-25-25-2, MSE, Adam, batch 100: fit, a step", {"torch": 30})
def paper_adam() -> dict[str, Side]:
    return fit(Network(PAPER, 100, optimizer="adam"))


@row("P5", "2-25-25-25-2, MSE, SGD, batch 100: explicit loop, a step", {"torch": 8})
def paper_loop() -> dict[str, Side]:
    names = {"fastdl": "fastdl", "torch": "torch", "thinc": "thinc", "scikit-learn": "sklearn"}
    return {name: side(library, "loop", Network(PAPER, 100)) for name, library in names.items()}


@row("P6", "784-128-10, cross entropy, SGD momentum, batch 64: fit, a step", {"torch": 1.8})
def small() -> dict[str, Side]:
    return fit(SMALL)


@row("P7", "784-512-512-10, cross entropy, SGD, batch 128: fit, a step", {"torch": 1.2})
def medium() -> dict[str, Side]:
    return fit(MEDIUM)


@row("P8", "1024-1024-1024-10, cross entropy, SGD, batch 256: fit, a step", {"torch": 1.0, "FMA peak": 0.9})
def large() -> dict[str, Side]:
    return fit(LARGE) | {"FMA peak": side("compiler", "multiply_adds", LARGE.multiply_adds())}
