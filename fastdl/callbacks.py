"""Callbacks: what happens beside training, between its epochs and steps."""

from __future__ import annotations

import io
import math
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from fastdl.arguments import kind_of, positive_integer, real_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastdl.training import Trainer


class Callback:
    """Something that `Trainer.fit` calls; a subclass defines the methods it needs.

    Every method is given the trainer: `trainer.history` holds the epochs so far, `trainer.stop()` ends the fit after
    the current epoch. An exception ends the fit; `on_fit_end` follows every `on_fit_begin` that came through.

    Cost: only what a subclass defines is called. `on_epoch_end` is one Python call an epoch, and keeps several epochs from
    running in one native call, which saves some fifty microseconds an epoch where nobody watches. `on_step_end` is one
    call a step (0.1 us and what it does itself), and keeps an epoch's steps from running in one.

    Example:
        >>> class Patience(Callback):
        ...     def on_epoch_end(self, trainer, record):
        ...         if record["loss"] < 0.1:
        ...             trainer.stop()
    """

    def on_fit_begin(self, trainer: Trainer, epochs: int) -> None:
        """Called before the first step; `trainer.history.names` are the names that each record will have."""

    def on_step_end(self, trainer: Trainer, step: int, loss: float) -> None:
        """Called after each step with its number, counted from 1 in each epoch, and the loss of its batch."""

    def on_epoch_end(self, trainer: Trainer, record: dict[str, float]) -> None:
        """Called after each epoch, its validation and the schedule's step, with the epoch's record."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """Called when the fit ends, be it by an exception or by Ctrl-C."""

    def awaits_epochs(self) -> bool:
        """Whether `on_epoch_end` does anything: fits that no one awaits an epoch of run several in one native call."""
        return type(self).on_epoch_end is not Callback.on_epoch_end


class ProgressBar(Callback):
    """A bar of epochs with the latest loss and metrics, on standard error.

    Args:
        show: None draws when standard error is a terminal and tqdm is there, True always, False never.

    Raises:
        TypeError: if show is none of these.
        ImportError: at the start of a fit, if show is True and tqdm is not installed.

    Example:
        >>> ProgressBar(show=False).show
        False
    """

    def __init__(self, show: bool | None = None) -> None:
        if show not in (None, True, False):
            raise TypeError(f"ProgressBar: expected None, True or False for show, got {show!r}")
        self.show = show
        self._bar: Any = None

    def on_fit_begin(self, trainer: Trainer, epochs: int) -> None:
        """Draw the empty bar."""
        wanted = bool(sys.stderr and sys.stderr.isatty()) if self.show is None else self.show
        if not wanted:
            return
        try:
            from tqdm import tqdm
        except ImportError:
            if self.show is None:
                return
            raise ImportError("ProgressBar: needs tqdm; write pip install tqdm, or fit(..., progress=False)") from None
        self._bar = tqdm(total=epochs, unit="epoch", dynamic_ncols=True, file=sys.stderr)

    def awaits_epochs(self) -> bool:
        """Whether the bar is drawn."""
        return self._bar is not None

    def on_epoch_end(self, trainer: Trainer, record: dict[str, float]) -> None:
        """Move the bar on."""
        if self._bar is not None:
            words = [f"{name} {value:.4g}" for name, value in record.items() if name not in ("lr", "seconds")]
            self._bar.set_postfix_str(", ".join(words), refresh=False)
            self._bar.update()

    def on_fit_end(self, trainer: Trainer) -> None:
        """Leave the bar as it is and end its line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class EarlyStopping(Callback):
    """Stop when a quantity has not improved for a number of epochs, and go back to the weights of the best one.

    An epoch is better when its value is below best - min_delta (mode "min") or above best + min_delta ("max"); a NaN
    never is. Parameters and buffers are restored, the optimizer's state is not.

    Args:
        monitor: a name of the history, as "val_loss" or "accuracy".
        patience: epochs without improvement after which the fit stops.
        min_delta: the least change that counts.
        mode: "min" or "max"; None takes "min" for a loss or error, "max" for an accuracy.
        restore_best: go back to the best epoch's weights, however the fit ends.

    After a fit, `best_epoch` (counted from 1, None before any) and `best` tell which epoch it was, and its value.

    Raises:
        TypeError, ValueError: for arguments of another kind or range, or a monitor whose mode has to be told.
        ValueError: at the start of a fit, if the history will have no such name.

    Example:
        >>> EarlyStopping("val_accuracy", patience=5).mode
        'max'

    Source: Prechelt, Early Stopping - But When? (1998).
    """

    best: float | None
    best_epoch: int | None

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 10,
        min_delta: float = 0.0,
        mode: Literal["min", "max"] | None = None,
        restore_best: bool = True,
    ) -> None:
        if not isinstance(monitor, str):
            raise TypeError(f"EarlyStopping: expected a name of the history for monitor, got {monitor!r}")
        if mode is None:
            mode = _usual_mode(monitor)
        if mode not in ("min", "max"):
            raise ValueError(f"EarlyStopping: expected mode 'min' or 'max', got {mode!r}")
        self.monitor = monitor
        self.patience = positive_integer(patience, "patience", "EarlyStopping")
        self.min_delta = real_number(min_delta, "min_delta", "EarlyStopping", low=0)
        self.mode: Literal["min", "max"] = mode
        self.restore_best = restore_best
        self._forget()

    def _forget(self) -> None:
        self.best, self.best_epoch = None, None
        self._waited = 0
        self._weights: dict[str, NDArray[Any]] | None = None

    def on_fit_begin(self, trainer: Trainer, epochs: int) -> None:
        """Start afresh."""
        names = trainer.history.names
        if self.monitor not in names:
            hint = "; write fit(..., validation_data=(x, y))" if self.monitor.startswith("val_") else ""
            raise ValueError(f"EarlyStopping: expected a monitor among {', '.join(names)}, got {self.monitor!r}{hint}")
        self._forget()

    def on_epoch_end(self, trainer: Trainer, record: dict[str, float]) -> None:
        """Keep the weights of a better epoch; stop when none has come for too long."""
        value = record[self.monitor]
        if self._better(value):
            self.best, self.best_epoch, self._waited = value, len(trainer.history), 0
            if self.restore_best:
                self._weights = trainer.model.state_dict()
        else:
            self._waited += 1
            if self._waited >= self.patience:
                trainer.stop()

    def on_fit_end(self, trainer: Trainer) -> None:
        """Go back to the best epoch's weights."""
        if self._weights is not None:
            trainer.model.load_state_dict(self._weights)
            self._weights = None

    def _better(self, value: float) -> bool:
        if math.isnan(value):
            return False
        if self.best is None:
            return True
        gain = self.best - value if self.mode == "min" else value - self.best
        return gain > self.min_delta


