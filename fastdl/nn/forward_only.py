"""Modules that define forward alone: traced once, run and differentiated as native programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.access import Access
from fastdl._kernels.array import ready
from fastdl._kernels.program.frame import Frame, Loan
from fastdl._kernels.watch import Watch
from fastdl.casting import cast
from fastdl.data.nested import leaves, mapped
from fastdl.errors import InvalidStateError, InvalidTypeError, InvalidValueError
from fastdl.graph.execution import read, refuse_failed
from fastdl.graph.gradient import gradient
from fastdl.graph.lowering import Lowered, Lowering
from fastdl.graph.operations import as_value
from fastdl.graph.python import python_calls
from fastdl.graph.size import ObservedSizeError, numbers
from fastdl.graph.trace import SAMPLES, surroundings, trace
from fastdl.graph.value import NotTraceableError, Value, apart, current, traced_into
from fastdl.messages import shown
from fastdl.nn import eager
from fastdl.nn.flat import watch
from fastdl.nn.grad_mode import mode
from fastdl.nn.parameter import Parameter
from fastdl.nn.python_call import NotTracedError, call_in_python
from fastdl.nn.records import ThreadLock, check_versions, gradients_of_shapes, not_computed
from fastdl.nn.traced_operators import traced
from fastdl.nn.walk import TRANSIENT, first_parameter, in_python
from fastdl.random import stream
from fastdl.validation import true_or_false

if TYPE_CHECKING:
    from fastdl.nn.module import Module

Array = NDArray[Any]
# The most programs of a module that are kept, for shapes, dtypes and modes; and the idle frames of each.
MOST_PROGRAMS = 8
MOST_IDLE = 2
# The kinds of calls, such as those in training and in evaluation, that are known without a look at the model.
MOST_LATEST = 4
# A program is made so often at most where the modes change meanwhile.
MOST_ATTEMPTS = 3


def called(module: Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """What a module's call returns: for traced values others, for arrays the output of its program."""
    alone = type(inputs[0]) if len(inputs) == 1 and not named else None
    if alone is Value:
        return _apply(module, inputs, named, inputs)
    one_array = alone is np.ndarray
    if not one_array:
        inputs, named = mapped((inputs, named), traced)
        if values := [each for _, each in leaves((*inputs, named)) if type(each) is Value]:
            return _apply(module, inputs, named, values)
    if mode.traces and (graph := traced_into(module)) is not None and next(module._entries(), None) is not None:
        inputs, named = mapped((inputs, named), lambda each: as_value(graph, each))
        return _apply(module, inputs, named, [each for _, each in leaves((*inputs, named)) if type(each) is Value])
    if not module._forward_only:
        return apart(module.forward, *inputs, **named)
    keeps = mode.enabled
    output, record = recorded(module, inputs, named, keeps, one_array)
    if keeps:
        vars(module)["_kept"] = record
    return output


def recorded(
    module: Module, inputs: tuple[Any, ...], named: dict[str, Any], keeps: bool, one_array: bool = False
) -> tuple[Any, Any]:
    """The output, and the record whose `pull` gives gradients if `keeps`.

    It is the output of the module's program, or, where it is not to be traced or cannot be, of a run node by node. Where that
    cannot follow either, forward runs as it is written, and the record is the error of whoever asks for a gradient.
    """
    programs = Programs.of(module) if module.traced and not current.eager else None
    if programs is not None and not programs.refused:
        try:
            record = programs.like_the_latest(module, inputs[0], keeps) if one_array else None
            if record is None:
                record = programs.forward(module, inputs, named, keeps)
            return record.output, record if keeps else None
        except NotTracedError:
            programs.refused = True
    try:
        record = eager.run(module, inputs, named, _dtype(module, (inputs, named)))
    except NotTraceableError as error:
        return apart(module.forward, *inputs, **named), error if keeps else None
    return record.output, record if keeps else None


def _apply(module: Module, inputs: tuple[Any, ...], named: dict[str, Any], values: Sequence[Value]) -> Any:
    """The output for inputs among which these are values."""
    at_once = values[0].graph.array_of(values[0]) is not None
    if not in_python(module) or (at_once and module._forward_only):
        return module._apply(*inputs, **named)
    if len(values) != len(inputs) or named:
        raise NotTracedError(f"{type(module).__name__} runs in Python and takes others than values by place")
    return call_in_python(module, inputs)


