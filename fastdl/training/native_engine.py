"""The native engine: a model's traced forward, its loss and its optimizer as one program, an epoch in one call."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.access import Access
from fastdl._kernels.program.program import TrainOptions
from fastdl.casting import cast
from fastdl.data.nested import Nested, bare, form_of, leaves, mapped
from fastdl.errors import InvalidValueError
from fastdl.graph.execution import refuse_failed, stored
from fastdl.graph.gradient import gradient
from fastdl.graph.interpreter import needed
from fastdl.graph.lowering import Lowering
from fastdl.graph.lowering.plans import planned
from fastdl.graph.lowering.sources import found
from fastdl.graph.python import python_calls
from fastdl.graph.size import ObservedSizeError, Size, numbers, same
from fastdl.graph.trace import SAMPLES, surroundings, trace_loss
from fastdl.graph.value import Value, last_line
from fastdl.messages import shown
from fastdl.nn.grad_mode import no_grad
from fastdl.nn.loss import Loss
from fastdl.nn.parameter import Parameter
from fastdl.nn.python_call import NotTracedError
from fastdl.nn.walk import weights_dtype
from fastdl.nn.watching import PASSING, watch
from fastdl.random import stream
from fastdl.training.engine import (
    Losses,
    NotFiniteError,
    NothingLearnsError,
    NotPlannedError,
    PlainEngine,
    Task,
    keep,
    not_finite_gradient,
    unused_targets,
)
from fastdl.training.loss_parts import arrays_of, beside
from fastdl.training.measuring import loss_value
from fastdl.training.native_updates import STEPPING, NativeUpdates, is_native
from fastdl.training.non_finite import place_of

Array = NDArray[Any]
# Called after an epoch with its losses and its seconds; returns whether to go on.
Ended: TypeAlias = Callable[[Losses, float], bool]


class NativeEngine:
    """A traced model, its loss and its optimizer as one native program."""

    native = lasts = True
    # Whether epochs may follow one another in one call.
    in_a_row = True

    def __init__(self, task: Task, x: Any, y: Any, batch_size: int) -> None:
        """Trace for batches of x and y; a NotPlannedError says why that cannot be."""
        self.task = task
        model, criterion, optimizer = task.model, task.criterion, task.optimizer
        if not is_native(optimizer):
            raise NotPlannedError(f"{type(optimizer).__name__} is an optimizer in Python")
        optimizer.forget_gradients()
        own = task.parameters()
        # First: another thread may change the model while it is planned.
        found = model._contents()
        self.surroundings = surroundings(found.modules, criterion)
        objects, outside = beside(criterion, self.surroundings.modules, found.modules)
        self.watch = watch(model, *objects, in_place=[*own, *outside], traced=True, contents=found)
        self._modules, parameters, self._arrays_of_criterion = found.modules, found.parameters, arrays_of(criterion)
        self.most = min(batch_size, len(x))
        dtype = weights_dtype(model)
        if any(parameter.dtype != dtype for parameter in own):
            raise NotPlannedError(f"the optimizer's parameters are of another dtype than the first one's {dtype}")
        ids = {id(parameter) for parameter in own}
        self._foreign = [parameter for parameter in parameters if id(parameter) not in ids]
        self._forms = form_of(x), form_of(y)
        # Whether the trace has asked for the number of samples, and engines for shorter batches then.
        self.exact = False
        self._of_lengths: dict[int, NativeEngine] = {}
        try:
            self._plan_for(x, y, dtype, SAMPLES)
        except ObservedSizeError as error:
            self.exact, self.in_a_row, line = True, False, last_line(error)
            self._plan_for(x, y, dtype, self.most)
            self.name += f", one for each length of a batch, which is asked for at {line}"
        except NotTracedError as error:
            raise NotPlannedError(str(error)) from None

    def _plan_for(self, x: Any, y: Any, dtype: Any, samples: Any) -> None:
        """Trace, differentiate and lower."""
        model, criterion = self.task.model, self.task.criterion
        x, y, self._samples = bare(x), bare(y), samples
        graph, output, loss, terms = trace_loss(model, criterion, x, y, dtype, self.most, PASSING, samples)
        assert loss is not None
        self._graph, self._structure = graph, output
        self._values = [each for _, each in leaves(output) if isinstance(each, Value)]
        # The names of the loss's terms.
        self.terms = [*terms]
        reached = needed(graph, [loss.number])
        read = [(n, p) for n, p in graph.parameters.items() if n in reached and isinstance(p, Parameter)]
        learning = [(n, p) for n, p in read if p._requires_grad]
        calls = [call for call in python_calls(graph) if call.number in reached]
        modules = {id(m): m for m in (graph.nodes[call.number].attributes["call"].module for call in calls)}
        in_python = {id(p): p for module in modules.values() for p in module.parameters()}
        inputs = {n: node.attributes["name"] for n, node in enumerate(graph.nodes) if node.operation == "input"}
        targets = {n for n, name in inputs.items() if name.startswith("y")}
        if targets and not reached & targets:
            raise unused_targets()
        if not (read or in_python):
            raise NothingLearnsError("Trainer.fit", "a loss that depends on parameters", "one that depends on none")
        # The inputs and targets by their names, and what the program reads them as.
        self._dtypes = {node.attributes["name"]: node.dtype for node in graph.nodes if node.operation == "input"}
        foreign = {id(parameter) for parameter in self._foreign}
        # Modules in Python add to gradients, which begin with zeros in each step.
        begun = [p for p in in_python.values() if id(p) not in foreign]

        def begin() -> None:
            for parameter in begun:
                parameter._grad.fill(0)

        learned = [n for n, _ in learning]
        added = [n for n, p in learning if id(p) in foreign or id(p) in in_python]

        def lowering() -> Lowering:
            """With the gradients of the parameters, and so of what modules in Python return."""
            wanted = [Value(graph, n, graph.nodes[n].shape, graph.dtype, frozenset()) for n in learned]
            gradients = gradient(loss, [*wanted, *calls])
            return Lowering(
                graph,
                self._values,
                gradients=list(zip(learned, gradients, strict=False)),
                added=added,
                loss=loss,
                given=list(self._dtypes),
                begin=begin if begun else None,
                terms=[*terms.values()],
            )

        is_loss = graph.nodes[loss.number].operation == "loss" and not terms
        trained = loss.number if is_loss else -1
        values = [tuple([each.number for each in kind]) for kind in ([loss], self._values, terms.values())]
        how = "fit", trained, *values, tuple(learned), tuple(added)
        self._lowered = planned(graph, how, lambda: lowering().lowered(trained))
        self.program = self._lowered.program
        self.frame = self.program.frame(found(self._lowered.sources, graph))
        self.name = f"native: one program over {self._lowered.nbytes:,} bytes of planned memory"
        self.own = self.task.parameters()
        learns = {id(p) for _, p in learning} | set(in_python)
        # Their gradients are zeros in every step.
        self._idle = [parameter for parameter in self.own if id(parameter) not in learns]
        self._weights = [(graph.parameters[weight]._data, number) for number, weight in self._lowered.alone]
        self.updates = NativeUpdates(self.task.optimizer, self._weights)
        self._in_python = bool(modules)
        if modules:
            names = dict.fromkeys(type(module).__name__ for module in modules.values())
            self.name += f", with {', '.join(names)} in Python"
        written = list({id(p): p for p in (*self.own, *self._foreign)}.values())
        buffers = [leaf for leaf in graph.parameters.values() if not isinstance(leaf, Parameter)]
        self._access = Access(writes=[*written, *self._modules, *buffers], writes_gradients=written)

    def current(self) -> bool:
        """See Engine."""
        _, criterion, optimizer, *_ = self.task
        stands = self.watch.stands() and self._arrays_of_criterion == arrays_of(criterion)
        return stands and not STEPPING & vars(optimizer).keys() and self.surroundings.stand()

    def suits(self, x: Any, y: Any) -> bool:
        """See Engine."""
        return form_of(x) == self._forms[0] and form_of(y) == self._forms[1]

    def takes(self, x: Any, y: Any, fewest: int) -> bool:
        """Whether all that it runs is known to take these rows with their values, in batches of at least so many."""
        if not self.suits(x, y) or self._in_python or fewest < self.least:
            return False  # a module in Python may count its calls, or refuse values
        inputs, targets = ([each for _, each in leaves(bare(rows))] for rows in (x, y))
        if not all(type(each) is np.ndarray and each.dtype.kind == "f" for each in inputs):
            return False  # integers may be indices
        if isinstance(self.task.criterion, Loss):
            shape = self.sample_shape(bare(y))
            return shape is not None and self.task.criterion._takes(bare(y), shape)
        return all(type(each) is np.ndarray and each.dtype.kind == "f" for each in targets)

    def gives_outputs(self) -> bool:
        """See Engine."""
        return all(value.shape and same(value.shape[0], self._samples) for value in self._values)

    def epoch(self, x: Any, y: Any, order: Array | None, batch_size: int, outputs: list[Any] | None) -> Losses:
        """See Engine. A program for batches of one length leaves a last step with others to the next call."""
        x, y = self._as_planned(x, y)
        if order is not None:
            order = np.ascontiguousarray(order, np.int64)
            if len(order) and not (order.min() >= 0 and order.max() < len(x)):
                raise InvalidValueError("NativeEngine", f"an order of rows below {len(x)}", "others")
        rows = len(x) if order is None else len(order)
        if not rows:
            return Losses()
        if self.exact:
            size = min(batch_size, rows)
            if size != self.most:
                return self._of_length(size, x, y).epoch(x, y, order, size, outputs)
            last = rows % (size * self.task.accumulate)
            if rows == last and last % size:
                plain = PlainEngine(self.task, "the batches of a step differ in length, which the model asks for")
                return plain.epoch(x, y, order, size, outputs)
            if last % size:
                rows -= last
                x, y, order = (x[:rows], y[:rows], None) if order is None else (x, y, order[:rows])
        found = [] if outputs is None else self._room(rows)
        losses = self._run(x, y, order, rows, None, 1, batch_size, found, lambda *_: False)
        if outputs is not None:
            left = iter([each[: losses.rows] for each in found])
            outputs.append(mapped(self._structure, lambda _: next(left)))
        return losses

    def _of_length(self, size: int, x: Any, y: Any) -> NativeEngine:
        """The engine for batches of so many samples, where the model asks for their number."""
        if size not in self._of_lengths:
            keep(self._of_lengths, size, NativeEngine(self.task, x, y, size))
        return self._of_lengths[size]

    def _room(self, rows: int) -> list[Array]:
        """Arrays for the model's outputs of so many rows."""
        return [np.empty((rows, *numbers(value.shape[1:], {})), value.dtype) for value in self._values]

    def arrays(self, x: Any, y: Any) -> list[Array]:
        """All inputs and targets, as the program numbers and reads them."""
        given = dict(_named(x, "x")) | dict(_named(y, "y"))
        # The model may have been cast to another dtype than that of the rows.
        return [_as_read(cast(given[name], self._dtypes[name], copy=False)) for name in self._lowered.inputs]

    def epochs(
        self, x: Array, y: Array, rows: int, seeds: Array | None, epochs: int, batch_size: int, ended: Ended
    ) -> tuple[Losses, Array]:
        """At most so many epochs in a row, each over the first `rows` of an order of its own.

        An order is shuffled by its one of `seeds`; without these rows come as they lie. `ended` is called after each epoch and
        says whether the next may follow; it does not where the model is no longer what was planned.

        Returns what is left of an epoch in whose midst the model was changed: its losses so far, and the numbers of the rows
        that it has not seen, none where it is over.
        """
        x, y = self._as_planned(x, y)
        order = None if seeds is None else np.empty(len(x), np.int64)
        losses = self._run(x, y, order, rows, seeds, epochs, batch_size, [], ended)
        return losses, np.arange(losses.rows, rows) if order is None else order[losses.rows : rows]

    def _as_planned(self, x: Any, y: Any) -> tuple[Any, Any]:
        """The rows, where they are such as it was planned for."""
        if not self.suits(x, y) or (len(y) != len(x) and bare(y) is not None):
            raise InvalidValueError("NativeEngine", f"rows as planned, {self._forms}", f"{form_of(x)} and {form_of(y)}")
        return x, y

    def _run(
        self,
        x: Array,
        y: Array,
        order: Array | None,
        rows: int,
        seeds: Array | None,
        epochs: int,
        batch_size: int,
        outputs: list[Array],
        ended: Ended,
    ) -> Losses:
        """Epochs in one call, see Program.train; returns the latest one's losses."""
        program, optimizer = self.program, self.task.optimizer
        batch_size = min(batch_size, rows)
        if batch_size > self.most:
            raise InvalidValueError("NativeEngine", f"batches of at most {self.most}, as planned", batch_size)
        self._check_batches(rows, batch_size)
        self._check_targets(y, batch_size)
        self.begin()
        updates = self.updates.current()
        draws = program.draws * -(-rows // batch_size)
        seed, first = self._draw(draws)
        left, counts = epochs, optimizer._steps

        def between(total: float, count: float, terms: list[float], seconds: float) -> int | None:
            nonlocal left, first
            left -= 1
            if not (ended(Losses(total, count, rows, tuple(terms)), seconds) and left and goes_on()):
                return None
            first = self._draw(draws)[1]
            return first

        def goes_on() -> bool:
            """Whether the steps may go on after Python code has run; the options that it left count."""
            goes = self.current() and optimizer._steps is counts and self.updates.current() is updates
            if goes:
                self.begin()
            return goes

        options = self.options(
            inputs=self.arrays(x, y),
            rows=rows,
            batch_size=batch_size,
            epochs=epochs,
            order=order,
            seeds=seeds,
            outputs=outputs,
            seed=seed,
            call=first,
            updates=updates,
            goes_on=goes_on,
            ended=between,
        )
        result = program.train(self.frame, options)
        fine, done, _, total, count, terms, _, call, failed = result
        if failed >= 0 or not fine:
            batch = slice(done, done + batch_size) if order is None else order[done : done + batch_size]
            self.refuse(result, x[batch], y[batch], seed)
        if draws and done < rows:
            stream().put_back(call, first + draws)
        return Losses(total, count, done, tuple(terms))

    def steps_alone(self) -> bool:
        """Whether a step is one call of the program, with nothing in Python beside it."""
        others = self._foreign or self._idle or self._arrays_of_criterion or self._in_python
        return not (self.exact or others or self.task.after_backward)

    @property
    def least(self) -> int:
        """The fewest samples of a batch."""
        return self._graph.least_samples

    def places_of_inputs(self, count: int) -> list[int]:
        """Where each array that the program reads is among those of x, of which there are so many, and of y behind them."""
        return [int(name[1:]) + (count if name.startswith("y") else 0) for name in self._lowered.inputs]

    def options(self, **given: Any) -> TrainOptions:
        """The options of a call, of which the task's are known."""
        task = self.task
        return TrainOptions(
            accumulate=task.accumulate,
            clip_value=task.clip_value or 0,
            clip_norm=task.clip_norm or 0,
            sums=task.sums,
            counts=task.optimizer._steps,
            access=self._access,
            watch=self.watch,
            after_backward=task.after_backward,
            **given,
        )

    def refuse(self, result: tuple[Any, ...], x: Any, y: Any, seed: int) -> None:
        """The error of a call of Program.train that has ended with this batch."""
        _, _, steps, _, _, _, loss, call, failed = result
        refuse_failed(failed, self._lowered.entries)
        if math.isfinite(loss):
            alone = {id(w) for w, _ in self._weights}
            stepped = {id(p) for p in self.task.parameters() if id(p._data) in alone}
            name = not_finite_gradient(self.task, stepped) or "a parameter"
            raise NotFiniteError(f"the gradient of {name} is not finite", steps)
        self.task.optimizer.forget_gradients()
        self._explain(y, len(x))
        raise NotFiniteError(f"the loss is {loss}", steps + 1, self._non_finite_place(x, y, seed, call))

    @staticmethod
    def _draw(draws: int) -> tuple[int, int]:
        """The seed and the first number of so many draws."""
        return stream().take(draws) if draws else (0, 0)

    def _check_batches(self, rows: int, batch_size: int) -> None:
        """Every batch must have the samples that the layers ask for."""
        graph, fewest = self._graph, rows % min(batch_size, rows or 1) or batch_size
        if rows and fewest < graph.least_samples:
            raise InvalidValueError(
                shown(graph.demanding),
                f"at least {graph.least_samples} samples in every batch",
                fewest,
                "write batches of other sizes",
            )

    def sample_shape(self, target: Any) -> tuple[int, ...] | None:
        """The shape of a sample's output, where a loss of fastdl's own takes it with this target; else None."""
        criterion = self.task.criterion
        if not (isinstance(criterion, Loss) and hasattr(criterion, "_takes") and type(target) is np.ndarray):
            return None
        if not (isinstance(self._structure, Value) and self._structure.shape):
            return None
        shape = self._structure.shape[1:]
        return None if any(isinstance(size, Size) for size in shape) else numbers(shape, {})

    def _check_targets(self, target: Any, batch_size: int) -> None:
        """Programs read targets as they are, so the loss must take them all; else it says what is wrong."""
        shape = self.sample_shape(target)
        if shape is None or self.task.criterion._takes(target, shape):
            return
        for first in range(0, len(target), batch_size):
            part = target[first : first + batch_size]
            if not self.task.criterion._takes(part, shape):
                with no_grad():
                    self.task.criterion(np.full((len(part), *shape), 0.5, self._structure.dtype), part)

    def begin(self) -> None:
        """Let gradients be what the plain engine's steps begin with; what happened to them in between is over."""
        for parameter in self.own:
            parameter._fitted_in(self._access.entries)
        for parameter in self._idle:
            parameter.zero_grad()
        for parameter in self.own:
            parameter._forgotten = False
        for parameter in self._foreign:
            if parameter._forgotten:
                parameter.zero_grad()

    def _explain(self, target: Any, samples: int) -> None:
        """Let the loss raise its own error for the latest batch's outputs, where it has one."""
        found = iter(self.frame.read(stored(self._lowered.outputs, self._values), samples))
        output = mapped(self._structure, lambda each: next(found) if isinstance(each, Value) else each)
        with no_grad(), suppress(TypeError):
            loss_value(self.task.criterion, output, bare(target), self.task.model, samples)

    def _non_finite_place(self, x: Any, y: Any, seed: int, call: int) -> str:
        """Words for the layer or the line that has yielded the first value that is not finite."""
        bases = list(zip(self._lowered.inputs.values(), self.arrays(x, y), strict=True))
        before = [(buffer, buffer.copy()) for buffer in self.task.model.buffers()]
        number = self.program.first_not_finite_entry(self.frame, len(x), bases, seed, call)
        for buffer, values in before:
            buffer[...] = values
        if number < 0:
            return ""
        return place_of(self._graph.nodes[self._lowered.entries[number].number], self.task.model)


def _named(value: Any, prefix: str) -> Iterable[tuple[str, Any]]:
    """Arrays by the names that a trace gives them."""
    arrays = value.arrays() if isinstance(value, Nested) else [("", value)]
    return [(f"{prefix}{number}", array) for number, (_, array) in enumerate(arrays)]


def _as_read(array: Array) -> Array:
    """The array as a program reads it."""
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else np.require(array, requirements=["C", "A"])
