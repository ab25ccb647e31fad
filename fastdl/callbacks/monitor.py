"""Monitor: whether a quantity of the history has got better."""

from __future__ import annotations

import math
import numbers
from typing import TYPE_CHECKING, Any, Literal

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import shown
from fastdl.validation import real_number

if TYPE_CHECKING:
    from fastdl.training import Trainer


class Monitor:
    """The best value so far of one quantity, and the epoch that it came from.

    A value is better when it is below best - min_delta (mode "min") or above best + min_delta ("max"); a NaN never is.

    Args:
        name: a name of the history, as "val_loss" or "accuracy".
        mode: "min" or "max"; None takes "min" for a loss or error, "max" for an accuracy.
        min_delta: the least change that counts.
        owner: the class that asks, to open the messages.

    Raises:
        TypeError, ValueError: for arguments of another kind or range, or a name whose mode has to be given.

    Example:
        >>> monitor = Monitor("val_loss", None, 0.1, "EarlyStopping")
        >>> [monitor.improves(value, epoch) for epoch, value in enumerate((0.5, 0.45, 0.3), 1)], monitor.best_epoch
        ([True, False, True], 3)
    """

    def __init__(self, name: str, mode: Literal["min", "max"] | None, min_delta: float, owner: str) -> None:
        if not isinstance(name, str):
            raise InvalidTypeError(owner, "a name of the history", shown(name), argument="monitor")
        if mode is None:
            mode = _usual_mode(name, owner)
        if mode not in ("min", "max"):
            raise InvalidValueError(owner, "mode 'min' or 'max'", shown(mode))
        self.name, self.mode, self.owner = name, mode, owner
        self.min_delta = real_number(min_delta, "min_delta", owner, low=0)
        self.best: float | None = None
        self.best_epoch: int | None = None

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if type(other) is type(self) else NotImplemented

    def forget(self) -> None:
        """Start afresh."""
        self.best, self.best_epoch = None, None

    def begin(self, trainer: Trainer) -> None:
        """Start afresh for a fit whose history will have the name.

        Raises:
            ValueError: if it will not.
        """
        names = trainer.history.names
        if self.name not in names:
            hint = "write fit(..., validation_data=(x, y))" if self.name.startswith("val_") else None
            raise InvalidValueError(self.owner, f"a monitor among {', '.join(names)}", shown(self.name), hint)
        self.forget()

    def improves(self, value: float, epoch: int) -> bool:
        """Whether the value is better than the best one, which it then is."""
        if math.isnan(value):
            return False
        if self.best is not None:
            gain = self.best - value if self.mode == "min" else value - self.best
            if not gain > self.min_delta:
                return False
        self.best, self.best_epoch = value, epoch
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and its epoch."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: dict[str, Any], epochs: int) -> None:
        """Take over what state_dict gave after so many epochs.

        Raises:
            ValueError: if it is something else.
        """
        best, epoch = state.get("best"), state.get("best_epoch")
        none = best is None and epoch is None
        if not none and not (
            isinstance(best, numbers.Real) and type(epoch) is int and 1 <= epoch <= epochs and not math.isnan(best)
        ):
            raise InvalidValueError(
                self.owner, f"the best value and its epoch, from 1 to {epochs}", shown((best, epoch))
            )
        self.best, self.best_epoch = None if best is None else float(best), epoch


def _usual_mode(name: str, owner: str) -> Literal["min", "max"]:
    last = name.rpartition("_")[2]
    if last in ("loss", "error"):
        return "min"
    if last == "accuracy":
        return "max"
    raise InvalidValueError(owner, f"mode='min' or mode='max' for monitor {shown(name)}", "None")
