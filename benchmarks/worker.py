"""A side's own process: `python -m benchmarks.worker`, driven over its standard input and output, a line a message."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.level import departure
from benchmarks.row import ROWS, Reading, Timed

MICROSECONDS = 1e6


class Worker:
    """Builds the work of one side at a time and measures slices of it."""

    def __init__(self) -> None:
        self.work: Timed | Reading = Reading(lambda: float("nan"))
        self.repeats = 1
        self.held: set[str] = set()

    def build(self, row: str, side: str, threads: int, block: float, level: str | None = None) -> dict[str, str]:
        """Build the side's work and make it warm; `block` is how many seconds one timing is to take.

        A library that is not held to the `level` is refused.
        """
        chosen = ROWS[row].sides()[side]
        self.work = chosen.build(threads)
        if level is not None and chosen.library not in self.held:
            if reason := departure(chosen.library, level):
                raise ValueError(reason)
            self.held.add(chosen.library)
        if isinstance(self.work, Timed):
            self.repeats = repeats_for(self.work.run, block)
        if chosen.library == "fastdl" and "torch" in sys.modules:
            raise RuntimeError("benchmarks.worker: expected fastdl's process without PyTorch, got it imported")
        place = sys.modules["fastdl"].__file__ if chosen.library == "fastdl" else ""
        return {"version": sys.modules[f"benchmarks.sides.with_{chosen.library}"].VERSION, "place": str(place)}

    def measure(self, seconds: float) -> dict[str, list[float]]:
        """The values of a slice of so many seconds, at least one; the first timing, on cold caches, does not count."""
        if isinstance(self.work, Reading):
            return {"values": [self.work.read()]}
        run, per_run = self.work.run, self.work.units * self.repeats
        first = seconds_of(run, self.repeats)
        if first > seconds:
            return {"values": [first / per_run * MICROSECONDS]}
        values, end = [], time.perf_counter() + seconds
        while not values or time.perf_counter() < end:
            values.append(seconds_of(run, self.repeats) / per_run * MICROSECONDS)
        return {"values": values}


def seconds_of(run: Callable[[int], Any], repeats: int) -> float:
    """How long `run(repeats)` takes."""
    start = time.perf_counter()
    run(repeats)
    return time.perf_counter() - start


def repeats_for(run: Callable[[int], Any], block: float) -> int:
    """How many repeats take about `block` seconds; the first run (compilation, memory) does not count."""
    run(1)
    repeats, taken = 1, seconds_of(run, 1)
    while taken < block / 2:
        repeats *= max(2, min(10, int(block / taken / 2)))
        taken = seconds_of(run, repeats)
    return max(1, round(repeats * block / taken))


def serve() -> None:
    """Answer one message after another until the input ends; a failure is an answer too."""
    import benchmarks.installed
    import benchmarks.rows  # noqa: F401

    # What libraries print goes to the error stream: the output carries answers only.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        message = json.loads(line)
        try:
            answer = worker.build(**message["build"]) if "build" in message else worker.measure(message["measure"])
        except ModuleNotFoundError as error:
            answer = {"missing": f"{error.name} is not installed"}
        except Exception as error:
            answer = {"missing": f"{type(error).__name__}: {error}".splitlines()[0][:100]}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    serve()
