"""Fitting: one fit of a Trainer under way, epoch after epoch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from numpy.typing import NDArray

from fastdl import optim
from fastdl.callbacks import Callback
from fastdl.data.augment import Augment, augmented
from fastdl.data.input_validation import Rows
from fastdl.data.nested import Nested, bare, form_of, joined
from fastdl.errors import DivergenceError, InvalidValueError
from fastdl.graph.value import mode
from fastdl.random import draw_from, drawing_from, order_seeds
from fastdl.training.batch_source import Feed
from fastdl.training.engine import IN_VAIN, Engine, Losses, NotFiniteError, PlainEngine, Task, keep
from fastdl.training.inference import outputs, training_mode
from fastdl.training.measuring import measured
from fastdl.training.resume_state import Position
from fastdl.training.weighted_losses import WeightedLosses

if TYPE_CHECKING:
    from fastdl._kernels.program.step import StepCall
    from fastdl.training import Trainer
    from fastdl.training.native_engine import NativeEngine

Array = NDArray[Any]
# How long one call may run through epochs.
CALL_SECONDS = 0.05


class Fitting:
    """What a fit was given, and the engine that runs it.

    Args:
        trainer: whose model is fitted; its history grows.
        feed: gives each epoch its batches.
        position: its random numbers, and what its callbacks go on from.
        validation: rows to evaluate after each epoch.
        augment: changes the inputs of each batch.
        callbacks: in the order in which they are called.
    """

    def __init__(
        self,
        trainer: Trainer,
        feed: Feed,
        position: Position,
        validation: tuple[Rows, Rows] | None,
        augment: Augment | None,
        callbacks: Sequence[Callback],
    ) -> None:
        self.trainer, self.feed, self.position, self.rng = trainer, feed, position, position.rng
        self.validation, self.augment, self.callbacks = validation, augment, callbacks
        self._watching_steps = [c.on_step_end for c in callbacks if type(c).on_step_end is not Callback.on_step_end]
        if trainer._fit_engines is None:
            trainer._fit_engines = {}
        self._engines: dict[Any, Engine] = trainer._fit_engines
        self._latest_engine: Engine | None = next(reversed([*self._engines.values()]), None)
        self._task = trainer.task()
        # Takes steps like the latest.
        self._step_call: StepCall | None = None

    def run(self, epochs: int, resumed: bool) -> None:
        """Train until the history holds so many epochs; callbacks go on from their states where the fit is resumed."""
        trainer = self.trainer
        with drawing_from(self.position.stream), ExitStack() as endings:
            try:
                states = self.position.states_for(self.callbacks)
                for callback, state in zip(self.callbacks, states, strict=True):
                    callback.on_fit_begin(trainer, epochs)
                    endings.callback(callback.on_fit_end, trainer)
                    if resumed and state is not None:
                        callback.on_resume(trainer, state)
                self.position.attend(self.callbacks)
                endings.callback(lambda: self.position.leave())
                self._follow()
                with training_mode(trainer.model, True) if not trainer.model.training else nullcontext():
                    ran = False  # the engine may be that of a fit before, of other rows
                    while len(trainer.history) < epochs and not trainer.stopping:
                        done = len(trainer.history)
                        self.position.broken = f"epoch {done + 1} was not finished"
                        if not (ran and self._in_a_row() and self._epochs_ahead(epochs - done)):
                            self._epoch()
                        ran = True
                        self.position.broken = ""
                        for callback in self.callbacks:
                            callback.on_checkpoint(trainer)
                            self._follow()
            except KeyboardInterrupt:
                trainer.history.interrupted = True

    def _follow(self) -> None:
        """Go on from the state that a callback has loaded, if one has."""
        trainer, position = self.trainer, self.trainer._position
        if position is None or position is self.position:
            return
        self.position, self.rng = position, position.rng
        draw_from(position.stream)
        if self._latest_engine is not None:
            trainer.history.engine = self._latest_engine.name
        states = position.states_for(self.callbacks)
        position.attend(self.callbacks)
        for callback, state in zip(self.callbacks, states, strict=True):
            if state is not None:
                callback.on_resume(trainer, state)

    def _in_a_row(self) -> bool:
        """Whether epochs may follow one another in one call: nothing happens between or in them but callbacks that watch."""
        trainer = self.trainer
        between = trainer.metrics or trainer.schedule or self.validation or self.augment or self._watching_steps
        return not between and all(callback.allows_epochs_in_a_row() for callback in self.callbacks)

    def _epoch(self) -> None:
        """Run an epoch, and what follows it."""
        trainer = self.trainer
        for callback in self.callbacks:
            callback.on_epoch_begin(trainer, len(trainer.history) + 1)
        self.feed.begin(len(trainer.history) + 1, self.rng)
        record = self._run_epoch()
        trainer.history.records.append(record)
        if isinstance(trainer.schedule, optim.Schedule):
            trainer.schedule.step(record.get("val_loss", record["loss"]))
        elif trainer.schedule is not None:
            trainer.schedule.step()
        for callback in self.callbacks:
            callback.on_epoch_end(trainer, record)

    def _run_epoch(self) -> dict[str, float]:
        """The record of an epoch."""
        trainer, start = self.trainer, time.perf_counter()
        lr = float(trainer.optimizer.param_groups[0]["lr"])
        seen: tuple[list[Array], list[Array]] | None = ([], []) if trainer.metrics else None
        whole = None if self._watching_steps or self.augment is not None else self.feed.whole()
        try:
            losses = self._batch_by_batch(seen) if whole is None else self._in_one_call(*whole, seen)
        except NotFiniteError as error:
            raise self._diverged(error) from None
        record = self._record(losses)
        if seen is not None:
            name = type(trainer.model).__name__
            expected = f"outputs of one shape from {name} in an epoch with metrics"
            output = joined(seen[0], "Trainer.fit", expected, losses.rows)
            targets = [bare(each) for each in seen[1]]
            target: Any = None if targets[0] is None else joined(targets, "Trainer.fit", "targets of one shape")
            record |= measured(trainer.metrics, self._task.criterion, output, target)
        if self.validation is not None:
            x, y = self.validation
            found = trainer.judge(outputs(trainer.model, x), y, len(x))
            record |= {f"val_{name}": value for name, value in found.items()}
        return record | {"lr": lr, "seconds": time.perf_counter() - start}

    def _record(self, losses: Losses) -> dict[str, float]:
        """The loss and its terms, which stand behind it among the history's names."""
        names = self.trainer.history.names[1 : 1 + len(losses.terms)]
        return {"loss": losses.of_epoch(self._task.sums)} | dict(zip(names, losses.means(), strict=True))

    def _epochs_ahead(self, epochs: int) -> bool:
        """Run as many of the coming epochs as fit into CALL_SECONDS in one call, where the latest has shown what one takes.

        They are recorded and watched as if they had been run one by one; the generator goes on from the latest that was begun.
        """
        engine = self._current_engine()
        if engine is None or not engine.in_a_row:
            return False
        trainer, records, position = self.trainer, self.trainer.history.records, self.position
        before = self.rng.bit_generator.state
        epochs = min(epochs, int(CALL_SECONDS / max(records[-1]["seconds"], 1e-9)))
        if epochs < 2 or (ahead := self.feed.ahead(epochs, self.rng)) is None:
            return False
        watching = [callback for callback in self.callbacks if callback.awaits_epochs()]
        lr = float(trainer.optimizer.param_groups[0]["lr"])
        first, under_way, start = len(records), True, time.perf_counter()

        def ended(losses: Losses, seconds: float) -> bool:
            nonlocal lr, under_way, start
            start = time.perf_counter()
            records.append(record := self._record(losses) | {"lr": lr, "seconds": seconds})
            under_way = False
            if watching:
                for callback in watching:
                    callback.on_epoch_end(trainer, record)
                if trainer.stopping or trainer.task() != self._task or not self._in_a_row():
                    return False
                lr = float(trainer.optimizer.param_groups[0]["lr"])
            position.broken = f"epoch {len(records) + 1} was not finished"
            under_way = True
            return True

        try:
            losses, left = cast("NativeEngine", engine).epochs(*ahead, ended)
            if len(left):  # the model was changed in the midst of an epoch
                more = self._in_one_call(ahead.x, ahead.y, left, ahead.batch_size, None)
                ended(losses.plus(more), time.perf_counter() - start)
            under_way = False
        except NotFiniteError as error:
            raise self._diverged(error) from None
        finally:
            begun = len(records) - first + under_way
            if begun < epochs and ahead.seeds is not None:
                self.rng.bit_generator.state = before
                order_seeds(begun, self.rng)
        return True

    def _in_one_call(
        self, x: Array, y: Array, order: Array | None, batch_size: int, seen: tuple[list[Array], list[Array]] | None
    ) -> Losses:
        """An epoch, or a batch, without Python between its steps."""
        losses, rows, in_vain = Losses(), len(x) if order is None else len(order), 0
        # Where the model is changed in the midst, the rest goes through an engine for what it is then.
        while (done := losses.rows) < rows:
            part = (x[done:], y[done:], None) if order is None else (x, y, order[done:])
            engine = self._engine(x, y, min(batch_size, len(x)))
            if in_vain == IN_VAIN:
                engine = PlainEngine(self._task, "other threads change the model all the time")
            elif why := self._reason_against(engine, y, seen is not None):
                engine = self._latest_engine = PlainEngine(self._task, why)
                self.trainer.history.engine = engine.name
            try:
                losses = losses.plus(engine.epoch(*part, batch_size, None if seen is None else seen[0]))
            except NotFiniteError as error:
                before = done // (batch_size * self._task.accumulate)
                raise NotFiniteError(error.what, error.step + before, error.where) from None
            in_vain = in_vain + 1 if losses.rows == done else 0
        if seen is not None:
            seen[1].append(y if order is None else y[order])
        return losses

    def _reason_against(self, engine: Engine, y: Any, metrics: bool) -> str:
        """Why an engine cannot run the epoch; empty where it can."""
        if metrics and not engine.gives_outputs():
            return "metrics are wanted of outputs without a row for each sample"
        task = self._task
        if engine.native and task.accumulate > 1 and isinstance(task.criterion, WeightedLosses):
            return "" if task.criterion.count_rows(bare(y)) else "the losses of a dictionary count the targets apart"
        return ""

    def _batch_by_batch(self, seen: tuple[list[Array], list[Array]] | None) -> Losses:
        """An epoch with Python between its steps."""
        losses = Losses()
        for step, (x, y, size) in enumerate(self._steps(seen is not None), 1):
            try:
                with self.feed.telling((step - 1) * self._task.accumulate + 1):
                    latest = self._step(x, y, size, seen)
            except NotFiniteError as error:
                raise NotFiniteError(error.what, step, error.where) from None
            losses = losses.plus(latest)
            for call in self._watching_steps:
                call(self.trainer, step, latest.of_epoch(self._task.sums))
        return losses

    def _step(self, x: Any, y: Any, size: int, seen: tuple[list[Array], list[Array]] | None) -> Losses:
        """A step: one native call where it is like the latest, and nothing that it depends on has changed."""
        known = self._step_call
        if known is not None and seen is None and (found := known.step_in_fit(bare(x), bare(y))) is not None:
            total, count, terms = found
            return Losses(total, count, len(x), tuple(terms))
        losses, engine, self._step_call = self._in_one_call(x, y, None, size, seen), self._latest_engine, None
        if engine is not None and engine.native and seen is None and self._task.accumulate == 1:
            from fastdl.training.native_step import step_calls

            self._step_call = next(step_calls(self.trainer, cast("NativeEngine", engine), x, y), None)
        return losses

    def _steps(self, own: bool) -> Iterator[tuple[Any, Any, int]]:
        """The rows of each step, and the size of its batches; those of several batches are joined."""
        accumulate, batches = self._task.accumulate, self.feed.batches(own=own or self.augment is not None)
        while group := list(islice(batches, accumulate)):
            if self.augment is not None:
                group = [(augmented(self.augment, x, self.rng, "Trainer.fit"), y) for x, y in group]
            sizes = [len(x) for x, _ in group]
            if any(size != sizes[0] for size in sizes[:-1]) or sizes[-1] > sizes[0]:
                got = f"{', '.join(map(str, sizes))} samples"
                raise InvalidValueError("Trainer.fit", f"{accumulate} batches of one size for a step", got)
            x, y = group[0] if len(group) == 1 else (_joined([each[n] for each in group]) for n in (0, 1))
            yield x, y, sizes[0]

    def _current_engine(self) -> Engine | None:
        """The engine of this fit, where it is made and the model still what it was made for."""
        self._task: Task = self.trainer.task()
        return standing(self._latest_engine, self._task)

    def _engine(self, x: Array, y: Array, rows: int) -> Engine:
        """The engine for rows such as these, made anew for larger batches or when the model is not what it was."""
        engine = self._current_engine()
        if engine is None or engine.most < rows or not engine.suits(x, y):
            key = form_of(x), form_of(y)
            engine = standing(self._engines.get(key), self._task)
            if engine is None or engine.most < rows:
                engine = engine_for(self._task, x, y, rows)
            if engine.lasts:
                keep(self._engines, key, engine)
            self._latest_engine = engine
        self.trainer.history.engine = engine.name
        return engine

    def _diverged(self, error: NotFiniteError) -> DivergenceError:
        trainer = self.trainer
        got = f"{error.what} in epoch {len(trainer.history) + 1}, step {error.step}{error.where}"
        hint = f"write a smaller lr than {trainer.optimizer.param_groups[0]['lr']:g}, or clip_norm=1.0"
        return DivergenceError("Trainer.fit", got, hint)


def standing(engine: Engine | None, task: Task) -> Engine | None:
    """An engine that was made for the task and the model as they are now; else None."""
    if engine is None or engine.task != task or (engine.native and mode.eager):
        return None
    return engine if engine.current() else None


def _joined(batches: list[Any]) -> Any:
    """The rows of several batches one behind the other."""
    first = batches[0]
    if bare(first) is None:
        return first
    rows = joined([bare(each) for each in batches], "Trainer.fit", "batches of samples of one shape for a step")
    return Nested(rows) if isinstance(first, Nested) else rows


def engine_for(task: Task, x: Array, y: Array, batch_size: int) -> Engine:
    """The native engine where all parts are fastdl's own, else the plain one."""
    from fastdl.training import engine_choice

    return engine_choice.engine_for(task, x, y, batch_size)
