"""Measuring a row: every side in a process of its own, slices of all of them in turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from statistics import median, quantiles
from typing import Any, NamedTuple

from benchmarks.process import Process
from benchmarks.results import Entry, Figure
from benchmarks.row import Row

# A process: its library, its number of threads, and which of several of that kind.
Key = tuple[str, int, object]


class Pace(NamedTuple):
    """Seconds of one timing and of one slice, and how often each side's turn comes."""

    block: float
    slice: float
    rounds: int


FULL, QUICK = Pace(0.05, 0.1, 6), Pace(0.005, 0.01, 2)


class Interleaver:
    """Measures rows at a pace; a process is kept while later rows need it, so that a library is imported once.

    `versions` names what took part, by library.
    """

    def __init__(self, rows: Sequence[Row], pace: Pace) -> None:
        self.pace = pace
        self.versions: dict[str, str] = {}
        self._rows = list(rows)
        self._processes: dict[Key, Process] = {}

    def measure(self) -> Generator[Entry, None, None]:
        """Measure one row after another; however it ends, the processes end with it."""
        try:
            while self._rows:
                yield self._measured(self._rows.pop(0))
                needed = {key for row in self._rows for key in keys(row).values()}
                for key in [key for key in self._processes if key not in needed]:
                    self._processes.pop(key).close()
        finally:
            for process in self._processes.values():
                process.close()

    def _measured(self, row: Row) -> Entry:
        contenders, left_out = self._built(row)
        values: dict[tuple[str, int], list[float]] = {contender: [] for contender in contenders}
        for turn in range(self.pace.rounds if "fastdl" not in left_out else 0):
            for contender in rotated(list(contenders), turn):
                if contender[0] not in left_out:
                    answer = contenders[contender].ask(measure=self.pace.slice)
                    values[contender] += answer.get("values", [])
                    if "missing" in answer:
                        left_out[contender[0]] = answer["missing"]
        if "fastdl" in left_out:
            return Entry(row.name, row.work, row.unit, failure=left_out["fastdl"])
        figures = {name: figure(name, values) for name in row.sides() if name not in left_out}
        goals, floors = dict(row.goals), dict(row.floors)
        return Entry(row.name, row.work, row.unit, goals, floors, row.limit, figures, left_out)

    def _built(self, row: Row) -> tuple[dict[tuple[str, int], Process], dict[str, str]]:
        """The processes by side and threads, their work built and warm, and why others are left out."""
        sides, asked = row.sides(), {}
        for (name, threads), key in keys(row).items():
            if key not in self._processes or not self._processes[key].alive:
                self._processes[key] = Process(threads)
            asked[name, threads] = self._processes[key]
            asked[name, threads].send(
                build={"row": row.name, "side": name, "threads": threads, "block": self.pace.block}
            )
        left_out: dict[str, str] = {}
        for (name, _), process in asked.items():
            answer = process.receive()
            if "missing" in answer:
                left_out[name] = answer["missing"]
            else:
                self.versions[sides[name].library] = answer["version"]
        return {each: process for each, process in asked.items() if each[0] not in left_out}, left_out


def keys(row: Row) -> dict[tuple[str, int], Key]:
    """The process that each side at each number of threads runs in: one of its own, of its library and threads."""
    used: Counter[tuple[str, int]] = Counter()
    found: dict[tuple[str, int], Key] = {}
    for name, side in row.sides().items():
        for threads in side.threads:
            kind = side.library, threads
            found[name, threads] = (*kind, f"{row.name}, {name}" if side.fresh else used[kind])
            used[kind] += not side.fresh
    return found


def rotated(items: list[Any], turn: int) -> list[Any]:
    """The same items, another one first each turn."""
    start = turn % max(len(items), 1)
    return items[start:] + items[:start]


def figure(name: str, values: dict[tuple[str, int], list[float]]) -> Figure:
    """A side's Figure from all that was measured."""
    by_threads = {threads: median(measured) for (side, threads), measured in values.items() if side == name}
    best = min(by_threads, key=by_threads.__getitem__)
    measured = values[name, best]
    low, _, high = quantiles(measured, n=4) if len(measured) > 1 else (measured[0],) * 3
    spread = (high - low) / by_threads[best] if high > low else 0.0
    return Figure(by_threads[best], spread, best, {str(threads): value for threads, value in by_threads.items()})
