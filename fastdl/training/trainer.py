"""Trainer: fit a model to arrays or batches, evaluate it, predict with it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdl.callbacks import Callback
from fastdl.data import input_validation
from fastdl.data.augment import Augment
from fastdl.data.input_validation import Rows, in_memory
from fastdl.data.nested import bare
from fastdl.errors import InvalidStateError, InvalidTypeError, InvalidValueError
from fastdl.graph.value import apart
from fastdl.nn.container import takes_integers
from fastdl.nn.grad_mode import no_grad
from fastdl.nn.module import Module
from fastdl.nn.walk import weights_dtype
from fastdl.random import as_generator
from fastdl.training.batch_source import Source, targets_of
from fastdl.training.dry_run import explained_dtype
from fastdl.training.engine import Task
from fastdl.training.fit_call import fit_of
from fastdl.training.history import History as History
from fastdl.training.history import Metric, named_metrics
from fastdl.training.inference import outputs
from fastdl.training.inference import predict as predict
from fastdl.training.measuring import loss_value, measured
from fastdl.training.resume_state import Position
from fastdl.training.running import Running
from fastdl.validation import kind_of, limit, positive_integer

Array = NDArray[Any]


class Trainer(Running):
    """Fits a model by a criterion and an optimizer.

    For each batch: loss = criterion(model(x), y), gradients by back-propagation, clipped where wanted, one step of the
    optimizer.

    Args:
        model: any Module.
        criterion: a loss whose value is one number (reduction "mean", "sum" or "batchmean"), or a function of outputs and
            targets, in NumPy, and of the model where it has a third argument without a default, or one named `model`; or a
            module whose `forward` is such a function, and whose parameters learn where the optimizer has them. It returns
            one number, one for each sample, or a dictionary of such terms, whose sum is trained on. Or a dictionary of
            losses by the names of outputs and targets, each a loss or a pair (loss, weight). The history has the mean of
            each term under its name.
        optimizer: of the model's parameters.
        schedule: stepped after each epoch, with val_loss (or loss without validation data) for ReduceLROnPlateau.
        clip_norm: the largest norm that the gradient of all the optimizer's parameters together may have.
        clip_value: the largest absolute value that one gradient element may have; applied before clip_norm.
        metrics: functions of (output, target), named in the history as they are in Python, or a dictionary of them by
            name: `metrics=[accuracy]`, `metrics={"accuracy": partial(accuracy, threshold=0)}`. Where the criterion has an
            ignore_index, they are given what it does not ignore: of sequences, all places as (M, C) and (M,). Of an output
            without a row for each sample they are given in a fit that of the epoch's latest step. They are
            tried on a few rows before the first step; one that fails there, on all.

    Arrays are converted once: x and floating targets to the weights' dtype, class indices to int64. Integers in x stay integers
    for a model whose forward is in NumPy, or a Sequential that begins with one, which may take them as indices; layers cast them.

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
        # Not with fastdl, for it takes a while; not in a fit, whose signal handlers cannot import what is half imported.
        import fastdl._kernels.program.call
        import fastdl.training.engine_choice

        if not isinstance(model, Module):
            raise InvalidTypeError("Trainer", "a fastdl Module", type(model).__name__, argument="model")
        if isinstance(criterion, dict) and criterion:
            from fastdl.training.weighted_losses import WeightedLosses

            criterion = WeightedLosses(criterion)
        if not callable(criterion) or isinstance(criterion, type):
            got = f"the class {criterion.__name__}" if isinstance(criterion, type) else kind_of(criterion)
            raise InvalidTypeError("Trainer", "a loss, or a function of outputs and targets", got, argument="criterion")
        if not isinstance(criterion, Module):
            import fastdl.nn.functional  # noqa: F401 - which a function may use first where a signal handler or a fork comes amid
        if getattr(criterion, "reduction", "mean") == "none":
            raise InvalidValueError("Trainer", "a criterion that gives one number", "reduction='none'", "write 'mean'")
        if not all(hasattr(optimizer, name) for name in ("param_groups", "zero_grad", "step")):
            raise InvalidTypeError("Trainer", "an optimizer", kind_of(optimizer))
        if schedule is not None and not callable(getattr(schedule, "step", None)):
            raise InvalidTypeError("Trainer", "a schedule with step() or None", kind_of(schedule))
        self.model = model
        self.criterion: Any = criterion
        self.optimizer: Any = optimizer
        self.schedule: Any = schedule
        self.clip_norm = limit(clip_norm, "clip_norm", "Trainer")
        self.clip_value = limit(clip_value, "clip_value", "Trainer")
        self.metrics = named_metrics(metrics)
        self.history = History(())
        self.rng: np.random.Generator | None = None
        self._position: Position | None = None
        self._stopping = False
        # The batches of a step, in the fit that runs; whether its targets bring weights along, and the criterion of such.
        self._accumulate, self._weighs = 1, False
        self._weighted: Any = None
        own = {id(parameter) for parameter in model.parameters()}
        if not own:
            raise InvalidValueError("Trainer", "a model with parameters", "one without")
        if not any(id(parameter) in own for parameter in self.task().parameters()):
            raise InvalidValueError(
                "Trainer",
                "an optimizer of the model's parameters",
                "one of none of them",
                f"write {type(optimizer).__name__}(model.parameters(), ...)",
            )

    def fit(
        self,
        x: ArrayLike | Source,
        y: ArrayLike | None = None,
        *,
        epochs: int,
        batch_size: int | None = None,
        shuffle: bool | None = None,
        seed: int | np.random.Generator | None = None,
        validation_data: tuple[ArrayLike, ArrayLike | None] | None = None,
        callbacks: Iterable[Callback] = (),
        progress: bool | None = None,
        augment: Augment | None = None,
        drop_last: bool = False,
        accumulate: int = 1,
        resume: bool = False,
        sample_weight: ArrayLike | None = None,
    ) -> History:
        """Train for a number of epochs, from where model and optimizer stand.

        Everything that does not fit together is said before anything changes: the arrays are looked through, and a few
        of their rows, those with the lowest and highest targets among them, go through model and criterion. Of batches
        from an iterable, the first is looked at then and each other when it comes; what is wrong with one is said with
        its number, and the steps before it stay taken.

        Data may be larger than memory. A memory-mapped array (np.memmap, np.load(mmap_mode="r")) stays in its file and is
        looked through a block at a time; of another dtype than the weights', its rows are converted batch by batch. Its file
        has to keep its length: the system ends a process (SIGBUS) that reads a map behind the end of a file that was cut.

        Ctrl-C ends the fit as a finished one: it returns, `history.interrupted` is True, and model and optimizer stand
        where the latest step left them. A program that fits in a loop asks for it.

        Training mode is set for the fit and restored after it; a part in evaluation mode inside a model in training
        mode (a frozen batch norm) stays so.

        Args:
            x, y: inputs and targets, one row a sample. Or, for x alone, an iterable of batches (xb, yb), of sizes as they
                come, which is iterated anew in each epoch, or a function of no arguments that returns one. A generator is
                enough for one epoch: `fit(lambda: generate(...), epochs=9)` makes one for each. Its errors pass through.
                Where the loss takes outputs alone, y is left out, and batches are arrays, dictionaries or (xb, None).
            epochs: how often every sample is seen; 0 checks everything and trains nothing.
            batch_size: samples a step; the last batch of an epoch may be smaller (see drop_last). Not for batches.
            shuffle: draw a new order of the samples for each epoch, which None does with arrays. Not for batches.
            seed: of that order and of dropout's masks: the same seed, data, weights and optimizer state give the same
                bits. None draws from fastdl's default generator, a Generator goes on from where it is.
            validation_data: (x, y), evaluated after each epoch; (x, None) where the loss takes outputs alone.
            callbacks: see `fastdl.callbacks`.
            progress: a bar of epochs: True draws it, False does not, None does in a terminal and in a notebook.
            augment: changes the inputs of each training batch, never of validation: a function of (xb, generator) that
                returns an array of xb's shape and dtype, such as those of `fastdl.data.augment`; of several inputs, a tuple
                or dictionary as it is given. It is given arrays of its own and the generator that draws the order, so that a
                seed repeats what it draws as well. The losses and metrics of training are of what it returns.
            drop_last: leave out a last batch that is smaller, and with it, in that epoch, its samples: a batch
                normalization cannot take the statistics of one row. Not for batches.
            accumulate: so many batches make a step, with the gradient of their losses together, as if they were one; the last
                step of an epoch may be of fewer. The numbers of a function that does not end in a loss of fastdl's are
                averaged by the rows of the batches: what it divides by, or whether it sums, is not known. For steps of more
                samples than memory holds: `batch_size=32, accumulate=8` steps as `batch_size=256` does, but for what layers
                do with a batch (batch norm). Batches of an iterable are then of one size, but for the last.
            resume: go on with the latest fit, this trainer's own or the one that `load` read, up to `epochs` in all and
                with its random numbers in the place of `seed`; begin where there was none. With the same data and
                arguments the results are, bit for bit, those of a fit that never stopped.
            sample_weight: (n,) numbers >= 0, with which the samples' losses are multiplied: the loss of a batch is
                sum_i w_i l_i over what the criterion divides by without them. The criterion is a loss of fastdl's, a
                dictionary of such, or returns a loss for each sample. Metrics and validation are without them. Not for
                batches, whose targets may bring weights along for a function of one's own.

        Shape:
            x (n, ...) and y (n, ...) as model and criterion want them.

        Raises:
            TypeError: if an argument is of another kind or does not go with batches, or x or y not numeric.
            ValueError: if there are no batches or samples (with drop_last, less than a batch), x and y differ in length,
                values are not finite, numbers are out of range, or a batch has samples of another shape than the first;
                what model and criterion say of shapes and class indices; if the last batch is one row alone, which the
                model cannot train on.
            FloatingPointError: if the loss of a step is NaN or infinite, naming the step and, where the engine is native,
                the first layer whose output is; that step is not taken, and `trainer.history` holds the epochs before.
                Also if a gradient is: that is found while stepping, and the weights hold the step.
            Exception: what a metric raises; before the first step if it can be known.
            RuntimeError: if the fit to resume did not end between two epochs, or another fit of this trainer runs.

        Example:
            >>> from fastdl import data, nn, optim
            >>> x, y = data.disk(300, rng=0)
            >>> model = nn.Sequential(nn.Linear(2, 8, rng=1), nn.Tanh(), nn.Linear(8, 2, rng=2))
            >>> trainer = Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.05))
            >>> rng = np.random.default_rng(3)
            >>> history = trainer.fit(lambda: data.batches(x, y, 50, rng=rng), epochs=20)
            >>> len(history), history["loss"][-1] < history["loss"][0]
            (20, True)
        """
        with self._running():
            return apart(
                fit_of,
                self,
                x,
                y,
                epochs,
                batch_size,
                shuffle,
                seed,
                validation_data,
                callbacks,
                progress,
                augment,
                drop_last,
                accumulate,
                resume,
                sample_weight,
            )

    def step(self, x: Any, y: Any = None, *, loss: Any = None) -> float:
        """Take one step on one batch, and return its loss before the step.

        The call for reinforcement learning and streams of data: a step of `fit`, without its looks at all of the data.
        The model is in training mode meanwhile. Dropout draws from fastdl's default generator.

        Args:
            x, y: a batch, as for `fit`; y is left out where the loss takes outputs alone.
            loss: a criterion in the place of the trainer's.

        Raises:
            TypeError, ValueError: as `fit`; nothing is changed.
            FloatingPointError: if the loss or a gradient is not finite.
            RuntimeError: if a fit of this trainer runs.

        Example:
            >>> from fastdl import nn, optim
            >>> model = nn.Sequential(nn.Linear(2, 1, rng=0))
            >>> trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
            >>> x, y = np.ones((4, 2), np.float32), np.ones((4, 1), np.float32)
            >>> first = trainer.step(x, y)
            >>> trainer.step(x, y) < first
            True
        """
        for call in self._step_calls:
            found = call.step(x, y, loss)
            if found is not None:
                return found
        from fastdl.training.single_step import single_step

        with self._running():
            return apart(single_step, self, x, y, self.criterion if loss is None else loss)

    def evaluate(self, x: ArrayLike, y: ArrayLike | None = None, batch_size: int = 1024) -> dict[str, float]:
        """Loss and metrics on x and y, in evaluation mode; the model itself is not changed.

        The outputs of all samples are gathered and judged at once: exact whatever the batch size. A model with an output that
        has no row for each sample, such as a statistic of the batch, is given all samples at a time.

        Args:
            x, y: arrays as for `fit`; y is left out where the loss takes outputs alone. Of a memory-mapped x, a batch is in
                memory at a time.
            batch_size: samples that go through the model at a time.

        Returns:
            "loss" and the metrics, by name.

        Raises:
            TypeError, ValueError: as `fit`.
        """
        indices = takes_integers(self.model)
        y = targets_of(y, self.criterion, "Trainer.evaluate", "write evaluate(x, y)")
        rows, truth = input_validation.pair(x, y, weights_dtype(self.model), "Trainer.evaluate", indices)
        batch_size = positive_integer(batch_size, "batch_size", "Trainer.evaluate")
        return apart(self.judge, outputs(self.model, rows, batch_size), truth, len(rows))

    def predict(self, x: ArrayLike, batch_size: int = 1024) -> Array:
        """The model's outputs for x, in evaluation mode: see `fastdl.training.inference.predict`."""
        return predict(self.model, x, batch_size)

    def stop(self) -> None:
        """End the current fit after its current epoch (for callbacks)."""
        self._stopping = True

    @property
    def stopping(self) -> bool:
        """Whether the current fit ends after its current epoch, or the latest one did."""
        return self._stopping

    def weights(self) -> dict[str, Any]:
        """Return copies of the values that a fit changes: the model's, and those beside it, of the criterion (for callbacks).

        The optimizer's state is none of them.
        """
        from fastdl.training.criterion_state import CriterionState

        return {"model": self.model.state_dict(), "beside": CriterionState(self).state_dict()}

    def restore(self, weights: Mapping[str, Any]) -> None:
        """Take over what `weights` gave (for callbacks).

        Raises:
            TypeError, ValueError: if the values are not of this model and criterion; nothing is changed then.
        """
        from fastdl.training.criterion_state import CriterionState

        beside, before = CriterionState(self), self.model.state_dict()
        self.model.load_state_dict(weights["model"])
        try:
            beside.load_state_dict(weights["beside"])
        except BaseException:
            self.model.load_state_dict(before)
            raise

    def cannot_resume(self, why: str) -> None:
        """Say why the latest fit cannot go on as if it had never stopped (for callbacks that change weights at its end)."""
        if self._position is not None:
            self._position.broken = why

    def _refuse_broken(self, wanted: str) -> None:
        if self._position is not None and self._position.broken:
            raise RuntimeError(
                f"{wanted}, but {self._position.broken}; let callbacks=[ModelCheckpoint(path)] write the state after each"
                " epoch, and go on from there with load(path)"
            )

    def refuse_unsavable(self) -> None:
        """Raise a TypeError where the optimizer's or the schedule's state cannot be written (for callbacks that will)."""
        from fastdl.training.training_state import refuse_unsavable

        refuse_unsavable(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole training state to a safetensors file, from which `load` goes on, in this process or another.

        It holds the model (spec, weights, buffers), the criterion's parameters and buffers and what else the optimizer has
        of parameters, the optimizer's and the schedule's state, the history, the fit's random numbers and its callbacks'
        states; neither the data nor what the trainer was made with beside them. The file is replaced as a whole: at any
        moment the old or the new one stands. `fastdl.load` reads the model out of it.

        Args:
            path: the file; its folder has to exist.

        Raises:
            RuntimeError: if the latest fit was left, or is, in the midst of an epoch; callbacks save in `on_checkpoint`.
            TypeError: if optimizer or schedule are not fastdl's, or a state holds what cannot be written.
            OSError: if the file cannot be written, or something else than a regular file has its name; an older one stands
                then.

        Example:
            >>> import tempfile
            >>> from fastdl import data, nn, optim
            >>> x, y = data.disk(100, rng=0)
            >>> def trainer():
            ...     model = nn.Sequential(nn.Linear(2, 8, rng=1), nn.Dropout(0.1), nn.ReLU(), nn.Linear(8, 2, rng=2))
            ...     return Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))
            >>> once, first, second = trainer(), trainer(), trainer()
            >>> history = once.fit(x, y, epochs=4, batch_size=20, seed=0)
            >>> history = first.fit(x, y, epochs=3, batch_size=20, seed=0)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     first.save(f"{folder}/state.safetensors")
            ...     second.load(f"{folder}/state.safetensors")
            >>> second.fit(x, y, epochs=4, batch_size=20, resume=True)["loss"] == once.history["loss"]
            True
        """
        from fastdl.training.training_state import save_state

        self._refuse_broken("Trainer.save: expected to be called between two epochs")
        save_state(self, path)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Take over a training state that `save` or `ModelCheckpoint` wrote; `fit(..., resume=True)` goes on from it.

        Everything in the file is checked before anything changes. The trainer has to be made as the one that was saved:
        the same layers, optimizer and schedule. A callback may call it in `on_checkpoint`, to go back after a loss has
        diverged: the fit goes on from there, with the file's history, random numbers and states of callbacks.

        Raises:
            RuntimeError: if a fit of this trainer runs and this is not called between two of its epochs, in `on_checkpoint`.
            OSError: if the file cannot be read.
            ValueError: if it is no regular file, no training state, of a newer version, damaged or of other parts; nothing is
                changed.
            TypeError: if the trainer's optimizer or schedule are not fastdl's.
        """
        from fastdl.training.training_state import load_state

        runs = self._runs()
        if runs and (not self._runs(here=True) or self._position is None or self._position.broken):
            raise InvalidStateError(
                "Trainer.load",
                "to be called between two epochs of the fit that runs",
                "a call in the midst of one",
                "call it in a callback's on_checkpoint, or when the fit has returned",
            )
        self.history, self._position = load_state(self, path, self.history.names if runs else None)
        if runs and self._position is None:
            self._position = Position(self.rng or as_generator())
        self.rng = self._position and self._position.rng

    def task(self) -> Task:
        """What an engine trains: model, criterion, optimizer and limits, as they are now."""
        criterion = self._criterion_of_samples() if self._weighs else self.criterion
        parts = self.model, criterion, self.optimizer, self.clip_value, self.clip_norm
        return Task(*parts, accumulate=self._accumulate)

    def _criterion_of_samples(self) -> Any:
        """The criterion for targets that bring weights along: the same one as long as the trainer's is."""
        from fastdl.training.sample_weights import SampleWeighted

        if self._weighted is None or self._weighted.criterion is not self.criterion:
            self._weighted = SampleWeighted(self.criterion)
        return self._weighted

    def judge(self, output: Array, y: Rows, samples: int) -> dict[str, float]:
        """Loss and metrics of the model's outputs of so many samples."""
        target = bare(in_memory(y))
        with no_grad(), explained_dtype(self.model, output):
            losses = loss_value(self.criterion, output, target, self.model, samples)
        return losses | measured(self.metrics, self.criterion, output, target)
