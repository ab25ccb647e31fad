"""Measuring a row: every side in a process of its own, slices of all of them in turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from statistics import median, quantiles
from typing import Any, NamedTuple

from benchmarks.process import Process
from benchmarks.results import Entry, Figure
from benchmarks.row import Row, Side

# A process: its library, its number of threads, its interpreter, and which of several of that kind.
Key = tuple[str, int, str | None, object]
# The side of another environment's fastdl, and the least that this one's speed may be of it.
OTHER, LEAST = "other fastdl", 0.97
RUNS = 3  # in which a row must be slower to fail


class Pace(NamedTuple):
    """Seconds of one timing and of one slice, and how often each side's turn comes."""

    block: float
    slice: float
    rounds: int


FULL, QUICK = Pace(0.05, 0.1, 6), Pace(0.005, 0.01, 2)


class Interleaver:
    """Measures rows at a pace; a process is kept while later rows need it, so that a library is imported once.

    Args:
        rows: what is measured.
        pace: how long and how often.
        level: the CPU level that every side is held to; None for what each library takes by itself.
        against: the interpreter of another environment, whose fastdl is a further side.
        peers: whether the other libraries take part.

    Attributes:
        versions: names what took part, by library.
    """

    def __init__(
        self, rows: Sequence[Row], pace: Pace, level: str | None = None, against: str | None = None, peers: bool = True
    ) -> None:
        self.pace, self.level, self.against, self.peers = pace, level, against, peers
        self.versions: dict[str, str] = {}
        self._rows = list(rows)
        self._processes: dict[Key, Process] = {}

    def measure(self) -> Generator[Entry, None, None]:
        """Measure one row after another; however it ends, the processes end with it."""
        try:
            while self._rows:
                row = self._rows.pop(0)
                entry = self._measured(row)
                for _ in range(RUNS - 1):
                    if not slower_than_other(entry):
                        break
                    entry = self._measured(row)
                yield entry
                needed = {key for row in self._rows for key in keys(self._sides(row)).values()}
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
        sides = self._sides(row)
        figures = {name: figure(name, values) for name in sides if name not in left_out}
        goals = {name: goal for name, goal in {**row.goals, OTHER: LEAST}.items() if name in sides}
        return Entry(row.name, row.work, row.unit, goals, row.limit, figures, left_out)

    def _sides(self, row: Row) -> dict[str, Side]:
        """The sides of a row that take part."""
        own = row.sides()["fastdl"]
        sides = {name: side for name, side in row.sides().items() if self.peers or name == "fastdl"}
        return sides if self.against is None else sides | {OTHER: replace(own, python=self.against)}

    def _built(self, row: Row) -> tuple[dict[tuple[str, int], Process], dict[str, str]]:
        """The processes by side and threads, their work built and warm, and why others are left out."""
        sides, asked = self._sides(row), {}
        for (name, threads), key in keys(sides).items():
            if key not in self._processes or not self._processes[key].alive:
                self._processes[key] = Process(threads, sides[name].python, self.level)
            asked[name, threads] = self._processes[key]
            side = "fastdl" if name == OTHER else name
            asked[name, threads].send(
                build={"row": row.name, "side": side, "threads": threads, "block": self.pace.block, "level": self.level}
            )
        left_out: dict[str, str] = {}
        places: dict[str, str] = {}
        for (name, _), process in asked.items():
            answer = process.receive()
            if "missing" in answer:
                left_out[name] = answer["missing"]
            else:
                self.versions[OTHER if name == OTHER else sides[name].library] = answer["version"]
                places[name] = answer["place"]
        if OTHER in places and places[OTHER] and places[OTHER] == places.get("fastdl"):
            left_out[OTHER] = f"its environment has no fastdl of its own, but {places[OTHER]}"
        return {each: process for each, process in asked.items() if each[0] not in left_out}, left_out


def keys(sides: Mapping[str, Side]) -> dict[tuple[str, int], Key]:
    """The process that each side at each number of threads runs in: one of its own, of its library and threads."""
    used: Counter[tuple[str, int, str | None]] = Counter()
    found: dict[tuple[str, int], Key] = {}
    for name, side in sides.items():
        for threads in side.threads:
            kind = side.library, threads, side.python
            found[name, threads] = (*kind, object() if side.fresh else used[kind])
            used[kind] += not side.fresh
    return found


def slower_than_other(entry: Entry) -> bool:
    """Whether a row misses what is asked of it against another environment's fastdl."""
    return any(each.peer == OTHER and not each.met for each in entry.comparisons)


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
