"""Training fully connected networks, and predicting with them."""

from __future__ import annotations

from benchmarks.network import Network
from benchmarks.row import Side, row, side

PAPER = (2, 25, 25, 25, 2)
SMALL = Network((784, 128, 10), 64, "cross entropy", momentum=0.9)
MEDIUM = Network((784, 512, 512, 10), 128, "cross entropy")
LARGE = Network((1024, 1024, 1024, 10), 256, "cross entropy")


def train(network: Network, ours: str = "fit") -> dict[str, Side]:
    """One of fastdl's ways to train against every library's own; thinc where it has the optimizer."""
    sides = {
        "fastdl": side("fastdl", ours, network),
        "PyTorch": side("torch", "loop", network),
        "JAX scan": side("jax", "scan", network),
        "JAX step": side("jax", "step", network),
        "scikit-learn": side("sklearn", "fit", network),
    }
    return sides if network.momentum else sides | {"thinc": side("thinc", "loop", network)}


def peak(network: Network) -> dict[str, Side]:
    """A step's multiply-adds on registers alone."""
    return {"FMA peak": side("compiler", "multiply_adds", network.multiply_adds())}


@row("P1", "2-25-25-25-2, MSE, SGD, batch 100: fit, a step", {"PyTorch": 25, "JAX scan": 3})
def paper_batch_100() -> dict[str, Side]:
    return train(Network(PAPER, 100)) | peak(Network(PAPER, 100))


@row("P2", "2-25-25-25-2, MSE, SGD, batch 1: fit, a step", {"PyTorch": 250, "JAX scan": 2})
def paper_batch_1() -> dict[str, Side]:
    return train(Network(PAPER, 1))


@row("P3", "2-25-25-25-2, MSE, SGD, batch 1000: fit, a step", {"PyTorch": 4, "JAX step": 2.5})
def paper_batch_1000() -> dict[str, Side]:
    return train(Network(PAPER, 1000))


@row("P4", "2-25-25-25-2, MSE, Adam, batch 100: fit, a step", {"PyTorch": 40, "JAX scan": 3})
def paper_adam() -> dict[str, Side]:
    return train(Network(PAPER, 100, optimizer="adam"))


@row("P5", "2-25-25-25-2, MSE, SGD, batch 100: explicit loop, a step", {"PyTorch": 18})
def paper_loop() -> dict[str, Side]:
    return train(Network(PAPER, 100), "loop")


@row("P6", "784-128-10, cross entropy, SGD momentum, batch 64: fit, a step", {"PyTorch": 2.4, "JAX scan": 1.2})
def small() -> dict[str, Side]:
    return train(SMALL)


@row("P7", "784-512-512-10, cross entropy, SGD, batch 128: fit, a step", {"PyTorch": 1.5, "JAX scan": 1.2})
def medium() -> dict[str, Side]:
    return train(MEDIUM)


@row("P8", "1024-1024-1024-10, cross entropy, SGD, batch 256: fit, a step", {"PyTorch": 1.3, "FMA peak": 0.82})
def large() -> dict[str, Side]:
    return train(LARGE) | peak(LARGE)


@row("P19", "2-25-25-25-2: prediction of one sample", {"PyTorch": 25, "onnxruntime": 4})
def prediction() -> dict[str, Side]:
    names = {"fastdl": "fastdl", "PyTorch": "torch", "onnxruntime": "onnxruntime", "JAX": "jax"}
    names |= {"scikit-learn": "sklearn", "thinc": "thinc"}
    return {name: side(library, "predict", Network(PAPER, 1)) for name, library in names.items()}
