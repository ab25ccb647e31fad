"""A traced module's program for inputs like some, and the records of its forwards, which backward reads."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.access import Access
from fastdl._kernels.program.call import Call, Record, Run
from fastdl._kernels.program.frame import Frame
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
from fastdl.graph.python import python_calls
from fastdl.graph.size import ObservedSizeError, numbers
from fastdl.graph.surroundings import Surroundings
from fastdl.graph.trace import SAMPLES, trace
from fastdl.graph.value import Value
from fastdl.messages import shown
from fastdl.nn.parameter import Parameter
from fastdl.nn.records import ThreadLock, changed_since, gradients_of_outputs, in_form, not_computed
from fastdl.nn.watching import PASSING
from fastdl.random import stream

if TYPE_CHECKING:
    from fastdl.nn.module import Module

Array = NDArray[Any]


class TracedProgram:
    """A module's program for inputs like some, and as the module is now.

    Args:
        module: the module.
        given: arrays by place and by name.
        dtype: of floating values.
        samples: the most of a batch.
        keeps: whether backward may follow.
        equal: whether all arrays have a row for each sample.
        checks: whether backward wants the parameters' values of its forward; a layer's does not.
    """

    def __init__(
        self, module: Module, given: Any, dtype: Any, samples: int, keeps: bool, equal: bool, checks: bool = True
    ) -> None:
        self.capacity, self.open, self.given, self.checks = samples, equal, given, checks
        (inputs, named) = given
        self.takes_one = len(inputs) == 1 and not named and isinstance(inputs[0], np.ndarray)
        try:
            sizes = SAMPLES if equal else None
            self._trace(module, given, dtype, samples, keeps, sizes)
        except ObservedSizeError:
            self.open = False
            self._trace(module, given, dtype, samples, keeps, None)

    def _trace(self, module: Module, given: Any, dtype: Any, samples: int, keeps: bool, sizes: Any) -> None:
        run = trace(module, given, dtype, samples, PASSING, sizes)
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
        lowered = self.lowered
        names = {f"x{number}": number for number in range(len(self.inputs))}
        seeds = {f"g{number}": place for place, number in enumerate(self.seeds)}
        nodes = {id(leaf): graph.nodes[number] for number, leaf in graph.parameters.items()}
        buffers = [leaf for leaf in graph.parameters.values() if not isinstance(leaf, Parameter)]
        updated = [graph.parameters[number] for number in graph.updates]
        parameters, modules = list(module.parameters()), list(module.modules())
        moved = [each for each in modules if each.training and each._buffer_names]
        self.graph = graph
        self.forward_access = Access(reads=[*parameters, *modules, *buffers], writes=[*moved, *updated])
        self.backward_access = Access(reads=[*parameters, *buffers], writes_gradients=parameters)
        floating = [number for number, value in enumerate(self.inputs) if value.dtype.kind == "f"]
        self.added = [graph.parameters[number] for number in lowered.added]
        self.run = Run(
            Frames(lowered.program, found(lowered.sources, graph)),
            traced=self,
            kind=Parameter,
            # What a parameter or buffer must be where it has moved.
            kinds={leaf: (node.dtype, node.shape) for leaf, node in nodes.items()},
            stream=stream,
            inputs=[(base, names[name]) for name, base in lowered.inputs.items() if name in names],
            seeds=[(base, seeds[name]) for name, base in lowered.inputs.items() if name in seeds],
            results=list(zip(lowered.results, floating, strict=False)),
            outputs=stored(lowered.outputs, self.outputs),
            structure=None if type(self.structure) is Value else self._structured,
            gradients=None if self.takes_one and lowered.results else self._gradients,
            differentiating=[(n, tuple([graph.parameters[p] for p in own])) for n, own in lowered.differentiating],
            added=self.added,
            # Of what forward updates it has the values of before.
            checked=[*self.parameters, *(leaf for leaf in buffers if leaf not in updated)]
            if self.checks and keeps
            else [],
            forward=self.forward_access,
            backward=self.backward_access,
            keeps=keeps,
            in_python=self.in_python,
        )

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
            results=gradients[count : count + len(self.floating)],
            by_call=True,
        ).lowered()

    def suits(self, samples: int) -> bool:
        """Whether it is for such a batch."""
        return samples <= self.capacity or not self.open

    def call(
        self, arrays: list[Array], names: tuple[str, ...], unchanged: Watch, surroundings: Surroundings | None
    ) -> Call:
        """The native call of arrays like these by place and by name, while nothing changes."""
        return Call(self.run, unchanged, surroundings, self.graph.least_samples, self.capacity, arrays, names)

    def forward(self, module: Module, arrays: list[Array], samples: int) -> Any:
        """The output, or the record of a forward that backward may follow."""
        graph = self.graph
        if graph.demanding is not None and samples < graph.least_samples:
            raise InvalidValueError(shown(graph.demanding), f"at least {graph.least_samples} samples", samples)
        found = self.run.forward(arrays, samples)
        if found is None:
            self.refuse_kind(module)
        return found

    def forward_in_python(self, arrays: list[Array], samples: int) -> Any:
        """A forward of which some entries are functions in Python: these run outside of turns."""
        frame, program = self.run.frames.take(), self.lowered.program
        frame.kept.clear()
        seed, draw = stream().take(program.draws) if program.draws else (0, 0)
        bases = self.run.given(arrays)
        first, stop = 0, self.lowered.split
        while True:
            with self.forward_access:
                if not self.run.binds(frame):
                    return None
                stopped = program.run(frame, first, stop, samples, bases, seed, draw)
                versions = self.run.versions()
            if not program.calls(stopped):
                break
            program.call(frame, stopped, samples, bases)
            first = stopped + 1
        self.refuse(stopped)
        return self.run.left(frame, arrays, samples, seed, draw, versions)

    def backward_in_python(
        self,
        module: Module,
        record: Record,
        frame: Frame,
        seeds: list[Array],
        found: list[Array] | None,
        parameters: bool,
    ) -> None:
        """A backward of which some entries are functions in Python."""
        program, stopped = self.lowered.program, -1
        frame.kept["adds"] = parameters
        with self.held():
            while True:
                with self.backward_access:
                    stopped = self.run.go_on_backward(module, record, frame, seeds, found, parameters, stopped)
                if not program.calls(stopped):
                    break
                program.call(frame, stopped, record.N, [])
        self.refuse(stopped)

    def copy_of(self, frame: Frame) -> Frame:
        """Another frame that holds what a forward has left in this one."""
        copy = self.run.frames.take()
        for first, stop in self.lowered.kept:  # another thread may be pulling in this frame, and write beside
            copy.arena[first:stop] = frame.arena[first:stop]
        copy.kept.update(frame.kept)
        return copy

    def aside(self, every: bool) -> dict[int, Any]:
        """By id, where gradients go that nobody asks for: those of parameters that are frozen by now, or of all."""
        unwanted = [p for p in self.parameters if every or not p._requires_grad]
        added = set(map(id, self.added))
        return {id(p): np.zeros(p.shape, self.graph.dtype) if id(p) in added else None for p in unwanted}

    def refuse(self, failed: int) -> None:
        """An error where an entry failed."""
        refuse_failed(failed, self.lowered.entries)

    def refuse_changed(self, module: Module) -> None:
        """The error where parameters have other values than in the forward."""
        raise changed_since(module)

    def refuse_kind(self, module: Module) -> None:
        """The error where the parameters are of another kind than when the module was planned."""
        raise InvalidStateError(
            shown(module), f"parameters of {self.graph.dtype}, as when it was called", "others", "call it again"
        )

    def seeds_of(self, module: Module, grad_output: Any, samples: int) -> list[Array]:
        """The gradients with respect to the outputs that have some, as the program reads them."""
        if not self.checks:
            (output,) = self.outputs
            layer: Any = module
            return [layer._gradient(grad_output, numbers(output.shape, {"N": samples}), output.dtype)]
        shapes = {
            place: numbers(each.shape, {"N": samples}) if each.dtype.kind == "f" else None
            for place, each in leaves(self.structure)
        }
        given = gradients_of_outputs(module, grad_output, shapes, self.graph.dtype)
        return [given[number] for number in self.seeds]

    def _gradients(self, module: Module, found: list[Array]) -> Any:
        """The gradients with respect to inputs in the form of these."""
        if self.takes_one:
            return found[0] if found else None
        gradients, kinds = iter(found), iter(self.inputs)
        inputs, named = mapped(self.given, lambda _: next(gradients) if next(kinds).dtype.kind == "f" else None)
        return in_form(module, inputs, named)

    def _structured(self, values: list[Array]) -> Any:
        """Outputs as forward returns them."""
        if self.is_tuple:
            return tuple(values)
        left = iter(values)
        return mapped(self.structure, lambda _: next(left))


def _values(module: Module, output: Any) -> list[Value]:
    found = [each for _, each in leaves(output)]
    for each in found:
        if not isinstance(each, Value):
            raise not_computed(module, each)
    return found


def _sum(one: Value, other: Value) -> Value:
    from fastdl.graph.operations import elementwise

    return elementwise("add", one, other)
