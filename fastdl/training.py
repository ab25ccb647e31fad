"""Trainer: fit a model to arrays, evaluate it, predict with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdl import door, optim
from fastdl.arguments import positive_integer, real_number, true_or_false
from fastdl.callbacks import Callback, ProgressBar
from fastdl.data.augment import Augment, augmented
from fastdl.engine import Engine, NotFiniteError, Task, engine_for
from fastdl.history import History as History
from fastdl.nn.grad_mode import no_grad
from fastdl.nn.module import Module
from fastdl.random import Stream, as_generator, drawing_from, permutation

Array = NDArray[Any]
Metric = Callable[[Array, Array], float]
RESERVED = ("epoch", "loss", "lr", "seconds")


class Trainer:
    """Fits a model by a criterion and an optimizer.

    For each batch: loss = criterion(model(x), y), gradients by back-propagation, clipped where wanted, one step of the
    optimizer.

    Args:
        model: any Module.
        criterion: a loss whose value is one number (reduction "mean", "sum" or "batchmean").
        optimizer: of the model's parameters.
        schedule: stepped after each epoch, with val_loss (or loss without validation data) for ReduceLROnPlateau.
        clip_norm: the largest norm that the gradient of all the optimizer's parameters together may have.
        clip_value: the largest absolute value that one gradient element may have; applied before clip_norm.
        metrics: functions of (output, target), named in the history as they are in Python, or a dictionary of them by
            name: `metrics=[accuracy]`, `metrics={"accuracy": partial(accuracy, threshold=0)}`.

    Arrays are converted once, at the door: x and floating targets to the weights' dtype, class indices to int64.

    Attributes:
        history: of the latest fit, also when an error ended it; empty before.
        rng: the generator that the latest fit draws from.

    Raises:
        TypeError: if a part is of another kind.
        ValueError: if the criterion does not reduce, no parameter is the model's, or a limit is not positive.

    Example:
        >>> from fastdl import nn, optim
        >>> from fastdl.data import disk, standardize
        >>> from fastdl.metrics import accuracy
        >>> x, y = disk(500, rng=0)
        >>> (x,) = standardize(x)
        >>> model = nn.Sequential(nn.Linear(2, 25, rng=1), nn.ReLU(), nn.Linear(25, 2, rng=2))
        >>> optimizer = optim.Adam(model.parameters(), lr=0.01)
        >>> trainer = Trainer(model, nn.CrossEntropyLoss(), optimizer, metrics=[accuracy])
        >>> history = trainer.fit(x, y, epochs=30, batch_size=50, seed=0)
        >>> history["loss"][-1] < 0.2, trainer.evaluate(x, y)["accuracy"] > 0.95
        (True, True)
        >>> trainer.predict(x[:3]).shape
        (3, 2)
    """

    def __init__(
        self,
        model: Module,
        criterion: Any,
        optimizer: Any,
        *,
        schedule: Any = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        metrics: Iterable[Metric] | Mapping[str, Metric] = (),
    ) -> None:
        if not isinstance(model, Module):
            raise TypeError(f"Trainer: expected a fastdl Module for model, got {type(model).__name__}")
        if not (callable(criterion) and callable(getattr(criterion, "backward", None))):
            raise TypeError(f"Trainer: expected a loss with backward() for criterion, got {_kind(criterion)}")
        if getattr(criterion, "reduction", "mean") == "none":
            raise ValueError("Trainer: expected a criterion that gives one number, got reduction='none'; write 'mean'")
        if not all(hasattr(optimizer, name) for name in ("param_groups", "zero_grad", "step")):
            raise TypeError(f"Trainer: expected an optimizer, got {_kind(optimizer)}")
        if schedule is not None and not callable(getattr(schedule, "step", None)):
            raise TypeError(f"Trainer: expected a schedule with step() or None, got {_kind(schedule)}")
        self.model = model
        self.criterion: Any = criterion
        self.optimizer: Any = optimizer
        self.schedule: Any = schedule
        self.clip_norm = _limit(clip_norm, "clip_norm")
        self.clip_value = _limit(clip_value, "clip_value")
        self.metrics = _named(metrics)
        self.history = History(())
        self.rng: np.random.Generator | None = None
        self._stopping = False
        own = {id(parameter) for parameter in model.parameters()}
        if not own:
            raise ValueError("Trainer: expected a model with parameters, got one without")
        self._task = Task(model, criterion, optimizer, self.clip_value, self.clip_norm)
        self._latest_engine: Engine | None = None
        if not any(id(parameter) in own for parameter in self._task.parameters()):
            raise ValueError(
                "Trainer: expected an optimizer of the model's parameters, got one of none of them;"
                f" write {type(optimizer).__name__}(model.parameters(), ...)"
            )

    def fit(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        epochs: int,
        batch_size: int,
        shuffle: bool = True,
        seed: int | np.random.Generator | None = None,
        validation_data: tuple[ArrayLike, ArrayLike] | None = None,
        callbacks: Iterable[Callback] = (),
        progress: bool | None = None,
        augment: Augment | None = None,
        drop_last: bool = False,
    ) -> History:
        """Train for a number of epochs, from where model and optimizer stand.

        Everything that does not fit together is said before anything changes: the arrays are looked through, and a few
        of their rows, those with the lowest and highest targets among them, go through model and criterion.

        Ctrl-C ends the fit as a finished one: it returns, `history.interrupted` is True, and model and optimizer stand
        where the latest step left them. A program that fits in a loop asks for it.

        Training mode is set for the fit and restored after it; a part in evaluation mode inside a model in training
        mode (a frozen batch norm) stays so.

        Args:
            x, y: inputs and targets, one row a sample.
            epochs: how often every sample is seen; 0 checks everything and trains nothing.
            batch_size: samples a step; the last batch of an epoch may be smaller (see drop_last).
            shuffle: draw a new order of the samples for each epoch.
            seed: of that order and of dropout's masks: the same seed, data, weights and optimizer state give the same
                bits. None draws from fastdl's default generator, a Generator goes on from where it is.
            validation_data: (x, y), evaluated after each epoch.
            callbacks: see `fastdl.callbacks`.
            progress: a bar of epochs; None draws it when standard error is a terminal.
            augment: changes the inputs of each training batch, never of validation: a function of (xb, generator) that
                returns an array of xb's shape and dtype, such as those of `fastdl.data.augment`. It is given an array
                of its own and the generator that draws the order, so that a seed repeats what it draws as well. The
                losses and metrics of training are of what it returns.
            drop_last: leave out a last batch that is smaller, and with it, in that epoch, its samples: a batch
                normalization cannot take the statistics of one row.

        Shape:
            x (n, ...) and y (n, ...) as model and criterion want them.

        Raises:
            TypeError: if an argument is of another kind, or x or y not numeric.
            ValueError: if there are no samples (with drop_last, less than a batch), x and y differ in length, values are
                not finite, or numbers are out of range; what model and criterion say of shapes and class indices; if the
                last batch is one row alone, which the model cannot train on.
            FloatingPointError: if the loss of a step is NaN or infinite, naming the step and, where the engine is native,
                the first layer whose output is; that step is not taken, and `trainer.history` holds the epochs before.
                Also if a gradient is: that is found while stepping, and the weights hold the step.
        """
        epochs = _epochs(epochs)
        batch_size = positive_integer(batch_size, "batch_size", "Trainer.fit")
        if not isinstance(shuffle, (bool, np.bool_)):
            raise TypeError(f"Trainer.fit: expected True or False for shuffle, got {shuffle!r}")
        drop_last = true_or_false(drop_last, "drop_last", "Trainer.fit")
        callbacks = _callbacks(callbacks, progress)
        dtype = door.weights_dtype(self.model)
        x, y = door.pair(x, y, dtype, "Trainer.fit")
        self._try_out(x, y)
        self._try_last_batch(x, batch_size, drop_last)
        if augment is not None:
            if not callable(augment):
                raise TypeError(
                    f"Trainer.fit: expected a function of (x, generator) or None for augment, got {augment!r}"
                )
            augmented(augment, x[:1].copy(), np.random.default_rng(0), "Trainer.fit")
        if validation_data is not None:
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
                raise TypeError(f"Trainer.fit: expected validation_data=(x, y) or None, got {_kind(validation_data)}")
            validation_data = door.pair(*validation_data, dtype, "Trainer.fit, validation_data")
            self._try_out(*validation_data)
        self.rng = as_generator(seed, "Trainer.fit: seed")
        names = ["loss", *self.metrics]
        if validation_data is not None:
            names += [f"val_{name}" for name in names]
        self.history = history = History((*names, "lr", "seconds"), "none: no epoch was run")
        self._latest_engine = None
        self._stopping = False
        on_step_end = [c.on_step_end for c in callbacks if type(c).on_step_end is not Callback.on_step_end]
        with ExitStack() as endings:
            endings.enter_context(drawing_from(Stream(self.rng)))
            try:
                for callback in callbacks:
                    callback.on_fit_begin(self, epochs)
                    endings.callback(callback.on_fit_end, self)
                with _mode(self.model, True) if not self.model.training else nullcontext():
                    while len(history) < epochs and not self._stopping:
                        record = self._epoch(
                            x, y, batch_size, shuffle, drop_last, on_step_end, validation_data, augment
                        )
                        history.records.append(record)
                        if self.schedule is not None:
                            self._step_schedule(record)
                        for callback in callbacks:
                            callback.on_epoch_end(self, record)
            except KeyboardInterrupt:
                history.interrupted = True
            finally:
                self._latest_engine = None
        return history

    def evaluate(self, x: ArrayLike, y: ArrayLike, batch_size: int = 1024) -> dict[str, float]:
        """Loss and metrics on x and y, in evaluation mode; the model's own modes are restored.

        The outputs of all samples are gathered and judged at once: exact whatever the batch size.

        Args:
            x, y: as for `fit`.
            batch_size: samples that go through the model at a time.

        Returns:
            "loss" and the metrics, by name.

        Raises:
            TypeError, ValueError: as `fit`.
        """
        x, y = door.pair(x, y, door.weights_dtype(self.model), "Trainer.evaluate")
        return self._judge(predict(self.model, x, batch_size), y)

    def predict(self, x: ArrayLike, batch_size: int = 1024) -> Array:
        """The model's outputs for x, in evaluation mode: see `fastdl.training.predict`."""
        return predict(self.model, x, batch_size)

    def stop(self) -> None:
        """End the current fit after its current epoch (for callbacks)."""
        self._stopping = True

    def _epoch(
        self,
        x: Array,
        y: Array,
        batch_size: int,
        shuffle: bool,
        drop_last: bool,
        on_step_end: list[Callable[[Trainer, int, float], None]],
        validation_data: tuple[Array, Array] | None,
        augment: Augment | None,
    ) -> dict[str, float]:
        start = time.perf_counter()
        lr = float(self.optimizer.param_groups[0]["lr"])
        outputs: list[Array] | None = [] if self.metrics else None
        order = permutation(len(x), self.rng) if shuffle and self.rng is not None else None
        if drop_last:
            rows = len(x) - len(x) % batch_size
            x, y, order = (x[:rows], y[:rows], None) if order is None else (x, y, order[:rows])
        try:
            if on_step_end or augment is not None:
                total = self._batch_by_batch(x, y, order, batch_size, outputs, on_step_end, augment)
            else:
                total = self._engine(x, y, batch_size).epoch(x, y, order, batch_size, outputs)
        except NotFiniteError as error:
            raise FloatingPointError(self._diverged(error)) from None
        record = {"loss": total if self._task.sums else total / (len(y) if order is None else len(order))}
        if outputs is not None:
            output, target = np.concatenate(outputs), y if order is None else y[order]
            for name, metric in self.metrics.items():
                record[name] = float(metric(output, target))
        if validation_data is not None:
            xv, yv = validation_data
            judged = self._judge(predict(self.model, xv), yv)
            record |= {f"val_{name}": value for name, value in judged.items()}
        return record | {"lr": lr, "seconds": time.perf_counter() - start}

    def _batch_by_batch(
        self,
        x: Array,
        y: Array,
        order: Array | None,
        batch_size: int,
        outputs: list[Array] | None,
        on_step_end: list[Callable[[Trainer, int, float], None]],
        augment: Augment | None,
    ) -> float:
        """An epoch with Python between its steps."""
        total = 0.0
        for step, first in enumerate(range(0, len(x) if order is None else len(order), batch_size), 1):
            rows = slice(first, first + batch_size) if order is None else order[first : first + batch_size]
            xb, yb = x[rows], y[rows]
            if augment is not None and self.rng is not None:
                xb = augmented(augment, xb.copy() if order is None else xb, self.rng, "Trainer.fit")
            try:
                loss = self._engine(x, y, batch_size).epoch(xb, yb, None, len(xb), outputs)
            except NotFiniteError as error:
                raise NotFiniteError(error.what, step, error.where) from None
            total += loss
            for call in on_step_end:
                call(self, step, loss if self._task.sums else loss / len(yb))
        return total

    def _engine(self, x: Array, y: Array, batch_size: int) -> Engine:
        """The engine of this fit, made anew when a callback has changed the model."""
        self._task = Task(self.model, self.criterion, self.optimizer, self.clip_value, self.clip_norm)
        engine = self._latest_engine
        if engine is None or engine.task != self._task or not engine.current():
            engine = self._latest_engine = engine_for(self._task, x, y, batch_size)
            self.history.engine = engine.name
        return engine

    def _judge(self, output: Array, y: Array) -> dict[str, float]:
        with no_grad():
            loss = float(self.criterion(output, y))
        return {"loss": loss} | {name: float(metric(output, y)) for name, metric in self.metrics.items()}

    def _step_schedule(self, record: dict[str, float]) -> None:
        if isinstance(self.schedule, optim.Schedule):
            self.schedule.step(record.get("val_loss", record["loss"]))
        else:
            self.schedule.step()

    def _try_out(self, x: Array, y: Array) -> None:
        """Send two rows through model and criterion, those of extreme targets, and of the second to extreme class indices.

        Two each: statistics of a batch want more than one row, and one index may be the criterion's ignore_index.
        """
        rows = list(range(min(len(y), 2)))
        if y.dtype.kind == "i" and y.size:
            flat = y.ravel()
            low, high = flat.min(), flat.max()
            inner_low, inner_high = np.where(flat == low, high, flat), np.where(flat == high, low, flat)
            places = (flat.argmin(), flat.argmax(), inner_low.argmin(), inner_high.argmax())
            rows = sorted({*rows, *(int(place) // (y.size // len(y)) for place in places)})
        elif y.size:
            rows = sorted({*rows, *(int(place) // (y.size // len(y)) for place in (y.argmin(), y.argmax()))})
        with no_grad(), np.errstate(all="ignore"):
            output = predict(self.model, x[rows])
            try:
                self.criterion(output, y[rows])
            except ValueError as error:
                raise ValueError(f"{error} (tried on rows {', '.join(map(str, rows))})") from error

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the engine, which belongs to this process and this fit."""
        return {**vars(self), "_latest_engine": None}

    def _try_last_batch(self, x: Array, batch_size: int, drop_last: bool) -> None:
        """Send a row through the model as training does, where the last batch is one row alone; what that moves is put back."""
        n, last = len(x), len(x) % batch_size or batch_size
        if drop_last and n < batch_size:
            raise ValueError(
                f"Trainer.fit: expected at least batch_size={batch_size} samples with drop_last=True, got {n}"
            )
        if last > 1 or (drop_last and batch_size > 1):
            return
        before = [(buffer, buffer.copy()) for buffer in self.model.buffers()]
        mode = nullcontext() if self.model.training else _mode(self.model, True)
        try:
            with no_grad(), np.errstate(all="ignore"), drawing_from(Stream(np.random.default_rng(0))), mode:
                self.model(x[:1])
        except ValueError as error:
            hint = f"another batch_size than {batch_size}" + ("" if batch_size == 1 else ", or drop_last=True")
            raise ValueError(
                f"Trainer.fit: of {n} samples one is left for the last batch; write {hint}: {error}"
            ) from error
        finally:
            for buffer, values in before:
                buffer[...] = values

    def _diverged(self, error: NotFiniteError) -> str:
        lr = self.optimizer.param_groups[0]["lr"]
        return (
            f"Trainer.fit: {error.what} in epoch {len(self.history) + 1}, step {error.step}{error.where};"
            f" write a smaller lr than {lr:g}, or clip_norm=1.0"
        )


def predict(model: Module, x: ArrayLike, batch_size: int = 1024) -> Array:
    """The model's outputs for x, in evaluation mode and under no_grad; the model's own modes are restored.

    To predict from many threads at once, put the model into evaluation mode before: then nothing of it is touched.

    Args:
        model: any Module.
        x: inputs, converted to the weights' dtype; NaN and infinite values are an error.
        batch_size: samples that go through the model at a time.

    Shape:
        x (n, ...) gives (n, ...) as the model has it; n may be 0.

    Raises:
        TypeError: if model is no Module, x is not numeric or batch_size no integer.
        ValueError: if x has no rows, values are not finite, or batch_size is below 1; what the model says of shapes.

    Example:
        >>> from fastdl import nn
        >>> predict(nn.ReLU(), [[-1.0, 2.0], [3.0, -4.0]], batch_size=1)
        array([[0., 2.],
               [3., 0.]], dtype=float32)
    """
    if not isinstance(model, Module):
        raise TypeError(f"predict: expected a fastdl Module for model, got {type(model).__name__}")
    batch_size = positive_integer(batch_size, "batch_size", "predict")
    x = door.inputs(x, door.weights_dtype(model), "predict")
    with no_grad(), _mode(model, False):
        if len(x) <= batch_size:
            return np.asarray(model(x))
        return np.concatenate([model(x[i : i + batch_size]) for i in range(0, len(x), batch_size)])


@contextmanager
def _mode(model: Module, training: bool) -> Iterator[None]:
    changed = [module for module in model.modules() if module.training != training]
    try:
        for module in changed:
            module.training = training
        yield
    finally:
        for module in changed:
            module.training = not training


def _epochs(epochs: object) -> int:
    if isinstance(epochs, (bool, np.bool_)) or not isinstance(epochs, (int, np.integer)):
        raise TypeError(f"Trainer.fit: expected a whole number for epochs, got {epochs!r}")
    if epochs < 0:
        raise ValueError(f"Trainer.fit: expected epochs >= 0, got {epochs}")
    return int(epochs)


def _callbacks(callbacks: Iterable[Callback], progress: bool | None) -> list[Callback]:
    if isinstance(callbacks, Callback):
        raise TypeError(f"Trainer.fit: expected a list for callbacks, got a {_kind(callbacks)}; write callbacks=[...]")
    if not isinstance(callbacks, Iterable):
        raise TypeError(f"Trainer.fit: expected a list for callbacks, got {_kind(callbacks)}")
    listed = list(callbacks)
    for callback in listed:
        if not isinstance(callback, Callback):
            raise TypeError(f"Trainer.fit: expected instances of Callback for callbacks, got {_kind(callback)}")
    if progress is not False and not any(isinstance(callback, ProgressBar) for callback in listed):
        listed.append(ProgressBar(progress))
    return listed


def _named(metrics: Iterable[Metric] | Mapping[str, Metric]) -> dict[str, Metric]:
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise TypeError(f"Trainer: expected a list or dictionary of functions for metrics, got {metrics!r}")
    listed: Iterable[tuple[Any, Any]] = (
        metrics.items() if isinstance(metrics, Mapping) else [(getattr(m, "__name__", ""), m) for m in metrics]
    )
    named: dict[str, Any] = {}
    for name, metric in listed:
        if not callable(metric):
            raise TypeError(f"Trainer: expected functions of (output, target) for metrics, got {metric!r}")
        if not (isinstance(name, str) and name.isidentifier()):
            raise ValueError(f"Trainer: expected a name for each metric, got {name!r}; write a dictionary of names")
        if name in RESERVED or name.startswith("val_") or name in named:
            raise ValueError(f"Trainer: expected metric names apart from each other and the history's, got {name!r}")
        named[name] = metric
    return named


def _limit(value: float | None, name: str) -> float | None:
    if value is None:
        return None
    limit = real_number(value, name, "Trainer", low=0)
    if limit == 0:
        raise ValueError(f"Trainer: expected a number above 0 or None for {name}, got 0")
    return limit


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
