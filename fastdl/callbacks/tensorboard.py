"""TensorBoard: the history as curves that TensorBoard draws."""

from __future__ import annotations

import os
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastdl.callbacks.callback import Callback
from fastdl.environment import missing
from fastdl.errors import InvalidTypeError

if TYPE_CHECKING:
    from fastdl.training import Trainer


class TensorBoard(Callback):
    """Write each epoch's record as events that TensorBoard reads: one curve for each name of the history.

    Every epoch is in the file before the next begins. A resumed fit begins a file of its own, which takes the place of
    what one that was killed had written of later epochs.

    Args:
        folder: made where it is not there; one for each run, side by side, to compare them.

    Raises:
        TypeError: if folder is no path.
        ImportError: before training, if tensorboard is not installed.
        OSError: before training, if the folder cannot be written to.

    Example:
        >>> TensorBoard("runs/first").folder
        'runs/first'

    Source: https://www.tensorflow.org/tensorboard.
    """

    watches = True
    _of_this_fit = ("_writer",)

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        if not isinstance(folder, (str, os.PathLike)):
            raise InvalidTypeError("TensorBoard", "a path", type(folder).__name__, argument="folder")
        self.folder = os.fspath(folder)
        self._writer: Any = None

    def on_fit_begin(self, trainer: Trainer, epochs: int) -> None:
        """Begin a file of events."""
        try:
            events: Any = import_module("tensorboard.compat.proto.event_pb2")
            writer: Any = import_module("tensorboard.summary.writer.event_file_writer")
        except ImportError:
            raise missing("TensorBoard", "tensorboard") from None
        from fastdl.output_file import check_folder

        if "://" not in self.folder:
            os.makedirs(self.folder, exist_ok=True)
            check_folder(self.folder, "TensorBoard")
        self._writer = writer.EventFileWriter(self.folder)
        if trainer.history:
            start, step = events.SessionLog(status=events.SessionLog.START), len(trainer.history) + 1
            self._writer.add_event(events.Event(wall_time=time.time(), step=step, session_log=start))

    def on_epoch_end(self, trainer: Trainer, record: dict[str, float]) -> None:
        """Write the epoch's numbers."""
        if self._writer is None:
            return
        events: Any = import_module("tensorboard.compat.proto.event_pb2")
        summaries: Any = import_module("tensorboard.compat.proto.summary_pb2")
        values = [summaries.Summary.Value(tag=name, simple_value=value) for name, value in record.items()]
        summary, step = summaries.Summary(value=values), len(trainer.history)
        event = events.Event(wall_time=time.time(), step=step, summary=summary)
        self._writer.add_event(event)
        self._writer.flush()

    def on_fit_end(self, trainer: Trainer) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
