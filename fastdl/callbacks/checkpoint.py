"""ModelCheckpoint: write the whole training state to a file while a fit runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from fastdl.callbacks.callback import Callback
from fastdl.callbacks.file_name import FileName
from fastdl.callbacks.monitor import Monitor
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import shown
from fastdl.validation import positive_integer

if TYPE_CHECKING:
    from fastdl.training import Trainer


class ModelCheckpoint(Callback):
    """Write the training state every so many epochs and after the last, or each time that a quantity is at its best.

    The file is what `Trainer.save` writes: `Trainer.load` goes on from it, `fastdl.load` takes the model out of it. It is
    replaced as a whole. Places in the path are filled in as by str.format, which keeps a file for each epoch:
    "run-{epoch:02d}-{val_loss:.4f}.safetensors" takes the epoch, counted from 1, and any name of the history.

    Args:
        path: the file; its folder has to exist, but for one whose name has places, which is made. A brace that opens no
            place is written twice: {{ or }}.
        every: epochs from one to the next; not with a monitor, which looks at each.
        monitor: a name of the history, as "val_loss": only epochs that are the best so far are written.
        mode: "min" or "max", which way the monitor improves; None takes "min" for a loss or error, "max" for an accuracy.

    After a fit with a monitor, `best_epoch` (counted from 1) and `best` tell which epoch the file holds.

    Raises:
        TypeError, ValueError: for arguments of another kind or range, or a monitor whose mode has to be given.
        ValueError: at the start of a fit, if the history will have no such name, or a place in the path has another name or
            a format that its number cannot have.
        TypeError: at the start of a fit, if a part of the trainer has no state that can be written.
        OSError: at the start of a fit, if the folder is missing or cannot be written to, or the path leads to what is no
            regular file; later, if the file cannot be written. An older one stands then.

    Example:
        >>> ModelCheckpoint("run.safetensors", every=5).every
        5
        >>> ModelCheckpoint("best.safetensors", monitor="val_accuracy").mode
        'max'
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every: int = 1,
        monitor: str | None = None,
        mode: Literal["min", "max"] | None = None,
    ) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise InvalidTypeError("ModelCheckpoint", "a path", type(path).__name__)
        self.path = os.fsdecode(path)
        self.every = positive_integer(every, "every", "ModelCheckpoint")
        if monitor is not None and self.every > 1:
            raise InvalidValueError("ModelCheckpoint", "every=1 beside a monitor", f"every={every}")
        if monitor is None and mode is not None:
            raise InvalidValueError("ModelCheckpoint", f"a monitor beside mode={shown(mode)}", "None")
        self._monitor = None if monitor is None else Monitor(monitor, mode, 0.0, "ModelCheckpoint")
        self.monitor, self.mode = monitor, self._monitor and self._monitor.mode
        self._due = False
        self._epochs = 0
        self._name: FileName | None = None

    @property
    def best(self) -> float | None:
        """The best value so far."""
        return self._monitor and self._monitor.best

    @property
    def best_epoch(self) -> int | None:
        """The epoch of the best value, counted from 1."""
        return self._monitor and self._monitor.best_epoch

    def on_fit_begin(self, trainer: Trainer, epochs: int) -> None:
        """Find out before training whether there is something to write."""
        trainer.refuse_unsavable()
        self._name = FileName(self.path, trainer.history.names, "ModelCheckpoint")
        self._check_place(self._name, trainer, epochs)
        self._epochs = epochs
        if self._monitor is not None:
            self._monitor.begin(trainer)

    def on_epoch_end(self, trainer: Trainer, record: dict[str, float]) -> None:
        """See whether this epoch is to be written."""
        epoch = len(trainer.history)
        if self._monitor is not None:
            self._due = self._monitor.improves(record[self._monitor.name], epoch)
        else:
            self._due = epoch % self.every == 0 or epoch == self._epochs

    def on_checkpoint(self, trainer: Trainer) -> None:
        """Write it."""
        if self._due or (self._monitor is None and trainer.stopping):
            trainer.save(self._place(trainer))

    def _check_place(self, name: FileName, trainer: Trainer, epochs: int) -> None:
        """Raise an OSError where the next file cannot be written, as far as its name is known."""
        from fastdl.output_file import check_file, check_folder

        following = (len(trainer.history) // self.every + 1) * self.every
        first = name.filled(max(1, min(epochs, following)), {})
        if name.fields <= {"epoch"} and os.path.dirname(first) in ("", name.folder):
            check_file(first, "ModelCheckpoint")
        else:
            check_folder(name.folder, "ModelCheckpoint")

    def _place(self, trainer: Trainer) -> str:
        """The file of the latest epoch, in a folder that is there."""
        if self._name is None:
            self._name = FileName(self.path, trainer.history.names, "ModelCheckpoint")
        record = trainer.history[-1] if trainer.history else {}
        place = self._name.filled(len(trainer.history), record)
        if (folder := os.path.dirname(place)) not in ("", self._name.folder):
            os.makedirs(folder, exist_ok=True)
        return place

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and its epoch."""
        return {} if self._monitor is None else {"monitor": self.monitor, **self._monitor.state_dict()}

    def on_resume(self, trainer: Trainer, state: dict[str, Any]) -> None:
        """Go on from the best so far."""
        if self._monitor is not None and state.get("monitor") == self.monitor:
            self._monitor.load_state_dict(state, len(trainer.history))
