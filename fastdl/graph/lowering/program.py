"""Lowering: a graph as the records of a native program, with a place in memory for each value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import fastdl.graph.lowering.layers
import fastdl.graph.lowering.nodes
import fastdl.graph.lowering.python  # noqa: F401 - these enter what lowers their operations
from fastdl._kernels.program.program import Program
from fastdl._kernels.program.python_call import PythonCall
from fastdl._kernels.program.sequence import RUN_BACKWARD, RUN_FORWARD, RUN_LOSS, RUN_NODE, RUN_PYTHON, EntryList
from fastdl.graph.arena import placed
from fastdl.graph.graph import Graph, Node
from fastdl.graph.interpreter import needed
from fastdl.graph.layout import dense
from fastdl.graph.lowering.entries import Entries
from fastdl.graph.lowering.memory import pair
from fastdl.graph.records import Place, Record
from fastdl.graph.value import Value

# Multiply-adds that take less time than giving the GIL away and taking it again.
LIGHT = 20_000


class Lowered:
    """A program and what its caller must know of it.

    Attributes:
        program: runs the graph.
        inputs: by name, the base of each array that a run is given.
        outputs: the layouts' places of the wanted values.
        results: those of the further values.
        entries: the user's line and the operation of each entry.
        split: the number of the first entry that only gradients need.
        nbytes: of the arena.
    """

    def __init__(self, **fields: Any) -> None:
        self.program: Program = fields["program"]
        self.inputs: dict[str, int] = fields["inputs"]
        self.outputs: list[Place] = fields["outputs"]
        self.results: list[Place] = fields["results"]
        self.entries: list[Node] = fields["entries"]
        self.split: int = fields["split"]
        self.nbytes: int = fields["nbytes"]


class Lowering(Entries):
    """Makes a program of a graph.

    Args:
        graph: the graph, with its gradients.
        outputs: the values that are wanted of the forward.
        gradients: by parameter, the value of its gradient, which the program stores in the parameter's `grad`.
        added: of these, those that are added to what is there.
        loss: the value that is trained on.
        results: further values, which the backward entries yield.
        given: names of the inputs that are gathered into the arena where batches are shuffled.
        begin: called before the first module in Python.
        terms: numbers whose means over an epoch are wanted.
    """

    def __init__(
        self,
        graph: Graph,
        outputs: Sequence[Value],
        gradients: Sequence[tuple[Any, Value]] = (),
        added: Sequence[Any] = (),
        loss: Value | None = None,
        given: Sequence[str] = (),
        results: Sequence[Value] = (),
        begin: Callable[[], object] | None = None,
        terms: Sequence[Value] = (),
    ) -> None:
        wanted = [*outputs, *([loss] if loss is not None else []), *terms]
        forward = needed(graph, [*(v.number for v in (*wanted, *graph.updates.values())), *_with_effects(graph)])
        backward = [value.number for value in (*results, *(v for _, v in gradients))]
        backward += [n for n, node in enumerate(graph.nodes) if node.operation == "python_backward"]
        everything = needed(graph, [*forward, *backward])
        roots = {v.number for v in (*wanted, *results, *(v for _, v in gradients), *graph.updates.values())}
        own = {id(parameter): value.number for parameter, value in gradients}
        adding = {id(parameter) for parameter in added}
        readers = _readers(graph, everything)
        # The gradients that a layer may write where the parameter has it: nothing else reads them.
        direct = {
            value.number: parameter
            for parameter, value in gradients
            if id(parameter) not in adding
            and graph.nodes[value.number].operation == "layer_gradient"
            and not readers.get(value.number)
            and list(own.values()).count(value.number) == 1
        }
        super().__init__(graph, readers, roots, direct, set(given), begin)
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
            self.keep_gradient(parameter, value, id(parameter) in adding)
        # Where gradients are asked for outside of fit, they may be asked for again.
        self.repeats = loss is None
        self.results = [self.owned(value) for value in results]
        end = len(self.entries)
        for layout in [*self.results, *self.outputs, *([self.loss] if self.loss is not None else []), *self.terms]:
            self.use(layout, end)

    def update_buffers(self) -> None:
        for number, value in self.graph.updates.items():
            buffer = self.graph.parameters[number]
            to = dense(self.outside((id(buffer), False), (buffer, False)), value.shape)
            self.run_elementwise("cast", value.dtype, value.shape, to, [(self.layout(value), value.dtype)])

    def keep_gradient(self, parameter: Any, value: Value, adds: bool) -> None:
        """Store a gradient where its parameter has it, or add it to what is there."""
        if value.number in self.direct:
            return
        self.node = self.graph.nodes[value.number]
        home = self.outside((id(parameter), True), (parameter, "always"))
        to, own = dense(home, value.shape), (self.layout(value), value.dtype)
        inputs = [(to, value.dtype), own] if adds else [own]
        self.run_elementwise("add" if adds else "cast", value.dtype, value.shape, to, inputs)

    def lowered(self, criterion: int = -1) -> Lowered:
        """The program; `criterion` is the number of the loss node that is trained on, or -1."""
        for storage in self.storages:
            if storage.first < 0:
                storage.used(0)
            if self.repeats and storage.first < self.split <= storage.last:
                storage.used(len(self.entries))
        nbytes = placed(self.storages)
        entries: list[tuple[int, int, tuple[int, int]]] = []
        operations: list[Record] = []
        nodes: list[Any] = []
        criteria: list[Any] = []
        calls: list[PythonCall] = []
        for what, samples, made, _ in self.entries:
            if what in (RUN_FORWARD, RUN_BACKWARD):
                number = len(operations)
                operations.append(made())
            elif what == RUN_NODE:
                number = len(nodes)
                nodes.append(made())
            elif what == RUN_LOSS:
                number = len(criteria)
                criteria.append(made())
            elif what == RUN_PYTHON:
                number = len(calls)
                calls.append(made())
            else:
                number = made()
            entries.append((what, number, pair(samples)))
        loss = None if self.loss is None else self.place_of(self.loss)
        which = self.losses[criterion][0] if criterion >= 0 else -1
        program = Program(
            operations,
            None,
            self.itemsize,
            nbytes,
            [self.gathered_input(name) for name in self.inputs if name in self.gathered],
            [self.place_of(layout) for layout in self.outputs],
            self.graph.draws,
            LIGHT // max(1, self.work),
            self.sources,
            (0, 1, False, False, 0, 0),
            EntryList(entries, nodes, criteria, calls, self.split, loss, which, [*map(self.place_of, self.terms)]),
        )
        return Lowered(
            program=program,
            inputs={name: given.number for name, given in self.inputs.items()},
            outputs=[self.place_of(layout) for layout in self.outputs],
            results=[self.place_of(layout) for layout in self.results],
            entries=[node for _, _, _, node in self.entries],
            split=self.split,
            nbytes=nbytes,
        )

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
