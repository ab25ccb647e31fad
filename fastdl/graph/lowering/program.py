"""Lowering: a graph as the records of a native program, with a place in memory for each value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import fastdl.graph.lowering.layers
import fastdl.graph.lowering.nodes
import fastdl.graph.lowering.python  # noqa: F401 - these enter what lowers their operations
from fastdl._kernels.program.program import FEWEST_ALONE, Program
from fastdl._kernels.program.python_call import PythonCall
from fastdl._kernels.program.sequence import (
    RUN_BACKWARD,
    RUN_FORWARD,
    RUN_LOSS,
    RUN_NODE,
    RUN_PYTHON,
    EntryList,
)
from fastdl.graph.arena import LINE, placed
from fastdl.graph.graph import Graph, Node
from fastdl.graph.interpreter import needed
from fastdl.graph.layout import dense
from fastdl.graph.lowering.blocks import Blocks, live_in_blocks
from fastdl.graph.lowering.entries import Entries
from fastdl.graph.lowering.memory import pair
from fastdl.graph.lowering.operation import Operation
from fastdl.graph.lowering.rows import Rows
from fastdl.graph.lowering.sources import Leaf, Source
from fastdl.graph.records import Place
from fastdl.graph.value import Value

# Multiply-adds that take less time than giving the GIL away and taking it again.
LIGHT = 20_000


class Origin(NamedTuple):
    """Where an entry comes from: a node, by its operation, the user's line and its number in the graph."""

    operation: str
    line: str
    number: int


class Origins:
    """Where the entries come from, by their numbers."""

    def __init__(self, nodes: Sequence[Node], numbers: list[int]) -> None:
        self._operations, self._lines = [nodes[n].operation for n in numbers], [nodes[n].line for n in numbers]
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, entry: int) -> Origin:
        return Origin(self._operations[entry], self._lines[entry], self._numbers[entry])


class Lowered(NamedTuple):
    """A program and what its caller must know of it, for all models of whose traces the graph is one.

    Attributes:
        program: runs the graph.
        sources: what it reads and writes outside of its arena.
        inputs: by name, the base of each array that a run is given.
        outputs: the layouts' places of the wanted values.
        results: the bases of the arrays that a run of backward is given for the further values.
        entries: where each entry comes from.
        split: the number of the first entry that only gradients need.
        nbytes: of the arena.
        kept: the bytes of the arena, from one to below another, that forward leaves to backward, which does not write there.
        differentiating: the numbers of operations of which a call says whether they add gradients of parameters or store them,
            and of these parameters, in the order in which they are run.
        added: the numbers of parameters whose gradients are added to what is there.
        alone: the numbers of operations, and of their weights, whose backward may take the weight's step.
    """

    program: Program
    sources: list[Source]
    inputs: dict[str, int]
    outputs: list[Place]
    results: list[int]
    entries: Origins
    split: int
    nbytes: int
    kept: list[tuple[int, int]]
    differentiating: list[tuple[int, tuple[int, ...]]]
    added: list[int]
    alone: list[tuple[int, int]]


