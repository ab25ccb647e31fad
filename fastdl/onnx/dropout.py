"""Dropout, which lets everything pass in evaluation: ONNX has it for elements; that of channels is an Identity there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastdl import nn
from fastdl.onnx.table import exports, imports

if TYPE_CHECKING:
    from fastdl.onnx.reading import Node, Reader
    from fastdl.onnx.writing import Value, Writer


@exports(nn.Dropout)
def _(layer: nn.Dropout, graph: Writer, x: Value) -> str:
    if layer.p == 1:  # ONNX wants a ratio below 1
        return graph.node("Identity", x.name)
    return graph.node("Dropout", x.name, graph.constant(layer.p))


@exports(nn.Dropout2d)
def _(layer: nn.Dropout2d, graph: Writer, x: Value) -> str:
    return graph.node("Identity", x.name)


@imports("Dropout", 13, 22)
def _(graph: Reader, node: Node) -> None:
    training = node.input(2)
    if training is not None and graph.array(training, node, "training_mode").any():
        raise node.refusal("training_mode to be False", True)
    ratio = 0.5 if node.input(1) is None else graph.number(node.input(1))
    if ratio is None or not 0 <= ratio < 1:
        raise node.refusal("a ratio from 0 to below 1 in the file", ratio)
    graph.add(node, nn.Dropout(float(str(np.float32(ratio)))), node.inputs[0])
