"""Running a graph once as a native program, as the interpreter runs it node by node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.program.frame import Frame
from fastdl.graph.graph import Graph, Node
from fastdl.graph.interpreter import symbols_of
from fastdl.graph.lowering import Lowering
from fastdl.graph.records import Place
from fastdl.graph.size import numbers
from fastdl.graph.value import Value


def run(graph: Graph, outputs: Sequence[Value], inputs: Mapping[str, Any]) -> list[Any]:
    """The arrays of some values of a graph; as interpreter.run."""
    sizes = symbols_of(graph, inputs)
    samples = sizes.get("N", 1)
    graph.capacity = max(1, samples)
    lowered = Lowering(graph, outputs).lowered()
    frame = lowered.program.frame()
    dtypes = {node.attributes["name"]: node.dtype for node in graph.nodes if node.operation == "input"}
    bases = [(base, np.ascontiguousarray(inputs[name], dtypes[name])) for name, base in lowered.inputs.items()]
    refuse_failed(lowered.program.run(frame, 0, len(lowered.entries), samples, bases), lowered.entries)
    return list(read(frame, lowered.outputs, outputs, samples))


def read(frame: Frame, places: Sequence[Place], values: Sequence[Value], samples: int) -> Iterator[NDArray[Any]]:
    """Copies of values that a frame holds, for a batch of so many samples."""
    for (_, offset, _), value in zip(places, values, strict=True):
        shape = numbers(value.shape, {"N": samples})
        size = int(np.prod(shape, dtype=np.int64)) * value.dtype.itemsize
        yield frame.arena[offset : offset + size].view(value.dtype).reshape(shape).copy()


def refuse_failed(failed: int, entries: Sequence[Node]) -> None:
    """An error where an entry failed: an index is out of range."""
    if failed >= 0:
        raise IndexError(f"{entries[failed].line}: expected indices within the axis that they index, got others")
