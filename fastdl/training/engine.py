"""Engines: what runs an epoch of training, a native program (native_engine.py) or a Python loop, the same to rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastdl import optim
from fastdl._kernels.grad_mode import Mode
from fastdl._kernels.replaced import Replaced
from fastdl.data.nested import bare, call
from fastdl.errors import DivergenceError, InvalidValueError
from fastdl.nn.loss import Loss, has_backward
from fastdl.nn.module import Module
from fastdl.nn.parameter import Parameter
from fastdl.training.derived_loss import DerivedLoss
from fastdl.training.non_finite import place_in
from fastdl.training.weighted_losses import WeightedLosses

Array = NDArray[Any]
# The most kinds of rows for which engines are kept.
MOST_KINDS = 8
# So many times in a row a native engine is made anew because the model was changed before its first step.
IN_VAIN = 3


class Task(NamedTuple):
    """What an engine trains, and how gradients are clipped."""

    model: Module
    criterion: Any
    optimizer: Any
    clip_value: float | None
    clip_norm: float | None
    # Called between backward and each step, where gradients may be changed in place; before they are clipped.
    after_backward: Callable[[], object] | None = None
    # The batches of a step, whose gradients are averaged.
    accumulate: int = 1

    @property
    def sums(self) -> bool:
        """Whether the loss is a sum over samples, else a mean."""
        return getattr(self.criterion, "reduction", "mean") == "sum"

    def parameters(self) -> list[Parameter]:
        """The optimizer's parameters."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]


class Losses(NamedTuple):
    """What some batches came to: the sum of their losses, what their mean divides it by, how many rows they had, terms' sums."""

    total: float = 0.0
    counted: float = 0.0
    rows: int = 0
    terms: tuple[float, ...] = ()

    def plus(self, other: Losses) -> Losses:
        """These and others together."""
        sums = self.terms
        if sums or other.terms:
            terms = sums or (0.0,) * len(other.terms), other.terms or (0.0,) * len(sums)
            sums = tuple([one + more for one, more in zip(*terms, strict=True)])
        return Losses(self.total + other.total, self.counted + other.counted, self.rows + other.rows, sums)

    def means(self) -> list[float]:
        """The means of the terms."""
        return [each / self.counted if self.counted else math.nan for each in self.terms]

    def of_epoch(self, sums: bool) -> float:
        """Their sum, or their mean; the mean of none is NaN."""
        if sums:
            return self.total
        return self.total / self.counted if self.counted else math.nan


class NotPlannedError(ValueError):
    """A task that a native program cannot run, and why."""


class NothingLearnsError(InvalidValueError):
    """A loss that depends on no parameter."""


def unused_targets() -> InvalidValueError:
    """The error of a criterion that takes targets and uses none of them."""
    hint = "write fit(x) without targets"
    return InvalidValueError("Trainer.fit", "a criterion that uses the targets", "one that uses none of them", hint)


class NotFiniteError(Exception):
    """A loss or a gradient that is not finite: what it is, the step, counted from 1, and where it came from."""

    def __init__(self, what: str, step: int, where: str = "") -> None:
        super().__init__(what, step, where)
        self.what, self.step, self.where = what, step, where

    def of_step(self) -> DivergenceError:
        """The error of Trainer.step."""
        return DivergenceError("Trainer.step", f"{self.what}{self.where}", "write a smaller lr, or clip_norm=1.0")


class Engine(Protocol):
    """Trains on batches; `name` says which engine it is and why; a native one also runs epochs in a row (NativeEngine.epochs)."""

    native: bool
    in_a_row: bool
    # Whether a later fit may go on with it.
    lasts: bool
    name: str
    task: Task

    @property
    def most(self) -> float:
        """The most rows of a batch."""
        ...

    def current(self) -> bool:
        """Whether the model still is what the engine was made for."""
        ...

    def suits(self, x: Any, y: Any) -> bool:
        """Whether it may run on such rows."""
        ...

    def gives_outputs(self) -> bool:
        """Whether it can append the outputs in `epoch`."""
        ...

    def epoch(self, x: Array, y: Array, order: Array | None, batch_size: int, outputs: list[Array] | None) -> Losses:
        """A step for each batch of the rows of x and y that `order` names, or of all.

        The model's outputs, in the same order, are appended to `outputs`.

        Returns fewer rows than there are where the model was changed in between, by a signal handler or another thread.
        """
        ...


def keep(engines: dict[Any, Any], key: Any, engine: Engine) -> None:
    """Enter an engine as the latest, and let go of the oldest beyond the most that are kept."""
    engines.pop(key, None)
    for each in list(engines)[: 1 - MOST_KINDS]:
        engines.pop(each, None)
    engines[key] = engine


