"""The folder of a study: finished runs are kept there at once, and a second start goes on from them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from fastdl.errors import InvalidValueError
from fastdl.input_file import read_whole
from fastdl.output_file import continued
from fastdl.studies.study import Case, Measured, Study

ENDING = ".runs.jsonl"


class Store:
    """The finished runs of one study, a line of JSON each below a line that says whose they are.

    A line goes to the disk before the next run is waited for; one that was cut off is left out when the file is read again.

    Args:
        folder: exists and can be written to.
        study: whose runs these are.

    Raises:
        ValueError: if the folder holds the results of another study, or of other settings.

    Attributes:
        done: what was measured, by case and number of the run.
    """

    def __init__(self, folder: Path, study: Study) -> None:
        self.path = folder / f"{study.name}{ENDING}"
        self._identity = study.identity()
        self.done: dict[tuple[str, int], Measured] = {}
        for other in sorted(folder.glob(f"*{ENDING}")):
            if other != self.path:
                name = other.name.removesuffix(ENDING)
                raise InvalidValueError(f"--out {folder}", f"a folder for {study.name}", f"one with results of {name}")
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        lines = read_whole(self.path, f"--out {self.path.parent}").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]
        head: dict[str, Any] = {}
        try:
            head, *runs = map(json.loads, whole)
            self.done = {(key(run["case"]), run["run"]): run["measured"] for run in runs}
            differing = [name for name in {**head, **self._identity} if head.get(name) != self._identity.get(name)]
        except (ValueError, TypeError, KeyError, AttributeError):
            if whole:
                raise InvalidValueError(self.path, "the runs of a study", "something else") from None
            differing = []
        if differing:
            name = differing[0]
            found, wanted = head.get(name), self._identity.get(name)
            raise InvalidValueError(
                f"--out {self.path.parent}",
                f"results with {name} {wanted}",
                f"a folder of those with {found}",
                "write another folder",
            )
        if len(whole) < len(lines) or not lines:
            os.truncate(self.path, sum(map(len, whole)))

    def keep(self, case: Case, run: int, measured: Measured) -> None:
        """Write a finished run to the disk."""
        lines = [{"case": case, "run": run, "measured": measured}]
        if not self.path.exists() or self.path.stat().st_size == 0:
            lines.insert(0, self._identity)
        with continued(self.path, "study") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())
        self.done[key(case), run] = measured


def key(case: Case) -> str:
    """A case as text, whatever the order of its entries.

    Example:
        >>> key({"rate": 0.1, "loss": "MSE"})
        '{"loss": "MSE", "rate": 0.1}'
    """
    return json.dumps(case, sort_keys=True)
