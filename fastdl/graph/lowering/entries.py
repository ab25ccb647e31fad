"""The entries of a program, one or more for each node of a graph, and the table of what makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from fastdl._kernels.node import NODES
from fastdl._kernels.program.sequence import RUN_NODE
from fastdl.errors import InvalidValueError
from fastdl.graph.arena import Storage
from fastdl.graph.graph import Graph, Node
from fastdl.graph.layout import Layout, is_dense, merged
from fastdl.graph.lowering.memory import Memory, pair
from fastdl.graph.size import Dimension, Shape, Size, same
from fastdl.graph.value import Value

EACH_SAMPLE: Dimension = Size(1, ("N",))

Lower: TypeAlias = "Callable[[Entries, int, Node], None]"
# What makes the entries of an operation's nodes.
LOWERED: dict[str, Lower] = {}


def lowers(*operations: str) -> Callable[[Lower], Lower]:
    """Enter a function for these operations."""

    def enter(function: Lower) -> Lower:
        LOWERED.update(dict.fromkeys(operations, function))
        return function

    return enter


class Entries(Memory):
    """The entries as they are made.

    Args:
        graph: the graph.
        readers: the nodes that read each.
        roots: the values that are read by others than nodes.
        direct: by gradient, the parameter in whose memory a layer may write it.
        gathered: names of the inputs that are gathered into the arena.
        begin: called before the first module in Python.
    """

    def __init__(
        self,
        graph: Graph,
        readers: dict[int, list[int]],
        roots: set[int],
        direct: dict[int, Any],
        gathered: set[str],
        begin: Callable[[], object] | None,
    ) -> None:
        super().__init__(graph)
        self.readers, self.roots, self.direct, self.gathered, self.begin = readers, roots, direct, gathered, begin
        # What runs: its kind, its samples, and what makes its record once places are known.
        self.entries: list[tuple[int, Dimension, Callable[[], Any], Node]] = []
        self.losses: dict[int, tuple[int, dict[str, Storage]]] = {}
        self.saved: dict[int, dict[str, tuple[Storage, int]]] = {}
        # Multiply-adds of a sample.
        self.work = 0
        self.node: Node = Node("", (), {}, (), graph.dtype, "")

    def enter(self, kind: int, samples: Dimension, record: Callable[[], Any]) -> None:
        """Add an entry."""
        self.entries.append((kind, samples, record, self.node))
        self.time = len(self.entries)

    def dense(self, value: Value) -> Layout:
        """The value's elements one behind the other, copied where they do not lie so."""
        layout = self.layouts[value.number]
        if layout.whole or (is_dense(layout, value.shape) and same(layout.offset, 0)):
            return layout
        made = self.fresh(value.shape, value.dtype)
        self.run_elementwise("cast", value.dtype, value.shape, made, [(layout, value.dtype)])
        self.layouts[value.number] = made
        return made

    def owned(self, value: Value) -> Layout:
        """The value's elements one behind the other in the arena, where nothing else is."""
        layout = self.dense(value)
        if isinstance(layout.home, Storage) and not layout.constant:
            return layout
        made = self.fresh(value.shape, value.dtype)
        self.run_elementwise("cast", value.dtype, value.shape, made, [(layout, value.dtype)])
        return made

    def visit(self, number: int) -> None:
        """Make what a node needs."""
        node = self.node = self.graph.nodes[number]
        LOWERED[node.operation](self, number, node)

    @staticmethod
    def one_instruction(name: str, operands: Sequence[tuple[Layout, np.dtype[Any], Any]]) -> dict[str, Any]:
        """The program of one ufunc; the first operand is its result."""
        count = len(operands) - 1
        sources = [*range(count), -1, -1, -1][:3]
        kind = "float" if any(dtype.kind == "f" for _, dtype, _ in operands) else "whole"
        return {"registers": kind, "instructions": [(name, count, *sources)]}

    def run_elementwise(
        self,
        name: str,
        dtype: np.dtype[Any],
        shape: Shape,
        to: Layout,
        inputs: Sequence[tuple[Layout, np.dtype[Any]]],
    ) -> None:
        """One ufunc of inputs that are broadcast already."""
        sizes, strides = merged(shape, [to.strides, *(layout.strides for layout, _ in inputs)])
        views = [(to, dtype), *inputs]
        operands = [(layout, kind, own) for (layout, kind), own in zip(views, strides, strict=True)]
        self.run("elementwise", self.one_instruction(name, operands), sizes, [], operands)

    def run(
        self,
        name: str,
        attributes: dict[str, Any],
        sizes: Sequence[Dimension],
        extents: Sequence[Dimension],
        operands: Sequence[tuple[Layout, np.dtype[Any], Sequence[Dimension]]],
    ) -> None:
        """Add an entry for a node."""
        if len(sizes) > 6:
            raise InvalidValueError(self.node.line, "at most 6 axes that cannot be joined", len(sizes))
        descriptor = NODES[name]
        packed = descriptor.attributes(attributes)
        pairs = [pair(size) for size in sizes]
        for layout, _, _ in operands:
            self.use(layout)
        self.work += self.count(tuple(sizes)) // max(1, self.graph.capacity)

        def record() -> Any:
            views = [
                (
                    self.place_of(layout, self.kind(dtype)[1]),
                    self.kind(dtype),
                    pair(layout.offset),
                    tuple(map(pair, strides)),
                )
                for layout, dtype, strides in operands
            ]
            return descriptor, packed, tuple(pairs), tuple(map(pair, extents)), views

        self.enter(RUN_NODE, EACH_SAMPLE, record)