class Lowering(Entries):
    """Makes a program of a graph.

    Args:
        graph: the graph, with its gradients.
        outputs: the values that are wanted of the forward.
        gradients: by a parameter's number, the value of its gradient, which the program stores in the parameter's `grad`.
        added: the numbers of those that are added to what is there.
        loss: the value that is trained on.
        results: further values, which backward entries write where each run says. The last entries are for these alone, and like
            layers that would write there, do without where the run gives no array.
        given: names of the inputs that are gathered into the arena where batches are shuffled.
        by_call: whether calls say if gradients of parameters are added to what is there or stored.
        begin: called before the first module in Python.
        terms: numbers whose means over an epoch are wanted.
    """

    def __init__(
        self,
        graph: Graph,
        outputs: Sequence[Value],
        gradients: Sequence[tuple[int, Value]] = (),
        added: Sequence[int] = (),
        loss: Value | None = None,
        given: Sequence[str] = (),
        results: Sequence[Value] = (),
        begin: Callable[[], object] | None = None,
        terms: Sequence[Value] = (),
        by_call: bool = False,
    ) -> None:
        wanted = [*outputs, *([loss] if loss is not None else []), *terms]
        forward = needed(graph, [*(v.number for v in (*wanted, *graph.updates.values())), *_with_effects(graph)])
        backward = [value.number for value in (*results, *(v for _, v in gradients))]
        backward += [n for n, node in enumerate(graph.nodes) if node.operation == "python_backward"]
        everything = needed(graph, [*forward, *backward])
        roots = {v.number for v in (*wanted, *results, *(v for _, v in gradients), *graph.updates.values())}
        adding = set(added)
        readers = _readers(graph, everything)
        rows = Rows(graph, everything, readers, roots)
        direct, sums = _direct(graph, [(p, v.number) for p, v in gradients if p not in adding], readers)
        trained = loss.number if loss is not None and graph.nodes[loss.number].operation == "loss" else None
        super().__init__(graph, readers, rows, trained, direct, set(given), begin, by_call)
        to = [self.outside(None, ("result", number)) for number in range(len(results))]
        ends = Counter(v.number for v in (*wanted, *results, *(v for _, v in gradients), *graph.updates.values()))
        alone = [ends[value.number] == 1 and rows.is_final(value.number) for value in results]
        self.written_to = {
            rows.source_of(value.number): base for value, base, own in zip(results, to, alone, strict=True) if own
        }
        rows.inside |= sums
        self.in_place = {*direct, *sums}
        for number in sorted(forward):
            self.visit(number)
        self.outputs = [self.owned(value) for value in outputs]
        self.update_buffers()
        self.loss = None if loss is None else self.dense(loss)
        self.terms = [self.owned(value) for value in terms]
        self.split = len(self.entries)
        for number in sorted(everything - forward):
            self.visit(number)
        for parameter, value in gradients:
            if value.number not in self.in_place:
                self.keep_gradient(parameter, value, by_call or parameter in adding)
        # Where gradients are asked for outside of fit, they may be asked for again.
        self.repeats = loss is None
        # The entries that run also where the results are not wanted.
        self.needed = len(self.entries)
        for value, base in zip(results, to, strict=True):
            self.write(value, base)
        self.results = to
        end = len(self.entries)
        for layout in [*self.outputs, *([self.loss] if self.loss is not None else []), *self.terms]:
            self.use(layout, end)

    def write(self, value: Value, base: int) -> None:
        """Let the value be in the caller's array, where it is not written there."""
        self.number, layout = value.number, self.layout(value)
        if layout.home != base:
            self.run_elementwise("cast", value.dtype, value.shape, dense(base, value.shape), [(layout, value.dtype)])

    def update_buffers(self) -> None:
        for number, value in self.graph.updates.items():
            to = dense(self.outside(Leaf(number)), value.shape)
            self.run_elementwise("cast", value.dtype, value.shape, to, [(self.layout(value), value.dtype)])

    def lowered(self, criterion: int = -1) -> Lowered:
        """The program; `criterion` is the number of the loss node that is trained on, or -1."""
        for storage in self.storages:
            if storage.first < 0:
                storage.used(0)
            if self.repeats and storage.first < self.split <= storage.last:
                storage.used(len(self.entries))
        self.share()
        blocks = list(self.blocks.values())
        self.storages += [storage for each in blocks for storage in (each.gradients, each.losses)]
        live_in_blocks(blocks, self.graph.capacity, self.storages)
        nbytes = placed(storage for storage in self.storages if not storage.own)
        entries: list[int] = []
        operations: dict[Operation, int] = {}
        nodes = self.graph.nodes
        records: list[Any] = []
        views: list[int] = []
        criteria: list[Any] = []
        calls: list[PythonCall] = []
        first: dict[Blocks, int] = {}
        for what, samples, made, _, covers in self.entries:
            if what in (RUN_FORWARD, RUN_BACKWARD):
                number = operations.setdefault(made, len(operations))
            elif what == RUN_NODE:
                number = len(records) // 2
                records += made.descriptor, made.attributes
                made.write(self, views)
            elif what == RUN_LOSS:
                number = len(criteria)
                criteria.append(made())
            elif what == RUN_PYTHON:
                number = len(calls)
                calls.append(made())
            elif isinstance(made, Blocks):
                number = blocks.index(made)
                first.setdefault(made, len(operations))
            else:
                number = made()
            entries += what, number, covers, *pair(samples)
        loss = None if self.loss is None else self.place_of(self.loss)
        which = self.losses[criterion][0] if criterion >= 0 else -1
        program = Program(
            [operation.record(self) for operation in operations],
            self.itemsize,
            nbytes,
            [self.gathered_input(name) for name in self.inputs if name in self.gathered],
            [self.place_of(layout) for layout in self.outputs],
            self.graph.draws,
            LIGHT // max(1, self.work),
            EntryList(
                entries,
                records,
                views,
                criteria,
                calls,
                [self.blocks_record(each, first[each]) for each in blocks],
                self.split,
                self.needed,
                loss,
                which,
                [*map(self.place_of, self.terms)],
            ),
        )
        found = Lowered(
            program=program,
            sources=self.sources,
            inputs={name: given.number for name, given in self.inputs.items()},
            outputs=[self.place_of(layout) for layout in self.outputs],
            results=self.results,
            entries=Origins(nodes, [number for _, _, _, number, _ in self.entries]),
            split=self.split,
            nbytes=nbytes,
            kept=self.kept() if self.repeats else [],
            differentiating=[
                (operations[made], made.by_call)
                for what, _, made, _, _ in self.entries
                if what == RUN_BACKWARD and made.by_call
            ],
            added=sorted(self.added),
            alone=[
                (number, weight)
                for operation, number in operations.items()
                if (weight := self.stepped_alone(operation)) is not None
            ],
        )
        self.entries.clear()  # what makes records holds the lowering
        return found

    def kept(self) -> list[tuple[int, int]]:
        """See Lowered."""
        kept = list[tuple[int, int]]()
        alive = {s.offset: s.size for s in self.storages if s.place_of is None and s.first < self.split <= s.last}
        for first, size in sorted(alive.items()):
            if kept and first - kept[-1][1] < LINE:
                kept[-1] = kept[-1][0], first + size
            else:
                kept.append((first, first + size))
        return kept

    def blocks_record(self, blocks: Blocks, first: int) -> tuple[Any, ...]:
        """As EntryList takes it."""
        cut = blocks.cut
        criterion = self.losses[self.trained][0] if blocks.whole and self.trained is not None else -1
        places = self.place(blocks.gradients), self.place(blocks.losses)
        return cut.operations, first, cut.size, cut.lone, criterion, cut.sums, blocks.memory, *places

    def stepped_alone(self, operation: Operation) -> int | None:
        """The number of a large weight that only an operation reads, outside of blocks, whose backward may take its step."""
        if not operation.descriptor.steps or operation.accumulates or operation.backward is None:
            return None
        if any(operation in self.operations[row][: each.cut.operations] for row, each in self.blocks.items()):
            return None
        nodes = self.graph.nodes
        layer, weight = nodes[operation.backward].inputs[0], nodes[operation.number].inputs[1]
        if weight not in self.graph.parameters or self.graph.parameters[weight].size < FEWEST_ALONE:
            return None
        if not any(self.direct.get(each) == weight for each in self.rows.gradients(operation.backward)):
            return None
        return weight if self.rows.is_only_read_by(weight, layer) else None

    def gathered_input(self, name: str) -> tuple[int, int]:
        given = self.inputs[name]
        return given.number, given.gathered.root().offset if given.gathered is not None else 0


