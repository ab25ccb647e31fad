"""A traced module's program for inputs like some, and the records of its forwards, which backward reads."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.access import Access
from fastdl._kernels.program.call import TracedCall
from fastdl._kernels.program.frame import Frame, Loan
from fastdl._kernels.program.program import Frames
from fastdl._kernels.watch import Watch
from fastdl.data.nested import leaves, mapped
from fastdl.errors import InvalidStateError, InvalidValueError
from fastdl.graph.execution import refuse_failed, stored
from fastdl.graph.gradient import gradient
from fastdl.graph.graph import Graph
from fastdl.graph.lowering import Lowered, Lowering
from fastdl.graph.lowering.plans import planned
from fastdl.graph.lowering.sources import found
from fastdl.graph.purity import Surroundings
from fastdl.graph.python import python_calls
from fastdl.graph.size import ObservedSizeError, numbers
from fastdl.graph.trace import SAMPLES, trace
from fastdl.graph.value import Value
from fastdl.messages import shown
from fastdl.nn.parameter import Parameter
from fastdl.nn.records import ThreadLock, check_versions, gradients_of_shapes, not_computed
from fastdl.nn.walk import TRANSIENT
from fastdl.random import stream

if TYPE_CHECKING:
    from fastdl.nn.module import Module

Array = NDArray[Any]


class TracedProgram:
    """A module's program for inputs like some, and as the module is now."""

    def __init__(self, module: Module, given: Any, dtype: Any, samples: int, keeps: bool, equal: bool) -> None:
        self.capacity, self.open, self.given = samples, equal, given
        (inputs, named) = given
        self.takes_one = len(inputs) == 1 and not named and isinstance(inputs[0], np.ndarray)
        try:
            sizes = SAMPLES if equal else None
            self._trace(module, given, dtype, samples, keeps, sizes)
        except ObservedSizeError:
            self.open = False
            self._trace(module, given, dtype, samples, keeps, None)

    def _trace(self, module: Module, given: Any, dtype: Any, samples: int, keeps: bool, sizes: Any) -> None:
        run = trace(module, given, dtype, samples, sizes, TRANSIENT)
        graph, self.structure = run.graph, run.output
        self.outputs = _values(module, run.output)
        self.is_tuple = type(run.output) is tuple and all(type(each) is Value for each in run.output)
        self.keeps = keeps
        self.inputs = [
            Value(graph, number, node.shape, node.dtype, frozenset())
            for number, node in enumerate(graph.nodes)
            if node.operation == "input"
        ]
        self.floating = [value for value in self.inputs if value.dtype.kind == "f"]
        learning = [number for number, leaf in graph.parameters.items() if leaf._requires_grad] if keeps else []
        self.parameters = [graph.parameters[number] for number in learning]
        # The outputs that have a gradient.
        self.seeds = [number for number, output in enumerate(self.outputs) if keeps and output.dtype.kind == "f"]
        calls = python_calls(graph)
        # Modules in Python keep what their backward reads in attributes.
        self.held = ThreadLock().held if calls else nullcontext
        self.in_python = bool(calls)
        how = "call", keeps, tuple(learning), tuple([output.number for output in self.outputs])
        self.lowered = planned(graph, how, lambda: self._lowered(graph, learning, calls))
        self.stored_outputs = stored(self.lowered.outputs, self.outputs)
        self.stored_gradients = stored(self.lowered.results, self.floating if self.seeds else [])
        # The base of each input that is read, and which it is.
        names = {f"x{number}": number for number in range(len(self.inputs))}
        self.read_inputs = [(base, names[name]) for name, base in self.lowered.inputs.items() if name in names]
        # The same of the gradients with respect to outputs.
        places = self.lowered.inputs
        self.read_seeds = [(places[f"g{number}"], number) for number in self.seeds if f"g{number}" in places]
        nodes = {id(leaf): graph.nodes[number] for number, leaf in graph.parameters.items()}
        self.kinds = {leaf: (node.dtype, node.shape) for leaf, node in nodes.items()}
        buffers = [leaf for leaf in graph.parameters.values() if not isinstance(leaf, Parameter)]
        updated = [graph.parameters[number] for number in graph.updates]
        # What a backward must find as its forward has; of what forward updates it has the values of before.
        self.unchanged = [*self.parameters, *(leaf for leaf in buffers if leaf not in updated)]
        self.graph, self.frames = graph, Frames(self.lowered.program, found(self.lowered.sources, graph))
        parameters, modules = list(module.parameters()), list(module.modules())
        moved = [each for each in modules if each.training and each._buffer_names]
        self.forward_access = Access(reads=[*parameters, *modules, *buffers], writes=[*moved, *updated])
        self.backward_access = Access(reads=[*parameters, *buffers], writes_gradients=parameters)

    def _lowered(self, graph: Graph, learning: list[int], calls: list[Value]) -> Lowered:
        """The graph's program, with the gradients of some parameters."""
        wanted = [Value(graph, n, graph.nodes[n].shape, graph.dtype, frozenset()) for n in learning]
        wanted += [*self.floating, *calls]
        gradients: list[Value] = []
        for number in self.seeds:
            output = self.outputs[number]
            parts = gradient(output, wanted, graph.input(f"g{number}", output.shape, graph.dtype))
            gradients = parts if not gradients else [_sum(a, b) for a, b in zip(gradients, parts, strict=True)]
        count = len(learning)
        return Lowering(
            graph,
            self.outputs,
            gradients=list(zip(learning, gradients[:count], strict=True)) if gradients else [],
            added=learning,
            results=gradients[count : count + len(self.floating)],
        ).lowered()

    def output_shapes(self, samples: int) -> list[tuple[int, ...] | None]:
        """Those of so many samples; None for outputs that have no gradient."""
        return [numbers(each.shape, {"N": samples}) if each.dtype.kind == "f" else None for each in self.outputs]

    def suits(self, samples: int) -> bool:
        """Whether it is for such a batch."""
        return samples <= self.capacity or not self.open

    def call(
        self, arrays: list[Array], names: tuple[str, ...], unchanged: Watch, moves: int, surroundings: Surroundings
    ) -> TracedCall:
        """The native call of arrays like these by place and by name, while nothing changes."""
        return TracedCall(
            self.frames,
            unchanged,
            self.graph.least_samples,
            self.capacity,
            stream,
            self.forward_access,
            arrays=arrays,
            names=names,
            traced=self,
            keeps=self.keeps,
            moves=moves,
            surroundings=surroundings,
            bases=self.read_inputs,
            outputs=self.stored_outputs,
            alone=type(self.structure) is Value,
            in_tuple=self.is_tuple,
            in_python=self.in_python,
            record=Record,
        )

    def bind(self, module: Module, frame: Frame, changes: int | None, aside: dict[int, Array]) -> None:
        """Let a frame name the arrays that parameters live in now, within a turn; an error where they are of another kind."""
        if not frame.bind_arrays(self.kinds, changes, aside):
            raise InvalidStateError(
                shown(module), f"parameters of {self.graph.dtype}, as when it was called", "others", "call it again"
            )

    def go_on(
        self,
        module: Module,
        frame: Frame,
        stopped: int,
        backward: bool,
        samples: int,
        bases: list[Any],
        draws: tuple[int, int],
        aside: dict[int, Array],
    ) -> int:
        """Run the entries from one in Python on, those in Python outside of turns; the number of one that failed, or -1."""
        program, access = self.lowered.program, self.backward_access if backward else self.forward_access
        last = len(self.lowered.entries) if backward else self.lowered.split
        while program.calls(stopped):
            program.call(frame, stopped, samples, bases)
            with access:
                self.bind(module, frame, None, aside)
                stopped = program.run(frame, stopped + 1, last, samples, bases, *draws)
        return stopped

    def copy_of(self, frame: Frame) -> Frame:
        """Another frame that holds what a forward has left in this one."""
        copy = self.frames.take()
        for first, stop in self.lowered.kept:  # another thread may be pulling in this frame, and write beside
            copy.arena[first:stop] = frame.arena[first:stop]
        copy.kept.update(frame.kept)
        return copy

    def forward(self, module: Module, arrays: list[Array], samples: int) -> Record:
        """Run the forward entries in a frame."""
        graph, program = self.graph, self.lowered.program
        if graph.demanding is not None and samples < graph.least_samples:
            raise InvalidValueError(shown(graph.demanding), f"at least {graph.least_samples} samples", samples)
        frame = self.frames.take()
        frame.kept.clear()
        seed, draw = stream().take(program.draws) if program.draws else (0, 0)
        bases = [(base, arrays[number]) for base, number in self.read_inputs]
        with self.forward_access:
            self.bind(module, frame, Parameter.changes, {})
            stopped = program.run(frame, 0, self.lowered.split, samples, bases, seed, draw)
            versions = self.versions() if self.keeps else []
        if program.calls(stopped):
            stopped = self.go_on(module, frame, stopped, False, samples, bases, (seed, draw), {})
        self.refuse(stopped)
        output = self.structured(frame.read(self.stored_outputs, samples))
        return Record(self, frame, bases, samples, output, (seed, draw), versions)

    def versions(self) -> list[int]:
        """Those of what a backward must find as its forward has."""
        return [leaf.version for leaf in self.unchanged]

    def refuse(self, failed: int) -> None:
        """An error where an entry failed."""
        refuse_failed(failed, self.lowered.entries)

    def structured(self, values: list[Array]) -> Any:
        """Outputs as forward returns them."""
        if type(self.structure) is Value:
            return values[0]
        if self.is_tuple:
            return tuple(values)
        left = iter(values)
        return mapped(self.structure, lambda _: next(left))


