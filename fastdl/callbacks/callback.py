"""Callback: what happens beside training, between its epochs and steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastdl.training import Trainer


class Callback:
    """Something that `Trainer.fit` calls; a subclass defines the methods it needs.

    Every method is given the trainer: `trainer.history` holds the epochs so far, `trainer.stop()` ends the fit after
    the current epoch. An exception ends the fit; `on_fit_end` follows every `on_fit_begin` that came through.

    Cost: methods on epochs are a Python call an epoch, and where a subclass defines one an epoch is a native call of its
    own, some tens of microseconds more than where several run in one; `watches` avoids that. `on_step_end` is only called
    where a subclass defines it, and makes each batch a native call of its own instead of the whole epoch: some 20 us a step
    beside what it does itself; docs/callbacks.md tells how to measure it.

    Attributes:
        watches: set it to True in a subclass whose `on_epoch_end` may be called amid a native call: it reads the history,
            evaluates, looks at or sets weights and the optimizer's options, stops the fit, but draws nothing from
            `trainer.rng` and does not save the trainer's state.

    Example:
        >>> class Patience(Callback):
        ...     def on_epoch_end(self, trainer, record):
        ...         if record["loss"] < 0.1:
        ...             trainer.stop()
    """

    watches = False
    # Attributes of the fit that runs, such as open files: a copy has None in their place.
    _of_this_fit: tuple[str, ...] = ()

    def on_fit_begin(self, trainer: Trainer, epochs: int) -> None:
        """Called before the first step; `trainer.history.names` are the names that each record will have."""

    def on_resume(self, trainer: Trainer, state: dict[str, Any]) -> None:
        """Called after `on_fit_begin` where a fit is resumed, with what `state_dict` gave when it was left."""

    def on_epoch_begin(self, trainer: Trainer, epoch: int) -> None:
        """Called before each epoch with its number, counted from 1."""

    def on_step_end(self, trainer: Trainer, step: int, loss: float) -> None:
        """Called after each step with its number, counted from 1 in each epoch, and the loss of its batch."""

    def on_epoch_end(self, trainer: Trainer, record: dict[str, float]) -> None:
        """Called after each epoch, its validation and the schedule's step, with the epoch's record."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """Called when the fit ends, be it by an exception or by Ctrl-C."""

    def on_checkpoint(self, trainer: Trainer) -> None:
        """Called after every callback's `on_epoch_end`: the place for `trainer.save(path)`, as nothing is half done here."""

    def state_dict(self) -> dict[str, Any]:
        """Return what `on_resume` needs: numbers, strings, None, arrays, and lists and dictionaries of those."""
        return {}

    def awaits_epochs(self) -> bool:
        """Whether it is to be called after each epoch."""
        return self._defines("on_epoch_end")

    def allows_epochs_in_a_row(self) -> bool:
        """Whether several epochs may run in one native call."""
        between = self._defines("on_epoch_begin") or self._defines("on_checkpoint")
        return not between and (self.watches or not self.awaits_epochs())

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), **dict.fromkeys(self._of_this_fit)}

    def _defines(self, name: str) -> bool:
        return getattr(type(self), name) is not getattr(Callback, name)
