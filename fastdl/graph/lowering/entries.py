"""The entries of a program, one or more for each node of a graph, and the table of what makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from fastdl._kernels.node import NODES, NodeDescriptor
from fastdl._kernels.program.sequence import RUN_NODE
from fastdl.errors import InvalidValueError
from fastdl.graph.arena import Storage
from fastdl.graph.graph import Graph, Node
from fastdl.graph.layout import Layout, dense, is_dense, merged
from fastdl.graph.lowering.blocks import Blocks
from fastdl.graph.lowering.memory import Memory, pair
from fastdl.graph.lowering.operation import Operation
from fastdl.graph.lowering.rows import Row, Rows
from fastdl.graph.lowering.sources import Leaf
from fastdl.graph.size import Dimension, Shape, Size, same
from fastdl.graph.value import Value

EACH_SAMPLE: Dimension = Size(1, ("N",))

Lower: TypeAlias = "Callable[[Entries, int, Node], None]"
# A value of a node: where it is, its dtype, and its strides.
Operand: TypeAlias = tuple[Layout, np.dtype[Any], Sequence[Dimension]]
# What makes the entries of an operation's nodes.
LOWERED: dict[str, Lower] = {}


def lowers(*operations: str) -> Callable[[Lower], Lower]:
    """Enter a function for these operations."""

    def enter(function: Lower) -> Lower:
        LOWERED.update(dict.fromkeys(operations, function))
        return function

    return enter


@cache
def _one_instruction(name: str, inputs: int, registers: str) -> bytes:
    """The program of one ufunc."""
    sources = [*range(inputs), -1, -1, -1][:3]
    return NODES["elementwise"].attributes({"registers": registers, "instructions": [(name, inputs, *sources)]})


class NodeEntry:
    """What runs a node: its descriptor, its packed attributes, sizes and further ones, and its operands, the result first."""

    __slots__ = ("attributes", "descriptor", "extents", "operands", "sizes")

    def __init__(
        self,
        descriptor: NodeDescriptor,
        attributes: bytes,
        sizes: Sequence[Dimension],
        extents: Sequence[Dimension],
        operands: Sequence[Operand],
    ) -> None:
        self.descriptor, self.attributes, self.sizes = descriptor, attributes, sizes
        self.extents, self.operands = extents, operands

    def write(self, memory: Memory, to: list[int]) -> None:
        """Append the numbers that a program has of it, see EntryList, once places are known."""
        to += len(self.sizes), len(self.extents), len(self.operands)
        for size in (*self.sizes, *self.extents):
            to += pair(size)
        for layout, dtype, strides in self.operands:
            kind, itemsize = memory.kinds[dtype.kind]
            to += memory.place(layout.home, 0, layout.constant * itemsize)
            to += kind, itemsize, *pair(layout.offset)
            for step in strides:
                to += pair(step)


class Entries(Memory):
    """The entries as they are made.

    Args:
        graph: the graph.
        readers: the nodes that read each.
        rows: the layers in rows.
        trained: the node of the loss that is trained on, where it is one of fastdl's own, else None.
        direct: by a layer's gradient, the number of the parameter in whose memory it may be written or added.
        gathered: names of the inputs that are gathered into the arena.
        begin: called before the first module in Python.
        by_call: see Lowering.
    """

    def __init__(
        self,
        graph: Graph,
        readers: dict[int, list[int]],
        rows: Rows,
        trained: int | None,
        direct: dict[int, int],
        gathered: set[str],
        begin: Callable[[], object] | None,
        by_call: bool,
    ) -> None:
        super().__init__(graph)
        self.readers, self.rows, self.direct, self.gathered, self.begin = readers, rows, direct, gathered, begin
        # What runs: its kind, its samples, an operation, a node's entry or what makes a record once places are known, the number
        # of its node, how many of the next entries it stands for.
        self.entries: list[tuple[int, Dimension, Any, int, int]] = []
        self.losses: dict[int, tuple[int, dict[str, Any]]] = {}
        self.trained = trained
        self.operations: dict[Row, list[Operation]] = {}
        # The parameters whose gradients have been stored, by their numbers.
        self.stored: set[int] = set()
        # The rows whose first operations go in blocks, and of them the one that goes through the loss.
        self.blocks: dict[Row, Blocks] = {}
        self.through: Row | None = None
        # The bases of nodes' values that are written where a run says; the parameters whose gradients are added to what is there.
        self.written_to: dict[int, int] = {}
        self.by_call, self.added = by_call, set[int]()
        # Multiply-adds of a sample.
        self.work = 0
        # The number of the node whose entries are made.
        self.number = -1

    def enter(
        self, kind: int, samples: Dimension, record: Operation | Blocks | NodeEntry | Callable[[], Any], covers: int = 0
    ) -> None:
        """Add an entry: an operation, blocks, a node, or what makes its record."""
        self.entries.append((kind, samples, record, self.number, covers))
        self.time += 1

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

    def ends_in_loss(self, row: Row) -> bool:
        """Whether only the loss that is trained on reads what a row yields, and the row's backward that loss's gradient."""
        nodes = self.graph.nodes
        if self.trained is None or nodes[self.trained].inputs[0] != row.last or row.first_backward is None:
            return False
        gy = nodes[row.first_backward].inputs[1]
        if nodes[gy].operation != "loss_backward" or nodes[gy].inputs[0] != self.trained:
            return False
        return self.rows.ends_in(row, self.trained, gy)

    def keep_gradient(self, parameter: int, value: Value, adds: bool) -> None:
        """Store a gradient where its parameter has it, or add it to what is there."""
        self.number = value.number
        self.added |= {parameter} if adds else set()
        home = self.outside(Leaf(parameter, "always"))
        to, own = dense(home, value.shape), (self.layout(value), value.dtype)
        inputs = [(to, value.dtype), own] if adds else [own]
        self.run_elementwise("add" if adds else "cast", value.dtype, value.shape, to, inputs)

    def visit(self, number: int) -> None:
        """Make what a node needs."""
        if number in self.rows.inside:
            return
        self.number, node = number, self.graph.nodes[number]
        LOWERED[node.operation](self, number, node)

    def run_elementwise(
        self,
        name: str,
        dtype: np.dtype[Any],
        shape: Shape,
        to: Layout,
        inputs: Sequence[tuple[Layout, np.dtype[Any]]],
    ) -> None:
        """A ufunc of inputs that are broadcast already."""
        sizes, strides = merged(shape, [to.strides, *(layout.strides for layout, _ in inputs)])
        views = [(to, dtype), *inputs]
        operands = [(layout, kind, own) for (layout, kind), own in zip(views, strides, strict=True)]
        self.run_ufunc(name, sizes, operands)

    def run_ufunc(self, name: str, sizes: Sequence[Dimension], operands: Sequence[Operand]) -> None:
        """Add an entry for a ufunc; the first operand is its result."""
        kind = "whole"
        for _, dtype, _ in operands:
            if dtype.kind == "f":
                kind = "float"
        self._run("elementwise", _one_instruction(name, len(operands) - 1, kind), sizes, [], operands)

    def run(
        self,
        name: str,
        attributes: dict[str, Any],
        sizes: Sequence[Dimension],
        extents: Sequence[Dimension],
        operands: Sequence[Operand],
    ) -> None:
        """Add an entry for a node."""
        self._run(name, NODES[name].attributes(attributes), sizes, extents, operands)

    def _run(
        self,
        name: str,
        attributes: bytes,
        sizes: Sequence[Dimension],
        extents: Sequence[Dimension],
        operands: Sequence[Operand],
    ) -> None:
        if len(sizes) > 6:
            raise InvalidValueError(
                self.graph.nodes[self.number].line, "at most 6 axes that cannot be joined", len(sizes)
            )
        for layout, _, _ in operands:
            self.use(layout)
        self.work += self.known(tuple(sizes)).elements // max(1, self.graph.capacity)
        self.enter(RUN_NODE, EACH_SAMPLE, NodeEntry(NODES[name], attributes, sizes, extents, operands))