class CSVLog(Callback):
    """Write each epoch's record as a line of a CSV file: epoch, loss, metrics, val_*, lr, seconds.

    A file that is there is continued: its header has to be the one that this fit would write, and a last line that was
    cut off is left as it is. Every line is on its way to the disk before the next epoch begins.

    Args:
        path: the file; its folder has to exist.

    Raises:
        TypeError: if path is none.
        OSError: before training, if the file cannot be written.
        ValueError: before training, if the file has another header.

    Example:
        >>> CSVLog("log.csv").path
        'log.csv'
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"CSVLog: expected a path, got {type(path).__name__}")
        self.path = os.fspath(path)
        self._file: io.TextIOWrapper | None = None

    def on_fit_begin(self, trainer: Trainer, epochs: int) -> None:
        """Open the file and write the header where there is none."""
        header = ",".join(["epoch", *trainer.history.names])
        try:
            file = open(self.path, "a+", newline="", encoding="utf-8")  # noqa: SIM115 - closed when the fit ends
        except OSError as error:
            raise type(error)(f"CSVLog: cannot write to {self.path}: {error.strerror}") from error
        try:
            self._continue(file, header)
        except BaseException:
            file.close()
            raise
        self._file = file

    def _continue(self, file: io.TextIOWrapper, header: str) -> None:
        file.seek(0)
        lines = file.read().splitlines(keepends=True)
        if not lines:
            file.write(header + "\n")
        elif lines[0].strip() != header:
            raise ValueError(f"CSVLog: expected {self.path} to begin with {header}, got {lines[0].strip()[:200]}")
        elif not lines[-1].endswith("\n"):
            file.write("\n")
        file.flush()

    def on_epoch_end(self, trainer: Trainer, record: dict[str, float]) -> None:
        """Write the epoch's line."""
        if self._file is not None:
            self._file.write(",".join(map(repr, [len(trainer.history), *record.values()])) + "\n")
            self._file.flush()

    def on_fit_end(self, trainer: Trainer) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def listed(callbacks: Iterable[Callback], progress: bool | None) -> list[Callback]:
    """The callbacks of a fit as its arguments say, with a bar unless progress is False or there is one.

    Raises:
        TypeError: if they are not instances of Callback.
    """
    if isinstance(callbacks, Callback):
        raise TypeError(
            f"Trainer.fit: expected a list for callbacks, got a {kind_of(callbacks)}; write callbacks=[...]"
        )
    if not isinstance(callbacks, Iterable):
        raise TypeError(f"Trainer.fit: expected a list for callbacks, got {kind_of(callbacks)}")
    found = list(callbacks)
    for callback in found:
        if not isinstance(callback, Callback):
            raise TypeError(f"Trainer.fit: expected instances of Callback for callbacks, got {kind_of(callback)}")
    if progress is not False and not any(isinstance(callback, ProgressBar) for callback in found):
        found.append(ProgressBar(progress))
    return found


def _usual_mode(monitor: str) -> Literal["min", "max"]:
    last = monitor.rpartition("_")[2]
    if last in ("loss", "error"):
        return "min"
    if last == "accuracy":
        return "max"
    raise ValueError(f"EarlyStopping: expected mode='min' or mode='max' for monitor {monitor!r}, got None")