class Programs:
    """A module's programs by the shapes and dtypes of its inputs.

    Nothing is locked, since a process may be forked and a signal handler may come at any time: threads that need a program at the
    same time make one each.
    """

    def __init__(self, module: Module) -> None:
        self._programs: dict[Any, _Program] = {}
        self._unchanged = watch(module, passing={"training"}, traced=True)
        self._modules, self._parameters, _ = module._contents()
        self._surroundings = surroundings(self._modules)
        self._latest: tuple[_Latest, ...] = ()
        # Whether a module in it cannot be traced.
        self.refused = False

    @staticmethod
    def of(module: Module) -> Programs:
        """The module's."""
        found = vars(module).get("_flat")
        if not isinstance(found, Programs) or not (found._unchanged.stands() and found._surroundings.stand()):
            found = vars(module)["_flat"] = Programs(module)
        return found

    def like_the_latest(self, module: Module, x: Array, keeps: bool) -> Record | None:
        """The record of a forward of one array, where one of the latest was of another such one; else None."""
        x = x.view()  # whose shape nobody else sets
        if not (x.flags.c_contiguous and x.flags.aligned):
            return None
        for latest in self._latest:
            if (
                latest.keeps is keeps
                and latest.changes is Parameter.changes
                and x.dtype == latest.dtype
                and x.shape[1:] == latest.shape
                and len(x) <= latest.program.capacity
                and latest.modes.stands()
            ):
                return latest.program.forward(module, [x], len(x))
        return None

    def forward(self, module: Module, inputs: tuple[Any, ...], named: dict[str, Any], keeps: bool) -> Record:
        """The record of a forward, with its output."""
        program, arrays = self._program(module, inputs, named, keeps)
        return program.forward(module, arrays, len(arrays[0]))

    def _program(
        self, module: Module, inputs: tuple[Any, ...], named: dict[str, Any], keeps: bool
    ) -> tuple[_Program, list[Array]]:
        """The program for these inputs, made where there is none, and their arrays as it reads them."""
        changes, modes = Parameter.changes, watch(module, traced=True)
        dtype = _dtype(module, (inputs, named))
        given = mapped((inputs, named), lambda value: _ready(value, dtype, module))
        arrays = [array for _, array in leaves(given)]
        if not arrays:
            raise InvalidTypeError(shown(module), "arrays as inputs", "none")
        shapes = keeps, tuple((name, array.shape[1:], array.dtype) for name, array in leaves(given))
        lengths = tuple(map(len, arrays))
        program = self._known(shapes, self._state(), lengths) or self._new(module, given, dtype, keeps, shapes, lengths)
        lasts = program.open and program in list(self._programs.values())
        if len(arrays) == 1 and not named and lasts and arrays[0].dtype == getattr(inputs[0], "dtype", None):
            latest = _Latest(program, keeps, changes, arrays[0].dtype, arrays[0].shape[1:], modes)
            self._latest = (latest, *self._latest[: MOST_LATEST - 1])
        return program, arrays

    def _state(self) -> Any:
        """The modes, and what is frozen."""
        return tuple([each.training for each in self._modules]), tuple([p._requires_grad for p in self._parameters])

    def _known(self, shapes: Any, state: Any, lengths: tuple[int, ...]) -> _Program | None:
        """A program that was made before."""
        for key in ((shapes, state, len(set(lengths)) == 1), (shapes, state, lengths)):
            program = self._programs.get(key)
            if program is not None and program.suits(lengths[0]):
                self._programs.pop(key, None)
                self._programs[key] = program  # the latest
                return program
        return None

    def _new(
        self, module: Module, given: Any, dtype: Any, keeps: bool, shapes: Any, lengths: tuple[int, ...]
    ) -> _Program:
        """A program for arrays like these, and for the modes as they were all the time while it was made."""
        equal = len(set(lengths)) == 1
        attempts = 0
        while True:
            attempts += 1
            state = self._state()
            program = _Program(module, given, dtype, lengths[0], keeps, equal)
            stayed = self._state() == state
            if stayed:
                self._programs[shapes, state, equal if program.open else lengths] = program
                for key in list(self._programs)[:-MOST_PROGRAMS]:
                    self._programs.pop(key, None)
            if stayed or attempts == MOST_ATTEMPTS:
                return program


class _Latest(NamedTuple):
    """What one of the latest calls of one array was like, and what of the module it depends on."""

    program: _Program
    keeps: bool
    changes: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    modes: Watch


