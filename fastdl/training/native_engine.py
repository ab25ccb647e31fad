"""The native engine: a model, its loss and its optimizer as one program, an epoch in one call."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.access import Access
from fastdl._kernels.descriptor import OPTIMIZERS
from fastdl._kernels.program.program import TrainOptions
from fastdl._kernels.program.update import Updates
from fastdl.errors import InvalidValueError
from fastdl.nn.flat import watch
from fastdl.nn.grad_mode import no_grad
from fastdl.nn.loss import Loss
from fastdl.optim.optimizer import Optimizer, Run
from fastdl.plan import InPythonError, NotPlannedError, Plan, as_defined
from fastdl.random import stream
from fastdl.training.engine import Losses, NotFiniteError, Task, not_finite_gradient

Array = NDArray[Any]
# Called after an epoch with its losses and its seconds; returns whether to go on.
Ended: TypeAlias = Callable[[Losses, float], bool]
# What of an optimizer a native program replaces.
STEPPING = {"update", "step", "forget_gradients"}
# The methods of a loss that are called.
CALLED = ("__call__", "forward", "backward")


class NativeEngine:
    """A model's operations, its loss and its optimizer as one native program."""

    native = True
    # Whether epochs may follow one another in one call.
    in_a_row = True
    lasts = False

    def __init__(self, task: Task, x: Array, y: Array, batch_size: int) -> None:
        """Plan for batches of x and y; a NotPlannedError says why that cannot be."""
        self.task = task
        model, criterion, optimizer = task.model, task.criterion, task.optimizer
        if not isinstance(criterion, Loss) or not as_defined(criterion, "_objective", CALLED):
            why = f"{type(criterion).__name__} is a loss in Python"
            raise InPythonError(why) if _is_of_a_function(criterion) else NotPlannedError(why)
        if criterion.reduction == "none":
            raise NotPlannedError("the loss is not reduced to one number")
        if not is_native(optimizer):
            raise NotPlannedError(f"{type(optimizer).__name__} is an optimizer in Python")
        optimizer.forget_gradients()
        own = task.parameters()
        # First: another thread may change the model while it is planned.
        self._watch, self._contents = watch(model, criterion, in_place=own), contents(criterion)
        self.most = min(batch_size, len(x))
        self._plan = plan = Plan(x.shape[1:], x.dtype, self.most, True)
        if any(parameter.dtype != x.dtype for parameter in own):
            raise NotPlannedError(f"the optimizer's parameters are of another dtype than the input's {x.dtype}")
        numbers = {id(parameter) for parameter in own}
        self._foreign = [parameter for parameter in model.parameters() if id(parameter) not in numbers]
        self._output = output = plan.through(model, plan.input)
        objective = criterion._objective(plan, output, y)  # pyright: ignore[reportAttributeAccessIssue]
        self._program = plan.program(output, objective, y[:1].nbytes, self._foreign)
        self._frame = self._program.frame()
        self._rows = x.dtype, x.shape[1:], y.dtype, y.shape[1:]
        self._weights = [(w._data, number) for number, w in plan.alone()]
        self._begin_with(plan.nbytes, plan.learning)

    def _begin_with(self, nbytes: int, learning: set[int]) -> None:
        """What a planned program has beside it: the optimizer's updates and turns."""
        model, own = self.task.model, self.task.parameters()
        self._own = own
        self.name = f"native: one program over {nbytes:,} bytes of planned memory"
        # Their gradients are zeros in every step.
        self._idle = [parameter for parameter in own if id(parameter) not in learning]
        self._runs: list[Run] | None = None
        self._options: list[bytes] = []
        self._updates = Updates([])
        self._used: list[list[bool]] = []
        self._numbers: list[int] = []
        written = list({id(p): p for p in (*own, *model.parameters())}.values())
        self._access = Access(writes=[*written, *model.modules()], writes_gradients=written)

    def current(self) -> bool:
        """See Engine."""
        _, criterion, optimizer, *_ = self.task
        return self._watch.stands() and self._contents == contents(criterion) and not STEPPING & vars(optimizer).keys()

    def suits(self, x: Any, y: Any) -> bool:
        """See Engine."""
        return True

    def epoch(self, x: Array, y: Array, order: Array | None, batch_size: int, outputs: list[Array] | None) -> Losses:
        """See Engine."""
        x, y = self._as_planned(x, y)
        if order is not None:
            order = np.ascontiguousarray(order, np.int64)
            if len(order) and not (order.min() >= 0 and order.max() < len(x)):
                raise InvalidValueError("NativeEngine", f"an order of rows below {len(x)}", "others")
        rows = len(x) if order is None else len(order)
        if not rows:
            return Losses()
        found = [] if outputs is None else self._room(rows)
        losses = self._run(x, y, order, rows, None, 1, batch_size, found, lambda *_: False)
        if outputs is not None:
            outputs.append(self._structured([each[: losses.rows] for each in found]))
        return losses

    def _room(self, rows: int) -> list[Array]:
        """Arrays for the model's outputs of so many rows."""
        return [np.empty((rows, *self._output.shape), self._rows[0])]

    def _structured(self, outputs: list[Array]) -> Any:
        """The model's outputs as it returns them."""
        return outputs[0]

    def _arrays(self, x: Any, y: Any) -> list[Array]:
        """All inputs and targets, as the program numbers them."""
        return [x, y]

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

    def _as_planned(self, x: Array, y: Array) -> tuple[Array, Array]:
        """The arrays as a program reads them, where their rows are those that it was planned for."""
        x, y = _as_read(x), _as_read(y)
        if (x.dtype, x.shape[1:], y.dtype, y.shape[1:]) != self._rows or len(y) != len(x):
            raise InvalidValueError("NativeEngine", f"rows as planned, {self._rows}", f"{x.shape} and {y.shape}")
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
        task, program, optimizer = self.task, self._program, self.task.optimizer
        batch_size = min(batch_size, rows)
        if batch_size > self.most:
            raise InvalidValueError("NativeEngine", f"batches of at most {self.most}, as planned", batch_size)
        self._check_batches(rows, batch_size)
        self._check_targets(y, batch_size)
        self._begin()
        updates = self._current_updates()
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
            goes = self.current() and optimizer._steps is counts and self._current_updates() is updates
            if goes:
                self._begin()
            return goes

        options = TrainOptions(
            inputs=self._arrays(x, y),
            rows=rows,
            batch_size=batch_size,
            accumulate=task.accumulate,
            epochs=epochs,
            order=order,
            seeds=seeds,
            outputs=outputs,
            clip_value=task.clip_value or 0,
            clip_norm=task.clip_norm or 0,
            sums=task.sums,
            seed=seed,
            call=first,
            updates=updates,
            counts=counts,
            access=self._access,
            watch=self._watch,
            goes_on=goes_on,
            ended=between,
            after_backward=task.after_backward,
        )
        fine, done, steps, total, count, terms, loss, call, failed = program.train(self._frame, options)
        self._refuse_failed(failed)
        if not fine:
            if math.isfinite(loss):
                alone = {id(w) for w, _ in self._weights}
                stepped = {id(p) for p in self.task.parameters() if id(p._data) in alone}
                name = not_finite_gradient(task, stepped) or "a parameter"
                raise NotFiniteError(f"the gradient of {name} is not finite", steps)
            optimizer.forget_gradients()
            batch = slice(done, done + batch_size) if order is None else order[done : done + batch_size]
            self._explain(y[batch])
            raise NotFiniteError(
                f"the loss is {loss}", steps + 1, self._non_finite_place(x[batch], y[batch], seed, call)
            )
        if draws and done < rows:
            stream().put_back(call, first + draws)
        return Losses(total, count, done, tuple(terms))

    @staticmethod
    def _draw(draws: int) -> tuple[int, int]:
        """The seed and the first number of so many draws."""
        return stream().take(draws) if draws else (0, 0)

    def _check_batches(self, rows: int, batch_size: int) -> None:
        """Every batch must have the samples that the layers ask for."""
        plan, fewest = self._plan, rows % min(batch_size, rows or 1) or batch_size
        if rows and fewest < plan.least_samples:
            raise InvalidValueError(
                plan.demanding,
                f"at least {plan.least_samples} samples in every batch",
                fewest,
                "write batches of other sizes",
            )

    def _check_targets(self, target: Array, batch_size: int) -> None:
        """Programs read targets as they are, so the loss must take them all; else it says what is wrong."""
        shape = self._output.shape
        if self.task.criterion._takes(target, shape):
            return
        for first in range(0, len(target), batch_size):
            part = target[first : first + batch_size]
            if not self.task.criterion._takes(part, shape):
                with no_grad():
                    self.task.criterion(np.full((len(part), *shape), 0.5, self._rows[0]), part)

    def _begin(self) -> None:
        """Let gradients be what the plain engine's steps begin with; what happened to them in between is over."""
        for parameter in self._own:
            parameter._fitted_in(self._access.entries)
        for parameter in self._idle:
            parameter.zero_grad()
        for parameter in self._own:
            parameter._forgotten = False
        for parameter in self._foreign:
            if parameter._forgotten:
                parameter.zero_grad()

    def _explain(self, target: Array) -> None:
        """Let the loss raise its own error for the latest batch's outputs, where it has one."""
        outputs = self._frame.arena[self._plan.output].view(self._rows[0])
        output = outputs[: len(target) * self._output.size].reshape(len(target), *self._output.shape)
        with no_grad():
            self.task.criterion(output, target)

    def _refuse_failed(self, entry: int) -> None:
        """Raise the error of an entry that failed."""

    def _non_finite_place(self, x: Array, y: Array, seed: int, call: int) -> str:
        """Words for the first layer whose output for this batch is not finite."""
        before = [(buffer, buffer.copy()) for buffer in self.task.model.buffers()]
        number = self._program.first_not_finite(self._frame, x, seed, call)
        for buffer, values in before:
            buffer[...] = values
        return "" if number < 0 else f", first in the output of layer {self._plan.operations[number].name}"

    def _current_updates(self) -> Updates:
        """The optimizer's steps: a run in one, but for weights that an operation's backward may step over alone.

        While the runs stay, only what has changed is set anew.
        """
        optimizer = self.task.optimizer
        runs, pack = optimizer._current_runs(), OPTIMIZERS[optimizer.native].options
        options = [pack(run.group) for run in runs]
        states = [optimizer._states(run.state, run.group) for run in runs]
        used = [[state is not None for state in each] for each in states]
        if runs is not self._runs or used != self._used:
            self._updates = self._new_updates(runs, states, options)
            self._runs, self._used = runs, used
        elif options != self._options:
            for number, run in enumerate(self._numbers):
                self._updates.set_options(number, options[run])
        self._options = options
        return self._updates

    def _new_updates(self, runs: list[Run], states: list[tuple[Array | None, ...]], options: list[bytes]) -> Updates:
        updates: list[tuple[Any, ...]] = []
        self._numbers = []
        for number, (data, grad, _, _, members) in enumerate(runs):
            for part, operation in self._parts(data):
                of_part = [None if state is None else state[part] for state in states[number]]
                descriptor = OPTIMIZERS[self.task.optimizer.native]
                updates.append((descriptor, data[part], grad[part], of_part, options[number], operation, members))
                self._numbers.append(number)
        return Updates(updates)

    def _parts(self, data: Array) -> list[tuple[slice, int]]:
        """A run cut into the weights of single operations, with these's numbers, and what lies between them (-1)."""
        parts, done = [], 0
        places = {(w.ctypes.data - data.ctypes.data) // data.itemsize: (w.size, n) for w, n in self._weights}
        for start, (size, number) in sorted(places.items()):
            if 0 <= start < data.size:
                parts += [(slice(done, start), -1), (slice(start, start + size), number)]
                done = start + size
        return [(part, number) for part, number in [*parts, (slice(done, data.size), -1)] if part.start < part.stop]


def is_native(optimizer: Any) -> bool:
    """Whether a native program can take this optimizer's steps."""
    return isinstance(optimizer, Optimizer) and bool(optimizer.native) and as_defined(optimizer, "_states", STEPPING)


def _is_of_a_function(criterion: Any) -> bool:
    """Whether a loss is its function, and perhaps its derivative, and nothing else of its own."""
    if not isinstance(criterion, Loss) or hasattr(criterion, "_objective"):
        return False
    kind, own = type(criterion), vars(criterion)
    return all(getattr(kind, name) is getattr(Loss, name) and name not in own for name in CALLED)


def _as_read(array: Array) -> Array:
    """The array as a program reads it."""
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else np.require(array, requirements=["C", "A"])


def contents(criterion: Any) -> list[bytes]:
    """A loss' arrays, such as the weights of classes, to be compared: a program reads copies of them."""
    return [
        value.tobytes()
        for name, value in dict(getattr(criterion, "__dict__", {})).items()  # which another thread's call may write
        if name != "_kept" and isinstance(value, np.ndarray)
    ]
