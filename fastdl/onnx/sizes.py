"""Sizes: vectors of integers that say how large a value is, as far as they are known before a batch comes.

Exporters write a Flatten of some axes, or a view, as Shape, Slice, Concat and Reshape; the number of samples is a place in that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from fastdl.onnx.table import imports

if TYPE_CHECKING:
    from fastdl.onnx.reading import Node, Reader


class Axis(NamedTuple):
    """The size of a value along an axis, which a batch decides."""

    value: str
    axis: int


Sizes: TypeAlias = "tuple[int | Axis, ...]"


@imports("Shape", 13, 15, 19, 21, 23, 24, 25)
def _(graph: Reader, node: Node) -> None:
    x = node.inputs[0]
    shape = graph.shape(x)
    if shape is None:
        raise node.refusal("an input of known rank", "one of unknown rank")
    sizes = tuple(Axis(x, axis) if size is None else size for axis, size in enumerate(shape))
    put(graph, node, sizes[slice(node.attribute("start", 0), node.attribute("end"))])


def put(graph: Reader, node: Node, sizes: Sizes, scalar: bool = False) -> None:
    """Let a node's output be these sizes: a constant where all are known."""
    known = [size for size in sizes if not isinstance(size, Axis)]
    if len(known) == len(sizes):
        graph.constant(node.outputs[0], np.array(known[0] if scalar else known, np.int64))
    else:
        graph.sizes[node.outputs[0]] = sizes


def taken(graph: Reader, node: Node) -> bool:
    """Whether a Gather, Slice, Concat, Unsqueeze, Squeeze, Cast or Identity is of sizes, which are read then."""
    if not any(each in graph.sizes for each in node.inputs):
        return False
    sizes = of(graph, node, node.inputs[0])
    if node.operator == "Concat":
        put(graph, node, tuple(size for each in node.inputs for size in of(graph, node, each)))
    elif node.operator == "Slice":
        bounds: list[int | None] = []
        for number, what in ((1, "the start"), (2, "the end"), (4, "the step")):
            name = node.input(number)
            bounds.append(None if name is None else (*graph.integers(name, node, what), None)[0])
        put(graph, node, sizes[slice(*bounds)])
    elif node.operator == "Gather":
        indices = graph.array(node.input(1), node, "the indices")
        if any(not -len(sizes) <= index < len(sizes) for index in indices.ravel().tolist()):
            raise node.refusal(f"places among {len(sizes)} sizes", indices.tolist())
        put(graph, node, tuple(sizes[index] for index in indices.ravel().tolist()), not indices.ndim)
    else:
        put(graph, node, sizes, node.operator == "Squeeze")
    return True


def of(graph: Reader, node: Node, value: str) -> Sizes:
    """What is known of a vector of sizes."""
    return graph.sizes[value] if value in graph.sizes else graph.integers(value, node, "sizes")


def target(graph: Reader, node: Node) -> tuple[int, ...]:
    """The shape that a Reshape asks for: 0 for a size that stays where it is, -1 for one that follows from the others."""
    sizes = of(graph, node, node.inputs[1])
    x = node.inputs[0]
    found = [
        0 if isinstance(size, Axis) and size.axis == place and size.value == x else size
        for place, size in enumerate(sizes)
    ]
    if sum(isinstance(size, Axis) for size in found) == 1 and -1 not in found:
        found = [-1 if isinstance(size, Axis) else size for size in found]
    known = tuple(size for size in found if not isinstance(size, Axis))
    if len(known) < len(found):
        raise node.refusal("a shape in which one size at most is not known", shown(sizes))
    return known


def shown(sizes: Sizes) -> str:
    """Sizes in a line, those that are not known as a question mark."""
    return f"({', '.join('?' if isinstance(size, Axis) else str(size) for size in sizes)})"
