"""A process that wants one of the processors for itself, while it is let."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

# It ends with the process that started it.
LOOP = """
import os, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""


class Busy:
    """Keeps the last of the processors busy within `with`, and is stopped outside of it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", LOOP], stdout=subprocess.DEVNULL)
        self._process.send_signal(signal.SIGSTOP)

    def __enter__(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def __exit__(self, *_: Any) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def __del__(self) -> None:
        self._process.kill()
        self._process.wait()