class PlainEngine:
    """A Python loop over modules: for every model."""

    native = in_a_row = lasts = False
    most = math.inf

    def __init__(self, task: Task, why: str) -> None:
        self.task, self.name = task, f"plain: a Python loop, because {why}"

    def current(self) -> bool:
        """See Engine."""
        return True

    def suits(self, x: Any, y: Any) -> bool:
        """See Engine."""
        return True

    def gives_outputs(self) -> bool:
        """See Engine."""
        return True

    def epoch(self, x: Array, y: Array, order: Array | None, batch_size: int, outputs: list[Array] | None) -> Losses:
        """See Engine."""
        with Replaced(Mode(), "enabled", True):  # a fit within no_grad() is no other
            return self._epoch(x, y, order, batch_size, outputs)

    def _epoch(self, x: Array, y: Array, order: Array | None, batch_size: int, outputs: list[Array] | None) -> Losses:
        model, criterion, optimizer, clip_value, clip_norm, after_backward, accumulate = self.task
        parameters, sums, total, count = self.task.parameters(), self.task.sums, 0.0, 0.0
        derived = None if has_backward(criterion) else DerivedLoss(criterion, model)
        criterion = derived or criterion
        rows, of_step = len(x) if order is None else len(order), y
        # Whether the batches of a step have shares in its losses, which count apart.
        shares = accumulate > 1 and isinstance(self.task.criterion, WeightedLosses)
        terms: list[float] = []
        step_terms: list[float] = []
        adding, step_total, step_count = Adding(parameters), 0.0, 0.0
        for batch, start in enumerate(range(0, rows, batch_size)):
            step = batch // accumulate + 1
            part = slice(start, start + batch_size) if order is None else order[start : start + batch_size]
            xb, yb = x[part], y[part]
            getattr(optimizer, "forget_gradients", optimizer.zero_grad)()
            output = call(model, bare(xb))
            if derived is not None:
                derived.samples = len(xb)
            if derived is not None and shares:
                if batch % accumulate == 0:
                    whole = slice(start, start + accumulate * batch_size)
                    of_step = y[whole] if order is None else y[order[whole]]
                derived.shares = self.task.criterion.shares(bare(yb), bare(of_step), len(xb), len(of_step))
            loss = float(criterion(output, bare(yb)))
            counts = isinstance(criterion, (Loss, DerivedLoss)) and not shares
            counted = criterion._counted(len(xb)) if counts else len(xb)
            factor = 1 if sums else len(of_step) if shares else counted
            # The mean over nothing, where all targets are ignored, is NaN, but its gradient is 0.
            if not math.isfinite(loss) and not (math.isnan(loss) and counted == 0):
                raise NotFiniteError(f"the loss is {loss}", step, self._non_finite_place(derived))
            if derived is not None and not derived.uses_targets:
                raise unused_targets()
            if derived is not None and not derived.learns:
                raise NothingLearnsError("Trainer.fit", "a loss that depends on parameters", "one that depends on none")
            model.backward_parameters(criterion.backward())
            if outputs is not None:
                outputs.append(output)
            if counted:
                step_total += loss * factor
                step_count += counted
                found = [value * factor for value in getattr(criterion, "terms", {}).values()]
                step_terms = _sums(step_terms, found)
            if accumulate > 1:
                adding.add(1 if sums or shares else counted)
                if (batch + 1) % accumulate and start + batch_size < rows:
                    continue
                adding.take(sums or shares)
            total, count, step_total, step_count = total + step_total, count + step_count, 0.0, 0.0
            terms, step_terms = _sums(terms, step_terms), []
            if after_backward is not None:
                after_backward()
            if clip_value is not None:
                optim.clip_grad_value(parameters, clip_value)
            if clip_norm is not None:
                optim.clip_grad_norm(parameters, clip_norm)
            finite = _gradients_finite(optimizer, parameters)
            optimizer.step()
            if not finite and (name := not_finite_gradient(self.task)):
                raise NotFiniteError(f"the gradient of {name} is not finite", step)
        return Losses(total, count, rows, tuple(terms))

    def _non_finite_place(self, derived: DerivedLoss | None) -> str:
        """Words for the layer or the line that has yielded the first value that is not finite, where that is known."""
        model = self.task.model
        graphs = [getattr(vars(model).get("_kept"), "_graph", None), derived and derived.graph]
        return next((place for graph in graphs if graph is not None if (place := place_in(graph, model))), "")


def _sums(one: list[float], other: list[float]) -> list[float]:
    return [a + b for a, b in zip(one, other, strict=True)] if one and other else one or other


class Adding:
    """Adds up the gradients of several batches, for a step with their mean."""

    def __init__(self, parameters: list[Parameter]) -> None:
        self._parameters = parameters
        self._sums: list[Array] = []
        self._weights = 0.0

    def add(self, weight: float) -> None:
        """Add a batch's gradients; its loss is a mean over so many."""
        found = [parameter.grad * parameter.dtype.type(weight) for parameter in self._parameters]
        self._sums = [a + b for a, b in zip(self._sums, found, strict=True)] if self._sums else found
        self._weights += weight

    def take(self, sums: bool) -> None:
        """Let the gradients be those of all these batches together, and begin anew; `sums`: where losses are sums."""
        total = 1.0 if sums else self._weights
        for parameter, values in zip(self._parameters, self._sums, strict=True):
            parameter.grad = values * parameter.dtype.type(1 / total if total else 0)
        self._sums, self._weights = [], 0.0


def _gradients_finite(optimizer: Any, parameters: list[Parameter]) -> bool:
    """Whether all gradients are finite, those of frozen parameters too where they lie between others."""
    if isinstance(optimizer, optim.Optimizer) and optimizer._seen == Parameter.changes:
        return bool(np.isfinite(optimizer._grad).all())
    return all(np.isfinite(parameter._grad).all() for parameter in parameters)


def not_finite_gradient(task: Task, stepped: Container[int] = ()) -> str | None:
    """The name of the parameter, nearest to the loss, whose gradient is not finite; None where all are.

    Args:
        stepped: the parameters, by id, whose gradients may have gone into their values at once.
    """
    found, trained = None, {id(p) for p in task.parameters() if p.requires_grad}
    for name, p in task.model.named_parameters():
        looked_at = [p._grad, p._data] if id(p) in stepped else [p._grad]
        if id(p) in trained and not all(np.isfinite(array).all() for array in looked_at):
            found = name
    return found
