"""A worker's process, seen from the one that asks: started for a number of threads, asked, given up, ended."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.level import environment as held_to

ROOT = Path(__file__).parent.parent

# Seconds that an answer may take. They are counted one by one: while this process is stopped, none goes by.
PATIENCE = 60


class Process:
    """A worker, started for a number of threads.

    Args:
        threads: that libraries are to use.
        python: the interpreter, whose environment the libraries come from; this one where it is None.
        level: the CPU level that libraries are held to, or None.
        patience: how many seconds an answer may take.
    """

    def __init__(
        self, threads: int, python: str | None = None, level: str | None = None, patience: int = PATIENCE
    ) -> None:
        number = str(threads)
        environment = os.environ | {
            "OMP_NUM_THREADS": number,
            "OPENBLAS_NUM_THREADS": number,
            "MKL_NUM_THREADS": number,
            "BLIS_NUM_THREADS": number,
            "FASTDL_NUM_THREADS": number,
            "NPROC": number,
            "JAX_PLATFORMS": "cpu",
        }
        held = held_to(level)
        if threads == 1:
            held["XLA_FLAGS"] = f"{held.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
        environment |= held
        self.threads, self.patience = threads, patience
        # A session of its own: Ctrl-C is for this process, which ends the workers itself.
        self._process = subprocess.Popen(
            [python or sys.executable, "-m", "benchmarks.worker"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
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
        with suppress(BrokenPipeError):  # that it has died is the answer
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """The next answer; a worker that has died or says nothing gives its reason."""
        assert self._process.stdout is not None
        for _ in range(self.patience):
            if select.select([self._process.stdout], [], [], 1.0)[0]:
                line = self._process.stdout.readline()
                return json.loads(line) if line else {"missing": f"its process ended with code {self._process.wait()}"}
        self._process.kill()
        self._process.wait()
        return {"missing": f"no answer in {self.patience} seconds"}

    def close(self) -> None:
        """End the process at once, whatever it is at: there is nothing that it would have to put away."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
