"""Running a graph once as a native program, as the interpreter runs it node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastdl._kernels.program.frame import Passed
from fastdl.graph.graph import Graph
from fastdl.graph.interpreter import failure, symbols_of
from fastdl.graph.lowering import Lowering, Origins
from fastdl.graph.lowering.memory import pair
from fastdl.graph.lowering.sources import found
from fastdl.graph.records import Place
from fastdl.graph.value import Value


def run(graph: Graph, outputs: Sequence[Value], inputs: Mapping[str, Any]) -> list[Any]:
    """The arrays of some values of a graph; as interpreter.run."""
    sizes = symbols_of(graph, inputs)
    samples = sizes.get("N", 1)
    graph.capacity = max(1, samples)
    lowered = Lowering(graph, outputs).lowered()
    frame = lowered.program.frame(found(lowered.sources, graph))
    dtypes = {node.attributes["name"]: node.dtype for node in graph.nodes if node.operation == "input"}
    bases = [(base, np.ascontiguousarray(inputs[name], dtypes[name])) for name, base in lowered.inputs.items()]
    refuse_failed(lowered.program.run(frame, 0, len(lowered.entries), samples, bases), lowered.entries)
    return frame.read(stored(lowered.outputs, outputs), samples)


def stored(places: Sequence[Place], values: Sequence[Value]) -> list[Passed]:
    """Where values are in an arena, as Frame.read takes it."""
    return [
        Passed(place, value.dtype, tuple(map(pair, value.shape))) for place, value in zip(places, values, strict=True)
    ]


def refuse_failed(failed: int, entries: Origins) -> None:
    """An error where an entry failed."""
    if failed >= 0:
        raise failure(entries[failed].operation, entries[failed].line)
