"""CSVLog: the history as a CSV file, line by line."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from fastdl.callbacks.callback import Callback
from fastdl.errors import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from fastdl.training import Trainer
    from fastdl.training.history import History


class CSVLog(Callback):
    """Write each epoch's record as a line of a CSV file: epoch, loss, metrics, val_*, lr, seconds.

    A file that is there is continued: its header has to be the one that this fit would write, and a last line that was
    cut off is left as it is. A resumed fit goes on where its state stands: lines of later epochs, which a fit that was
    killed had written, are taken out. Every line is on its way to the disk before the next epoch begins.

    Args:
        path: the file; its folder has to exist.

    Raises:
        TypeError: if path is none.
        OSError: before training, if the file cannot be written, or is no regular one.
        ValueError: before training, if the file has another header.

    Example:
        >>> CSVLog("log.csv").path
        'log.csv'
    """

    watches = True
    _of_this_fit = ("_file",)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise InvalidTypeError("CSVLog", "a path", type(path).__name__)
        self.path = os.fspath(path)
        self._file: io.TextIOWrapper | None = None

    def on_fit_begin(self, trainer: Trainer, epochs: int) -> None:
        """Open the file and write the header where there is none."""
        from fastdl.output_file import continued

        header = _header(trainer.history)
        try:
            opened = continued(self.path, "CSVLog")
        except OSError as error:
            raise type(error)(f"CSVLog: cannot write to {self.path}: {error.strerror}") from error
        file = io.TextIOWrapper(opened, newline="", encoding="utf-8")
        try:
            self._continue(file, header, len(trainer.history))
        except BaseException:
            file.close()
            raise
        self._file = file

    def _continue(self, file: io.TextIOWrapper, header: str, done: int) -> None:
        file.seek(0)
        lines = file.read().splitlines(keepends=True)
        if not lines:
            file.write(header + "\n")
        elif lines[0].strip() != header:
            raise InvalidValueError("CSVLog", f"{self.path} to begin with {header}", lines[0].strip()[:200])
        elif done and (kept := _kept(lines, done)) < len(lines):
            file.truncate(len("".join(lines[:kept]).encode()))
        elif not lines[-1].endswith("\n"):
            file.write("\n")
        file.flush()

    def on_epoch_end(self, trainer: Trainer, record: dict[str, float]) -> None:
        """Write the epoch's line."""
        if self._file is not None:
            self._file.write(_line(len(trainer.history), record) + "\n")
            self._file.flush()

    def on_fit_end(self, trainer: Trainer) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def csv_text(history: History) -> str:
    """A history as the file that CSVLog writes."""
    return "\n".join([_header(history), *(_line(i, record) for i, record in enumerate(history, 1)), ""])


def _header(history: History) -> str:
    return ",".join(["epoch", *history.names])


def _line(epoch: int, record: dict[str, float]) -> str:
    return ",".join(map(repr, [epoch, *record.values()]))


def _kept(lines: list[str], done: int) -> int:
    """How many lines to keep so that none of a later epoch than `done`, and no broken one, is at the end."""
    kept = len(lines)
    while kept > 1:
        number, comma, _ = lines[kept - 1].partition(",")
        if comma and number.isdecimal() and int(number[:9]) <= done and lines[kept - 1].endswith("\n"):
            break
        kept -= 1
    return kept