class Record:
    """A forward: its output, and the frame that holds what backward reads; backward may run again."""

    def __init__(
        self,
        program: TracedProgram,
        frame: Frame,
        bases: list[Any],
        samples: int,
        output: Any,
        draws: tuple[int, int],
        versions: list[int],
    ) -> None:
        self.program, self.frame, self.bases, self.samples = program, frame, bases, samples
        self.output, self.draws, self.versions = output, draws, versions
        self._loan = Loan(frame, program.frames.idle)
        # The frames that no pull uses: several threads, or a signal handler amid a pull, may pull at the same time.
        self._free = [frame]

    def pull(self, module: Any, grad_output: Any, parameters: bool = True) -> Any:
        """The gradients with respect to the inputs; those of parameters are added to theirs."""
        bases = self.bases + self._seeds(module, grad_output)
        try:
            frame = self._free.pop()
        except IndexError:
            frame = self.program.copy_of(self.frame)
        try:
            found = self._pull(module, frame, bases, parameters)
        finally:
            if frame is self.frame:
                self._free.append(frame)
        if self.program.takes_one:
            return found[0] if found else None
        gradients = iter(found)
        kinds = iter(self.program.inputs)
        inputs, named = mapped(self.program.given, lambda _: next(gradients) if next(kinds).dtype.kind == "f" else None)
        return named if named else inputs[0] if len(inputs) == 1 else inputs

    def _seeds(self, module: Any, grad_output: Any) -> list[Any]:
        """The gradients with respect to the outputs, as the program reads them."""
        program = self.program
        given = gradients_of_shapes(module, grad_output, program.output_shapes(self.samples), program.graph.dtype)
        return [(place, given[number]) for place, number in program.read_seeds]

    def _pull(self, module: Any, frame: Frame, bases: list[Any], parameters: bool) -> list[Array]:
        """Run the backward entries in a frame; the gradients with respect to floating inputs."""
        program, lowered = self.program, self.program.lowered
        with program.held():
            with program.backward_access:
                stopped, aside = self._begin_pull(module, frame, bases, parameters)
            if lowered.program.calls(stopped):
                stopped = program.go_on(module, frame, stopped, True, self.samples, bases, self.draws, aside)
            found = frame.read(program.stored_gradients, self.samples)
        refuse_failed(stopped, lowered.entries)
        return found

    def _begin_pull(
        self, module: Module, frame: Frame, bases: list[Any], parameters: bool
    ) -> tuple[int, dict[int, Array]]:
        """Run the backward entries, within a turn; the number of the one that stops it, and where unwanted gradients go."""
        program, lowered = self.program, self.program.lowered
        check_versions(module, program.unchanged, self.versions)
        # The gradients of parameters that are frozen by now, or not asked for, go where nobody looks.
        aside = {
            id(p): np.zeros(p.shape, program.graph.dtype)
            for p in program.parameters
            if not (parameters and p._requires_grad)
        }
        for parameter in program.parameters:
            if parameter._forgotten and id(parameter) not in aside:
                parameter._grad.fill(0)
                parameter._forgotten = False
        program.bind(module, frame, None if aside else Parameter.changes, aside)
        frame.kept["adds"] = parameters
        last = len(lowered.entries)
        return lowered.program.run(frame, lowered.split, last, self.samples, bases, *self.draws), aside


def _values(module: Module, output: Any) -> list[Value]:
    found = [each for _, each in leaves(output)]
    for each in found:
        if not isinstance(each, Value):
            raise not_computed(module, each)
    return found


def _sum(one: Value, other: Value) -> Value:
    from fastdl.graph.operations import elementwise

    return elementwise("add", one, other)