class _Program:
    """A module's program for inputs like some, and as the module is now."""

    def __init__(self, module: Module, given: Any, dtype: Any, samples: int, keeps: bool, equal: bool) -> None:
        self.capacity, self.open, self.given = samples, equal, given
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
        self.inputs = [
            Value(graph, number, node.shape, node.dtype, frozenset())
            for number, node in enumerate(graph.nodes)
            if node.operation == "input"
        ]
        self.floating = [value for value in self.inputs if value.dtype.kind == "f"]
        self.parameters = [p for p in graph.parameters.values() if p._requires_grad] if keeps else []
        numbers, calls = {id(p): n for n, p in graph.parameters.items()}, python_calls(graph)
        found: list[Value] = []
        self.seeds: list[int] = []
        if keeps:
            wanted = [Value(graph, numbers[id(p)], p.shape, graph.dtype, frozenset()) for p in self.parameters]
            wanted += [*self.floating, *calls]
            for number, output in enumerate(self.outputs):
                if output.dtype.kind != "f":
                    continue
                self.seeds.append(number)
                seed = graph.input(f"g{number}", output.shape, graph.dtype)
                parts = gradient(output, wanted, seed)
                found = parts if not found else [_sum(a, b) for a, b in zip(found, parts, strict=True)]
        count = len(self.parameters)
        self.input_gradients = found[count : count + len(self.floating)]
        # Modules in Python keep what their backward reads in attributes.
        self.held = ThreadLock().held if calls else nullcontext
        lowering = Lowering(
            graph,
            self.outputs,
            gradients=list(zip(self.parameters, found[:count], strict=True)) if found else [],
            added=self.parameters,
            results=self.input_gradients,
        )
        self.lowered: Lowered = lowering.lowered()
        nodes = {id(leaf): graph.nodes[number] for number, leaf in graph.parameters.items()}
        self.kinds = {leaf: (node.dtype, node.shape) for leaf, node in nodes.items()}
        buffers = [leaf for leaf in graph.parameters.values() if not isinstance(leaf, Parameter)]
        updated = [graph.parameters[number] for number in graph.updates]
        # What a backward must find as its forward has; of what forward updates it has the values of before.
        self.unchanged = [*self.parameters, *(leaf for leaf in buffers if leaf not in updated)]
        self.graph, self.idle = graph, [self.lowered.program.frame()]
        parameters, modules = list(module.parameters()), list(module.modules())
        moved = [each for each in modules if each.training and each._buffer_names]
        self.forward_access = Access(reads=[*parameters, *modules, *buffers], writes=[*moved, *updated])
        self.backward_access = Access(reads=[*parameters, *buffers], writes_gradients=parameters)

    def suits(self, samples: int) -> bool:
        """Whether it is for such a batch."""
        return samples <= self.capacity or not self.open

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

    def _frame(self) -> Frame:
        """Memory for a call, as a rule that of one before."""
        try:
            return self.idle.pop()
        except IndexError:
            return self.lowered.program.frame()

    def copy_of(self, frame: Frame) -> Frame:
        """Another frame that holds what a forward has left in this one."""
        copy = self._frame()
        copy.arena[...] = frame.arena
        copy.kept.update(frame.kept)
        return copy

    def forward(self, module: Module, arrays: list[Array], samples: int) -> Record:
        """Run the forward entries in a frame."""
        graph, program = self.graph, self.lowered.program
        if graph.demanding is not None and samples < graph.least_samples:
            raise InvalidValueError(shown(graph.demanding), f"at least {graph.least_samples} samples", samples)
        frame = self._frame()
        frame.kept.clear()
        seed, draw = stream().take(program.draws) if program.draws else (0, 0)
        bases = [
            (self.lowered.inputs[name], array)
            for name, array in ((f"x{n}", array) for n, array in enumerate(arrays))
            if name in self.lowered.inputs
        ]
        with self.forward_access:
            self.bind(module, frame, Parameter.changes, {})
            stopped = program.run(frame, 0, self.lowered.split, samples, bases, seed, draw)
            versions = [leaf.version for leaf in self.unchanged]
        if program.calls(stopped):
            stopped = self.go_on(module, frame, stopped, False, samples, bases, (seed, draw), {})
        refuse_failed(stopped, self.lowered.entries)
        values = read(frame, self.lowered.outputs, self.outputs, samples)
        return Record(
            self, frame, bases, samples, mapped(self.structure, lambda _: next(values)), (seed, draw), versions
        )


