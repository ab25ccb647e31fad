"""Where `fastdl train` writes: weights, history and picture under one name, which no other run has."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path

from fastdl.callbacks.csv_log import csv_text
from fastdl.commands.options import writable_folder
from fastdl.errors import InvalidValueError
from fastdl.output_file import write_atomically
from fastdl.serialization.model_file import Checkpoint, save
from fastdl.training.history import History

FOLDER = Path("fastdl-out")
ENDINGS = (".safetensors", "-history.csv", ".png")


class Results:
    """The files of one run: FOLDER/NAME.safetensors, FOLDER/NAME-history.csv and FOLDER/NAME.png.

    A name that has results already becomes NAME-2, NAME-3 and so on where no folder was asked for, and is refused where
    one was: a script that names a folder goes on to read NAME there. Another run may take the name while this one trains:
    then this one is numbered too, rather than lost.

    Args:
        folder: that was asked for; None for `fastdl-out`.
        name: the stem of the files.
        overwrite: whether older results of this name are replaced.

    Raises:
        ValueError: if there are older results in the folder that was asked for.
    """

    def __init__(self, folder: Path | None, name: str, overwrite: bool) -> None:
        self.folder, self.name, self.overwrite = folder or FOLDER, name, overwrite
        taken = self._taken(name)
        if folder is not None and taken and not overwrite:
            raise InvalidValueError(
                f"--out {folder}",
                f"a folder without results of {name}",
                f"one with {taken[0].name}",
                "write --overwrite to replace them, or name another folder",
            )

    @contextlib.contextmanager
    def writable(self) -> Iterator[None]:
        """Make the folder, and take it away again where nothing comes into it.

        Raises:
            ValueError: if it, or a file in it that is to be replaced, cannot be written to.
        """
        made = [each for each in (self.folder, *self.folder.parents) if not each.exists()]
        try:
            writable_folder(self.folder, *(path.name for path in self._paths(self.name) if self.overwrite))
            yield
        finally:
            for each in made:
                with contextlib.suppress(OSError):  # it is not empty, or was not made
                    each.rmdir()

    def __str__(self) -> str:
        return f"weights {self.weights}, history {self.history}"

    def save(self, learned: Checkpoint, history: History) -> None:
        """Write weights and history; a picture of older weights does not stay beside them.

        Raises:
            OSError: if they cannot be written; older ones stand then.
        """
        claimed = not self.overwrite
        if claimed:
            self.name = self._claimed()
        try:
            save(path=self.weights, **vars(learned))
        except BaseException:
            if claimed:
                self.weights.unlink(missing_ok=True)
            raise
        write_atomically(self.history, csv_text(history).encode(), "--out")
        self.picture.unlink(missing_ok=True)

    @property
    def weights(self) -> Path:
        """Where the weights are."""
        return self._paths(self.name)[0]

    @property
    def history(self) -> Path:
        """Where the history is."""
        return self._paths(self.name)[1]

    @property
    def picture(self) -> Path:
        """Where the picture is to be."""
        return self._paths(self.name)[2]

    def _claimed(self) -> str:
        """The first name without results, which an empty file makes this run's own."""
        for name in chain([self.name], (f"{self.name}-{i}" for i in count(2))):
            if not self._taken(name):
                with contextlib.suppress(FileExistsError):  # another run was faster
                    self._paths(name)[0].touch(exist_ok=False)
                    return name
        raise AssertionError

    def _taken(self, name: str) -> list[Path]:
        return [path for path in self._paths(name) if os.path.lexists(path)]

    def _paths(self, name: str) -> list[Path]:
        return [self.folder / f"{name}{ending}" for ending in ENDINGS]
