"""Training networks with layers of many kinds."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.row import Side, row, side
from benchmarks.stack import DROPOUT, LENET, Stack


def stack(network: Stack) -> dict[str, Side]:
    """`Trainer.fit` against PyTorch's explicit loop."""
    return {"fastdl": side("fastdl", "fit_stack", network), "PyTorch": side("torch", "loop_stack", network)}


@row("P9", "2-500-500-500-500-2, dropout 0.5, SGD, batch 100: fit, a step", {"PyTorch": 2.5})
def dropout() -> dict[str, Side]:
    without = replace(DROPOUT, layers=tuple(each for each in DROPOUT.layers if each.kind != "Dropout"))
    return stack(DROPOUT) | {"PyTorch without dropout": stack(without)["PyTorch"]}


@row("P18", "LeNet-5, 28x28, Adam, batch 64: fit, a step", {"PyTorch": 4})
def lenet() -> dict[str, Side]:
    return stack(LENET)
