"""A trainer's single steps: one batch, one call of the native engine, which stays from step to step."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl.data import input_validation
from fastdl.data.input_validation import in_memory
from fastdl.data.nested import NO_TARGETS, Nested, form_of, is_nested, leaves, mapped
from fastdl.graph.surroundings import alike, key_of
from fastdl.graph.value import mode
from fastdl.nn.container import takes_integers
from fastdl.nn.walk import weights_dtype
from fastdl.training.batch_source import targets_of
from fastdl.training.engine import IN_VAIN, Losses, NotFiniteError, PlainEngine, keep
from fastdl.training.inference import training_mode

if TYPE_CHECKING:
    from fastdl.training.trainer import Trainer

# The kinds of steps that are known without a look at the model.
MOST_CALLS = 4


def _as_they_are(x: Any, y: Any, dtype: np.dtype[Any], indices: bool) -> tuple[Any, Any] | None:
    """A batch of arrays that need no conversion, as steps take it; None where some do. A NaN in them makes the loss one."""
    rows, found = -1, []
    for value, alone in ((x, "fib" if indices else "f"), (y, "fi")):
        arrays = (
            [value] if type(value) is np.ndarray else [array for _, array in leaves(value)] if is_nested(value) else []
        )
        kinds = alone if arrays and arrays[0] is value else "fib"
        if not all(type(array) is np.ndarray for array in arrays):
            return None
        if not arrays and value is not NO_TARGETS:
            return None
        if arrays:  # views, whose shapes nobody else sets
            value = mapped(value, np.ndarray.view)
            arrays = [array for _, array in leaves(value)]
        for array in arrays:
            if array.dtype.kind not in kinds or not array.ndim or not array.flags.c_contiguous:
                return None
            if (array.dtype.kind == "f" and array.dtype != dtype) or (
                array.dtype.kind == "i" and array.dtype != np.int64
            ):
                return None
            if rows not in (-1, len(array)) or not array.size:
                return None
            rows = len(array)
        found.append(Nested(value) if isinstance(value, (dict, tuple)) else value)
    return found[0], found[1]


def single_step(trainer: Trainer, x: Any, y: Any, criterion: Any) -> float:
    """See Trainer.step."""
    from fastdl.training.engine_choice import engine_for
    from fastdl.training.native_engine import NativeEngine
    from fastdl.training.native_step import step_calls

    y = targets_of(y, criterion, "Trainer.step", "write step(x, y)")
    dtype = weights_dtype(trainer.model)
    indices = getattr(x, "dtype", None) != dtype and takes_integers(trainer.model)
    ready = _as_they_are(x, y, dtype, indices)
    if ready is None:
        ready = map(in_memory, input_validation.pair(x, y, dtype, "Trainer.step", indices))
    given, (x, y) = (x, None if y is NO_TARGETS else y), ready
    task = trainer.task()._replace(criterion=criterion, accumulate=1)
    engines, model = trainer._step_engines, trainer.model
    if engines is None:
        engines = trainer._step_engines = {}
    key = key_of(criterion), form_of(x), form_of(y)
    with training_mode(model, True) if not model.training else nullcontext():
        # Where another thread or a signal handler changes the model before the step, an engine for what that is then takes it.
        losses = Losses()
        for attempt in range(IN_VAIN + 1):
            engine = known = None if mode.eager else engines.get(key)
            if known is not None and alike(known.task.criterion, criterion):
                task = task._replace(criterion=known.task.criterion)
            if engine is None or engine.task != task or not engine.current() or engine.most < len(x):
                engine = engine_for(task, x, y, len(x))
                if not mode.eager:
                    keep(engines, key, engine)
            if attempt == IN_VAIN:
                engine = PlainEngine(task, "other threads change the model all the time")
            try:
                losses = engine.epoch(x, y, None, len(x), None)
            except NotFiniteError as error:
                raise error.of_step() from None
            if losses.rows:
                if engine is known and isinstance(engine, NativeEngine):
                    calls = [call for call in step_calls(trainer, engine, x, y) if call.reads(*given)]
                    trainer._step_calls = (*calls, *trainer._step_calls[: MOST_CALLS - 1])
                break
    return losses.of_epoch(task.sums)
