"""Native steps: what a trainer's step does where it is like one before, and nothing that it depends on has changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl._kernels.program.step import Batches, StepCall
from fastdl._kernels.program.update import Updates
from fastdl._kernels.watch import Watch
from fastdl.data.nested import NO_TARGETS, Nested, bare, leaves
from fastdl.graph.surroundings import alike
from fastdl.nn.loss import Loss
from fastdl.nn.parameter import Parameter
from fastdl.random import stream
from fastdl.training.engine import NotFiniteError
from fastdl.training.native_updates import STEPPING

if TYPE_CHECKING:
    from fastdl.training.native_engine import NativeEngine
    from fastdl.training.trainer import Trainer

# What of a trainer an engine is made for, but for the criterion.
PARTS = "model", "optimizer", "clip_value", "clip_norm"
# Options that are others only where another object is in their place.
UNCHANGING = (int, float, str, type(None), np.generic)


def step_calls(trainer: Trainer, engine: NativeEngine, x: Any, y: Any) -> Iterator[StepCall]:
    """The native call of steps on batches like this one; none where something has to be done in Python."""
    own, of_x, of_y, step = vars(trainer), _batches(x), _batches(y), _Step(engine)
    found = step.optimizer_now()
    if not engine.steps_alone() or of_x is None or of_y is None or found is None:
        return
    given = [each for batch in (x, y) for _, each in leaves(bare(batch))]
    inputs = engine.places_of_inputs(sum(1 for _ in leaves(bare(x))))
    if any(array is not given[place] for array, place in zip(engine.arrays(x, y), inputs, strict=True)):
        return  # they are converted for each call
    if not type(trainer).task.__module__.startswith("fastdl.") or not all(name in own for name in PARTS):
        return
    options = engine.options(
        inputs=[],
        rows=0,
        batch_size=0,
        epochs=1,
        order=None,
        seeds=None,
        outputs=[],
        seed=0,
        call=0,
        updates=found[0],
        goes_on=bool,
        ended=None,
    )
    yield StepCall(
        engine.program,
        engine.frame,
        options,
        engine=step,
        trainer=own,
        held=[(own, name, own[name]) for name in PARTS],
        surroundings=None if engine.surroundings.empty else engine.surroundings,
        optimizer=found[1],
        parameters=engine.own,
        kind=Parameter,
        takes=_takes(engine, y),
        stream=stream,
        least=engine.least,
        most=engine.most,
        x=of_x,
        y=of_y,
        inputs=inputs,
        criterion=engine.task.criterion,
        alike=alike,
    )


class _Step:
    """What a native step leaves to Python."""

    def __init__(self, engine: NativeEngine) -> None:
        self._engine, self._counts = engine, engine.task.optimizer._steps

    def begin_step(self) -> None:
        """Let gradients be what a step begins with, and versions of parameters grow with the engine's turns."""
        self._engine.begin()

    def optimizer_now(self) -> tuple[Updates, Watch] | None:
        """The optimizer's updates with its options as they are, and the watch on these; None where the optimizer is another."""
        optimizer = self._engine.task.optimizer
        if STEPPING & vars(optimizer).keys() or optimizer._steps is not self._counts:
            return None
        updates = self._engine.updates.current()
        if not all(isinstance(each, UNCHANGING) for group in optimizer.param_groups for each in _options(group)):
            return None
        return updates, Watch([vars(optimizer), *optimizer.param_groups], frozenset(), (), Parameter)

    def refuse(self, result: tuple[Any, ...], x: Any, y: Any, seed: int, in_fit: bool) -> None:
        """The error of a step that has failed."""
        try:
            self._engine.refuse(result, _rows(x), _rows(y), seed)
        except NotFiniteError as error:
            if in_fit:
                raise
            raise error.of_step() from None


def _options(group: dict[str, Any]) -> Iterator[Any]:
    """A group's options, which are numbers as a rule."""
    for name, value in dict(group).items():
        if name != "params":
            yield from value if isinstance(value, tuple) else (value,)


def _batches(batch: Any) -> Batches | None:
    """Batches like one that is an array, or a tuple or dictionary of arrays alone."""
    if batch is NO_TARGETS:
        return Batches(None)
    parts = batch.parts if isinstance(batch, Nested) else batch
    inside = [parts] if isinstance(parts, np.ndarray) else [*parts.values()] if isinstance(parts, dict) else [*parts]
    known = type(parts) in (np.ndarray, tuple, dict) and all(type(each) is np.ndarray for each in inside)
    return Batches(parts) if known else None


def _rows(batch: Any) -> Any:
    """A batch as engines take it."""
    return NO_TARGETS if batch is None else Nested(batch) if isinstance(batch, (dict, tuple)) else batch


def _takes(engine: NativeEngine, y: Any) -> Any:
    """Whether the loss may read targets, as a function; None where it may read all that are like these."""
    criterion: Any = engine.task.criterion
    shape = engine.sample_shape(y)
    if shape is None or type(criterion)._takes is Loss._takes:
        return None
    return lambda target: criterion._takes(target, shape)
