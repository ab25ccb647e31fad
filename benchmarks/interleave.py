"""Measuring a row: every side in a process of its own, slices of all of them in turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.row import Row

ROOT = Path(__file__).parent.parent


class Pace(NamedTuple):
    """Seconds of one timing and of one slice, and how often each side's turn comes."""

    block: float
    slice: float
    rounds: int


FULL, QUICK = Pace(0.02, 0.1, 6), Pace(0.005, 0.015, 3)


class Figure(NamedTuple):
    """The median of a side at its better number of threads, in the row's unit, and that at each number of threads."""

    value: float
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

    def ask(self, message: dict[str, Any]) -> None:
        """Send a message; `answer` waits for what comes back."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What the worker answers; one that has died says so."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"missing": f"its process ended with code {self._process.wait()}"}

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Interleaver:
    """Measures rows at a pace; processes are kept for the rows that follow, so that a library is imported once.

    Use it in a `with` statement. `versions` names what took part, by library.
    """

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.versions: dict[str, str] = {}
        self._processes: dict[tuple[str, int, int], Process] = {}

    def __enter__(self) -> Interleaver:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes.values():
            process.close()

    def measure(self, row: Row) -> Result:
        """The medians of every side that is there.

        Raises:
            RuntimeError: if fastdl's own side does not run.
        """
        contenders, left_out = self._built(row)
        values: dict[tuple[str, int], list[float]] = {contender: [] for contender in contenders}
        for turn in range(self.pace.rounds):
            order = list(contenders)
            for contender in order[turn % len(order) :] + order[: turn % len(order)]:
                contenders[contender].ask({"measure": self.pace.slice})
                answer = contenders[contender].answer()
                if "missing" in answer:
                    left_out[contender[0]] = answer["missing"]
                values[contender] += answer.get("values", [])
        by_side: dict[str, dict[int, float]] = {}
        for (name, threads), measured in values.items():
            if name not in left_out:
                by_side.setdefault(name, {})[threads] = median(measured)
        if "fastdl" not in by_side:
            raise RuntimeError(f"{row.name}: expected fastdl's side to run, got {left_out['fastdl']}")
        figures = {}
        for name, by_threads in by_side.items():
            best = min(by_threads, key=by_threads.__getitem__)
            figures[name] = Figure(by_threads[best], best, by_threads)
        return Result(row, figures, left_out)

    def _built(self, row: Row) -> tuple[dict[tuple[str, int], Process], dict[str, str]]:
        """The processes by side and threads, their work built and warm, and why others are left out."""
        sides, used, asked = row.sides(), Counter[tuple[str, int]](), {}
        for name, side in sides.items():
            for threads in side.threads:
                kind = side.library, threads
                key = *kind, used[kind]
                used[kind] += 1
                process = self._processes.setdefault(key, Process(threads)) if key not in self._processes else self._processes[key]
                process.ask({"build": {"row": row.name, "side": name, "threads": threads, "block": self.pace.block}})
                asked[name, threads] = process
        left_out: dict[str, str] = {}
        for (name, _), process in asked.items():
            answer = process.answer()
            if "missing" in answer:
                left_out[name] = answer["missing"]
            else:
                self.versions[sides[name].library] = answer["version"]
        return {each: process for each, process in asked.items() if each[0] not in left_out}, left_out
