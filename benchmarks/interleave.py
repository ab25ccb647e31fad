"""Measuring a row: every side in a process of its own, slices of all of them in turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

from benchmarks.row import Row

ROOT = Path(__file__).parent.parent

# A process: its library, its number of threads, and which of several of that kind.
Key = tuple[str, int, int]


class Pace(NamedTuple):
    """Seconds of one timing and of one slice, and how often each side's turn comes."""

    block: float
    slice: float
    rounds: int


FULL, QUICK = Pace(0.05, 0.1, 6), Pace(0.005, 0.01, 2)


class Figure(NamedTuple):
    """A side at its better number of threads: the median in the row's unit, and the interquartile range over it.

    `by_threads` holds the median at each number of threads.
    """

    value: float
    spread: float
    threads: int
    by_threads: dict[int, float]


class Result(NamedTuple):
    """A measured row: figures by side, and why other sides are left out."""

    row: Row
    figures: dict[str, Figure]
    left_out: dict[str, str]

    def ratio(self, peer: str) -> float:
        """Peer over fastdl."""
        return self.figures[peer].value / self.figures["fastdl"].value


class Failure(NamedTuple):
    """A row that fastdl could not run, and why."""

    row: Row
    reason: str


class Process:
    """A worker, started for a number of threads."""

    def __init__(self, threads: int) -> None:
        number = str(threads)
        environment = os.environ | {
            "OMP_NUM_THREADS": number,
            "OPENBLAS_NUM_THREADS": number,
            "MKL_NUM_THREADS": number,
            "FASTDL_NUM_THREADS": number,
            "NPROC": number,
            "JAX_PLATFORMS": "cpu",
        }
        if threads == 1:
            environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
        self.threads = threads
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def ask(self, **message: Any) -> dict[str, Any]:
        """Send a message and wait for its answer."""
        self.send(**message)
        return self.receive()

    def send(self, **message: Any) -> None:
        """Send a message; its answer is to be received."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """The next answer; a worker that has died gives its reason."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"missing": f"its process ended with code {self._process.wait()}"}

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Interleaver:
    """Measures rows at a pace; a process is kept while later rows need it, so that a library is imported once.

    `versions` names what took part, by library.
    """

    def __init__(self, rows: Sequence[Row], pace: Pace) -> None:
        self.pace = pace
        self.versions: dict[str, str] = {}
        self._rows = list(rows)
        self._processes: dict[Key, Process] = {}

    def __iter__(self) -> Iterator[Result | Failure]:
        """Measure one row after another; one whose fastdl side does not run is a Failure."""
        try:
            while self._rows:
                yield self._measure(self._rows.pop(0))
                needed = {key for row in self._rows for key in keys(row).values()}
                for key in [key for key in self._processes if key not in needed]:
                    self._processes.pop(key).close()
        finally:
            for process in self._processes.values():
                process.close()

    def _measure(self, row: Row) -> Result | Failure:
        contenders, left_out = self._built(row)
        values: dict[tuple[str, int], list[float]] = {contender: [] for contender in contenders}
        for turn in range(self.pace.rounds):
            for contender in rotated(list(contenders), turn):
                if contender[0] not in left_out:
                    answer = contenders[contender].ask(measure=self.pace.slice)
                    values[contender] += answer.get("values", [])
                    if "missing" in answer:
                        left_out[contender[0]] = answer["missing"]
        if "fastdl" in left_out:
            return Failure(row, left_out["fastdl"])
        figures = {name: figure(name, values) for name, _ in values if name not in left_out}
        return Result(row, figures, left_out)

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
    found = {}
    for name, side in row.sides().items():
        for threads in side.threads:
            kind = side.library, threads
            found[name, threads] = (*kind, used[kind])
            used[kind] += 1
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
    return Figure(by_threads[best], (high - low) / by_threads[best] if high > low else 0.0, best, by_threads)