class Record:
    """A forward: its output, and the frame that holds what backward reads; backward may run again."""

    def __init__(
        self,
        program: _Program,
        frame: Frame,
        bases: list[Any],
        samples: int,
        output: Any,
        draws: tuple[int, int],
        versions: list[int],
    ) -> None:
        self.program, self.frame, self.bases, self.samples = program, frame, bases, samples
        self.output, self.draws, self.versions = output, draws, versions
        self._loan = Loan(frame, program.idle, MOST_IDLE)
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
            gradients = iter(self._pull(module, frame, bases, parameters))
        finally:
            if frame is self.frame:
                self._free.append(frame)
        kinds = iter(self.program.inputs)
        inputs, named = mapped(self.program.given, lambda _: next(gradients) if next(kinds).dtype.kind == "f" else None)
        return named if named else inputs[0] if len(inputs) == 1 else inputs

    def _seeds(self, module: Any, grad_output: Any) -> list[Any]:
        """The gradients with respect to the outputs, as the program reads them."""
        program, places = self.program, self.program.lowered.inputs
        shapes = [
            numbers(each.shape, {"N": self.samples}) if each.dtype.kind == "f" else None for each in program.outputs
        ]
        given = gradients_of_shapes(module, grad_output, shapes, program.graph.dtype)
        return [(places[f"g{n}"], given[n]) for n in program.seeds if f"g{n}" in places]

    def _pull(self, module: Any, frame: Frame, bases: list[Any], parameters: bool) -> list[Array]:
        """Run the backward entries in a frame; the gradients with respect to floating inputs."""
        program, lowered = self.program, self.program.lowered
        with program.held():
            with program.backward_access:
                stopped, aside = self._begin_pull(module, frame, bases, parameters)
            if lowered.program.calls(stopped):
                stopped = program.go_on(module, frame, stopped, True, self.samples, bases, self.draws, aside)
            found = list(read(frame, lowered.results, program.input_gradients, self.samples))
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


def backward(module: Module, grad_output: Any) -> Any:
    """What Module.backward does for a module that defines forward alone: it uses up the latest forward's record."""
    record = vars(module).get("_kept")
    if isinstance(record, NotTraceableError):
        raise record
    if record is None or not hasattr(record, "pull"):
        raise InvalidStateError(
            shown(module),
            "a forward before each backward",
            "none since the latest backward",
            "call the model on a batch first, outside no_grad(), or use vjp",
        )
    gradients = record.pull(module, grad_output)
    if vars(module).get("_kept") is record:  # no other thread's
        vars(module)["_kept"] = None
    return gradients


def vjp(module: Module, inputs: tuple[Any, ...]) -> tuple[Any, Callable[..., Any]]:
    """See Module.vjp."""
    output, record = recorded(module, inputs, {}, True)

    def pullback(grad_output: Any, parameters: bool = True) -> Any:
        """Return the gradient with respect to the inputs; add to the parameters' gradients if `parameters`."""
        if isinstance(record, NotTraceableError):
            raise record
        return record.pull(module, grad_output, true_or_false(parameters, "parameters", "pullback"))

    return output, pullback


def _dtype(module: Module, given: Any) -> np.dtype[Any]:
    """The dtype that a module computes in: its weights', or that of its first floating input where it has none."""
    first = first_parameter(module)
    if first is not None:
        return first.dtype
    kinds: list[Any] = [getattr(each, "dtype", None) for _, each in leaves(given)]
    return next((np.dtype(kind) for kind in kinds if kind in (np.float32, np.float64)), np.dtype(np.float32))


def _ready(value: Any, dtype: Any, module: Module) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub" or not array.ndim:
        raise InvalidTypeError(shown(module), "arrays of numbers with rows as inputs", f"{array.dtype} {array.shape}")
    if array.dtype.kind == "f":
        return ready(cast(array, dtype, copy=False), dtype, module)
    return np.require(array, np.bool_ if array.dtype.kind == "b" else np.int64, ["C", "A"]).view()


def _values(module: Module, output: Any) -> list[Value]:
    found = [each for _, each in leaves(output)]
    for each in found:
        if not isinstance(each, Value):
            raise not_computed(module, each)
    return found


def _sum(one: Value, other: Value) -> Value:
    from fastdl.graph.operations import elementwise

    return elementwise("add", one, other)
