"""EarlyStopping: end a fit that no longer gets better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from fastdl.callbacks.callback import Callback
from fastdl.callbacks.monitor import Monitor
from fastdl.data.nested import forms
from fastdl.errors import InvalidValueError
from fastdl.messages import shown
from fastdl.validation import positive_integer

if TYPE_CHECKING:
    from fastdl.training import Trainer


class EarlyStopping(Callback):
    """Stop when a quantity has not improved for a number of epochs, and go back to the weights of the best one.

    An epoch is better when its value is below best - min_delta (mode "min") or above best + min_delta ("max"); a NaN
    never is. Parameters and buffers of the model and of the criterion are restored, and the optimizer's other parameters; the
    optimizer's state is not.

    Args:
        monitor: a name of the history, as "val_loss" or "accuracy".
        patience: epochs without improvement after which the fit stops.
        min_delta: the least change that counts.
        mode: "min" or "max"; None takes "min" for a loss or error, "max" for an accuracy.
        restore_best: go back to the best epoch's weights, however the fit ends.

    After a fit, `best_epoch` (counted from 1, None before any) and `best` tell which epoch it was, and its value.

    Raises:
        TypeError, ValueError: for arguments of another kind or range, or a monitor whose mode has to be given.
        ValueError: at the start of a fit, if the history will have no such name.

    Example:
        >>> EarlyStopping("val_accuracy", patience=5).mode
        'max'

    Source: Prechelt, Early Stopping - But When? (1998).
    """

    watches = True

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 10,
        min_delta: float = 0.0,
        mode: Literal["min", "max"] | None = None,
        restore_best: bool = True,
    ) -> None:
        self._monitor = Monitor(monitor, mode, min_delta, "EarlyStopping")
        self.monitor, self.mode, self.min_delta = monitor, self._monitor.mode, self._monitor.min_delta
        self.patience = positive_integer(patience, "patience", "EarlyStopping")
        self.restore_best = restore_best
        self._waited = 0
        self._weights: dict[str, dict[str, Any]] | None = None

    @property
    def best(self) -> float | None:
        """The best value so far."""
        return self._monitor.best

    @property
    def best_epoch(self) -> int | None:
        """The epoch of the best value, counted from 1."""
        return self._monitor.best_epoch

    def on_fit_begin(self, trainer: Trainer, epochs: int) -> None:
        """Start afresh."""
        self._monitor.begin(trainer)
        self._waited, self._weights = 0, None

    def on_epoch_end(self, trainer: Trainer, record: dict[str, float]) -> None:
        """Keep the weights of a better epoch; stop when none has come for too long."""
        if self._monitor.improves(record[self.monitor], len(trainer.history)):
            self._waited = 0
            if self.restore_best:
                self._weights = trainer.weights()
        else:
            self._waited += 1
            if self._waited >= self.patience:
                trainer.stop()

    def on_fit_end(self, trainer: Trainer) -> None:
        """Go back to the best epoch's weights."""
        if self._weights is not None:
            trainer.restore(self._weights)
            if self.best_epoch != len(trainer.history):
                trainer.cannot_resume(f"EarlyStopping went back to the weights of epoch {self.best_epoch}")
            self._weights = None

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, its epoch and weights, and how long it has been the best."""
        weights, beside = (self._weights or {}).get("model"), (self._weights or {}).get("beside")
        return {**self._monitor.state_dict(), "waited": self._waited, "weights": weights, "beside": beside}

    def on_resume(self, trainer: Trainer, state: dict[str, Any]) -> None:
        """Go on from there: a fit that was to stop stops."""
        waited, weights = state.get("waited"), state.get("weights")
        if type(waited) is not int or not 0 <= waited <= len(trainer.history):
            raise InvalidValueError("EarlyStopping", "a number of epochs without improvement", shown(waited))
        if weights is not None:
            own = trainer.weights()
            if forms(weights) != forms(own["model"]):
                raise InvalidValueError("EarlyStopping", "the best epoch's weights to be the model's", "others")
            beside = state.get("beside") or {}
            if forms(beside) != forms(own["beside"]):
                raise InvalidValueError("EarlyStopping", "the best epoch's values of the criterion", "others")
            weights = {"model": weights, "beside": beside}
        self._monitor.load_state_dict(state, len(trainer.history))
        self._waited, self._weights = waited, weights if self.restore_best else None
        if self._waited >= self.patience:
            trainer.stop()
