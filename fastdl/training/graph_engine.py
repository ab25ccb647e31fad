"""The native engine of traced models: a forward and a loss in NumPy as one program with their gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.access import Access
from fastdl.casting import cast
from fastdl.data.nested import Nested, bare, leaves, mapped
from fastdl.errors import InvalidValueError
from fastdl.graph.execution import refuse_failed
from fastdl.graph.gradient import gradient
from fastdl.graph.interpreter import needed
from fastdl.graph.lowering import Lowered, Lowering
from fastdl.graph.python import python_calls
from fastdl.graph.size import ObservedSizeError, numbers, same
from fastdl.graph.trace import SAMPLES, surroundings, trace_loss
from fastdl.graph.value import Value
from fastdl.messages import shown
from fastdl.nn.flat import watch
from fastdl.nn.loss import Loss
from fastdl.nn.parameter import Parameter
from fastdl.nn.python_call import NotTracedError
from fastdl.nn.walk import TRANSIENT, weights_dtype
from fastdl.plan import NotPlannedError
from fastdl.training.engine import Losses, Task
from fastdl.training.native_engine import NativeEngine, contents, is_native

Array = NDArray[Any]
# The most lengths of batches for which a model is traced that asks for them.
MOST_LENGTHS = 8


def is_for_a_graph(task: Task, x: Any, y: Any) -> bool:
    """Whether a task needs a trace: a module or a criterion without a backward, several inputs, outputs or targets."""
    return (
        isinstance(x, Nested)
        or isinstance(y, Nested)
        or not hasattr(task.criterion, "backward")
        or has_forward_only(task.model)
    )


def has_forward_only(model: Any) -> bool:
    """Whether a model or a module in it defines forward alone."""
    return any(module._forward_only for module in model.modules())


class GraphEngine(NativeEngine):
    """A traced model, its loss and its optimizer as one native program."""

    lasts = True

    def __init__(self, task: Task, x: Any, y: Any, batch_size: int) -> None:
        """Trace for batches of x and y; a NotPlannedError says why that cannot be."""
        self.task = task
        model, criterion, optimizer = task.model, task.criterion, task.optimizer
        if not is_native(optimizer):
            raise NotPlannedError(f"{type(optimizer).__name__} is an optimizer in Python")
        optimizer.forget_gradients()
        own = task.parameters()
        watched = [criterion] if hasattr(criterion, "__dict__") else []
        self._watch, self._contents = watch(model, *watched, in_place=own, traced=True), contents(criterion)
        self._surroundings = surroundings(model, criterion)
        self.most = min(batch_size, len(x))
        dtype = weights_dtype(model)
        if any(parameter.dtype != dtype for parameter in own):
            raise NotPlannedError(f"the optimizer's parameters are of another dtype than the first one's {dtype}")
        ids = {id(parameter) for parameter in own}
        self._foreign = [parameter for parameter in model.parameters() if id(parameter) not in ids]
        self._weights: list[Any] = []
        self._shapes = _shapes(x), _shapes(y)
        # Whether the trace has asked for the number of samples, and engines for shorter batches then.
        self.exact = False
        self._shorter: dict[int, GraphEngine] = {}
        try:
            self._plan_for(x, y, dtype, SAMPLES)
        except ObservedSizeError:
            self.exact, self.in_a_row = True, False
            self._plan_for(x, y, dtype, self.most)
        except NotTracedError as error:
            raise NotPlannedError(str(error)) from None

    def _plan_for(self, x: Any, y: Any, dtype: Any, samples: Any) -> None:
        """Trace, differentiate and lower."""
        model, criterion = self.task.model, self.task.criterion
        x, y, self._samples = bare(x), bare(y), samples
        graph, output, loss, terms = trace_loss(model, criterion, x, y, dtype, self.most, samples, TRANSIENT)
        assert loss is not None
        self._graph, self._structure = graph, output
        self._values = [each for _, each in leaves(output) if isinstance(each, Value)]
        reached = needed(graph, [loss.number])
        read = [(n, p) for n, p in graph.parameters.items() if n in reached and isinstance(p, Parameter)]
        learning = [(n, p) for n, p in read if p._requires_grad]
        calls = [call for call in python_calls(graph) if call.number in reached]
        modules = {id(m): m for m in (graph.nodes[call.number].attributes["call"].module for call in calls)}
        in_python = {id(p): p for module in modules.values() for p in module.parameters()}
        inputs = {n: node.attributes["name"] for n, node in enumerate(graph.nodes) if node.operation == "input"}
        targets = {n for n, name in inputs.items() if name.startswith("y")}
        if targets and not reached & targets:
            hint = "write fit(x) without targets"
            raise InvalidValueError(
                "Trainer.fit", "a criterion that uses the targets", "one that uses none of them", hint
            )
        if not (read or in_python):
            raise InvalidValueError("Trainer.fit", "a loss that depends on parameters", "one that depends on none")
        wanted = [Value(graph, n, p.shape, graph.dtype, frozenset()) for n, p in learning]
        gradients = gradient(loss, [*wanted, *calls])[: len(wanted)]
        # The inputs and targets by their names, and what the program reads them as.
        self._dtypes = {node.attributes["name"]: node.dtype for node in graph.nodes if node.operation == "input"}
        foreign = {id(parameter) for parameter in self._foreign}
        # Modules in Python add to gradients, which begin with zeros in each step.
        begun = [p for p in in_python.values() if id(p) not in foreign]

        def begin() -> None:
            for parameter in begun:
                parameter._grad.fill(0)

        lowering = Lowering(
            graph,
            self._values,
            gradients=[(p, g) for (_, p), g in zip(learning, gradients, strict=True)],
            added=[p for _, p in learning if id(p) in foreign or id(p) in in_python],
            loss=loss,
            given=list(self._dtypes),
            begin=begin if begun else None,
            terms=[*terms.values()],
        )
        is_loss = graph.nodes[loss.number].operation == "loss" and isinstance(criterion, Loss)
        self._lowered: Lowered = lowering.lowered(loss.number if is_loss else -1)
        self._program = self._lowered.program
        self._frame = self._program.frame()
        self._begin_with(self._lowered.nbytes, {id(p) for _, p in learning} | set(in_python))
        if modules:
            names = dict.fromkeys(type(module).__name__ for module in modules.values())
            self.name += f", with {', '.join(names)} in Python"
        written = list({id(p): p for p in (*self._own, *model.parameters())}.values())
        buffers = [leaf for leaf in graph.parameters.values() if not isinstance(leaf, Parameter)]
        self._access = Access(writes=[*written, *model.modules(), *buffers], writes_gradients=written)

    def current(self) -> bool:
        """See Engine."""
        return super().current() and self._surroundings.stand()

    def suits(self, x: Any, y: Any) -> bool:
        """See Engine."""
        return (_shapes(x), _shapes(y)) == self._shapes

    def epoch(self, x: Any, y: Any, order: Array | None, batch_size: int, outputs: list[Array] | None) -> Losses:
        """See Engine. A program for batches of one size leaves shorter ones to others."""
        rows = len(x) if order is None else len(order)
        if self.exact and rows < self.most:
            shorter = self._shorter.get(rows)
            if shorter is None:
                for each in list(self._shorter)[: 1 - MOST_LENGTHS]:
                    self._shorter.pop(each, None)
                shorter = self._shorter[rows] = GraphEngine(self.task, x, y, rows)
            return shorter.epoch(x, y, order, rows, outputs)
        if self.exact and rows % self.most:
            whole = slice(0, rows - rows % self.most)
            x, y, order = (x[whole], y[whole], None) if order is None else (x, y, order[whole])
        return super().epoch(x, y, order, batch_size, outputs)

    def _as_planned(self, x: Any, y: Any) -> tuple[Any, Any]:
        """See NativeEngine."""
        if (_shapes(x), _shapes(y)) != self._shapes or (len(y) != len(x) and bare(y) is not None):
            raise InvalidValueError("GraphEngine", f"rows as planned, {self._shapes}", f"{_shapes(x)} and {_shapes(y)}")
        return x, y

    def _arrays(self, x: Any, y: Any) -> list[Array]:
        """See NativeEngine."""
        given = dict(_named(x, "x")) | dict(_named(y, "y"))
        # The model may have been cast to another dtype than that of the rows.
        return [
            np.require(cast(given[name], self._dtypes[name], copy=False), requirements=["C", "A"])
            for name in self._lowered.inputs
        ]

    def _room(self, rows: int) -> list[Array]:
        """See NativeEngine."""
        found = []
        for value in self._values:
            if not value.shape or not same(value.shape[0], self._samples):
                raise NotPlannedError("metrics want outputs with a row for each sample")
            found.append(np.empty((rows, *numbers(value.shape[1:], {})), value.dtype))
        return found

    def _structured(self, outputs: list[Array]) -> Any:
        """See NativeEngine."""
        left = iter(outputs)
        return mapped(self._structure, lambda _: next(left))

    def _check_batches(self, rows: int, batch_size: int) -> None:
        """See NativeEngine."""
        graph, fewest = self._graph, rows % min(batch_size, rows or 1) or batch_size
        if rows and fewest < graph.least_samples:
            raise InvalidValueError(
                shown(graph.demanding),
                f"at least {graph.least_samples} samples in every batch",
                fewest,
                "write batches of other sizes",
            )

    def _check_targets(self, target: Any, batch_size: int) -> None:
        """Kernels check indices where they use them."""

    def _refuse_failed(self, entry: int) -> None:
        """See NativeEngine."""
        refuse_failed(entry, self._lowered.entries)

    def _explain(self, target: Any) -> None:
        """See NativeEngine."""

    def _non_finite_place(self, x: Any, y: Any, seed: int, call: int) -> str:
        """Words for the line that has yielded the first value that is not finite."""
        bases = list(zip(self._lowered.inputs.values(), self._arrays(x, y), strict=True))
        before = [(buffer, buffer.copy()) for buffer in self.task.model.buffers()]
        number = self._program.first_not_finite_entry(self._frame, len(x), bases, seed, call)
        for buffer, values in before:
            buffer[...] = values
        if number < 0:
            return ""
        node = self._lowered.entries[number]
        if node.operation == "layer":
            names = {id(module): name for name, module in self.task.model.named_modules()}
            record = node.attributes["record"]
            return f", first in the output of layer {names.get(id(record.module), '')} {record.name}"
        if node.operation == "python":
            return f", first in {type(node.attributes['call'].module).__name__}, in Python, at {node.line}"
        return f", first in {node.operation} at {node.line}"


def _named(value: Any, prefix: str) -> Iterable[tuple[str, Any]]:
    """Arrays by the names that a trace gives them."""
    arrays = value.arrays() if isinstance(value, Nested) else [("", value)]
    return [(f"{prefix}{number}", array) for number, (_, array) in enumerate(arrays)]


def _shapes(value: Any) -> list[Any]:
    return [(name, array.shape[1:], array.dtype) for name, array in _named(value, "")]
