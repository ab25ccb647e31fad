"""What it is measured on, and how much of it others leave to us."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median


def machine() -> dict[str, str]:
    """What it was measured on."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line.split(":")[1].strip() for line in information.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load before": load(),
        "cores free before": free_cores(),
    }


def load() -> str:
    """How many processes wanted to run in the last minute: with others' work on it, a machine tells little."""
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"


def free_cores() -> str:
    """How much faster two threads do twice a job (a hash, which is pure computation) than one thread would: 2 at best.

    Near 1, others hold a core, and what is measured at two threads says nothing.
    """
    job = bytes(2**23)

    def seconds(threads: int) -> float:
        start = time.perf_counter()
        list(pool.map(hashlib.sha256, [job] * (threads * 4)))
        return time.perf_counter() - start

    with ThreadPoolExecutor(1) as pool:
        single = median(seconds(1) for _ in range(5))
    with ThreadPoolExecutor(2) as pool:
        double = median(seconds(2) for _ in range(5))
    return f"{2 * single / double:.1f} of 2"