def _with_effects(graph: Graph) -> list[int]:
    """The nodes that run also where nothing depends on them: layers whose buffers move, and modules in Python."""
    return [
        number
        for number, node in enumerate(graph.nodes)
        if node.operation == "python" or (node.operation == "layer" and node.attributes["record"].moves_buffers)
    ]


def _readers(graph: Graph, among: set[int]) -> dict[int, list[int]]:
    """The nodes that read each, among some."""
    readers: dict[int, list[int]] = {}
    for number in sorted(among):
        for each in graph.nodes[number].inputs:
            readers.setdefault(each, []).append(number)
    return readers


def _direct(
    graph: Graph, gradients: Sequence[tuple[int, int]], readers: dict[int, list[int]]
) -> tuple[dict[int, int], set[int]]:
    """The gradients that layers may write or add where a parameter has it, and the sums of such, which nobody needs to take.

    That is where all that a parameter's gradient consists of is written by layers, and nobody else reads it.
    """
    direct: dict[int, int] = {}
    sums: set[int] = set()
    uses = Counter(number for _, number in gradients)
    for parameter, number in gradients:
        parts, added, waiting = list[int](), set[int](), [number]
        while waiting:
            each = waiting.pop()
            node = graph.nodes[each]
            if len(readers.get(each, ())) != (each != number):
                break
            if node.operation == "layer_gradient":
                parts.append(each)
            elif node.operation == "add" and all(graph.nodes[n].shape == node.shape for n in node.inputs):
                added.add(each)
                waiting += node.inputs
            else:
                break
        else:
            if uses[number] == 1:
                direct |= dict.fromkeys(parts, parameter)
                sums |= added
    return direct, sums
