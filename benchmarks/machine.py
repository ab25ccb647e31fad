"""What it is measured on: what the machine can do, how fastdl was compiled, and what others leave to us."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from benchmarks.level import environment
from benchmarks.row import Timed
from benchmarks.sides import with_compiler, with_numpy
from benchmarks.worker import repeats_for, seconds_of

SETUP = Path(__file__).parent.parent / "setup.py"


def machine(level: str | None = None) -> dict[str, str]:
    """What it was measured on, at the start of a run, and the CPU level: the one asked for, or fastdl's own choice.

    Raises:
        ValueError: if fastdl does not run at this level.
    """
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line.split(":")[1].strip() for line in information.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": model,
        "level": level_of_fastdl(level),
        "cores": str(os.cpu_count()),
        "FMA peak, float32": fma_peak(level),
        "copy, read and written": copy_bandwidth(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "flags of fastdl's kernels": flags(),
        "load before": load(),
        "cores free before": free_cores(),
    }


def level_of_fastdl(level: str | None) -> str:
    """What the installed fastdl runs at when it is held to a level."""
    command = [sys.executable, "-P", "-c", "import fastdl; print(fastdl.cpu_level())"]
    said = subprocess.run(command, env=os.environ | environment(level), capture_output=True, text=True)
    found = said.stdout.strip()
    if said.returncode or (level is not None and found != level):
        last = (said.stderr.strip().splitlines() or [found])[-1]
        raise ValueError(f"--level: expected fastdl to run at {level or 'some level'}, got {last}")
    return found


def flags() -> str:
    """Those of setup.py, and the levels that it adds."""
    written = re.search(r"^FLAGS = \[(.*)\]$", SETUP.read_text(), re.MULTILINE)
    common = re.findall(r'"([^"]+)"', written[1]) if written else []
    return " ".join([*common, "-march=x86-64-v2, -v3 or -v4 (or the portable level)"])


def fma_peak(level: str | None) -> str:
    """Multiply-adds on registers alone, two operations each, on those of the level."""
    count = 10**7
    try:
        rates = [2 * count / seconds(with_compiler.multiply_adds(count, threads, level)) / 1e9 for threads in (1, 2)]
    except (OSError, ValueError) as error:
        return f"unknown: {error}"
    return f"{rates[0]:.0f} GFLOP/s on one thread, {rates[1]:.0f} on two"


def copy_bandwidth() -> str:
    """Of five arrays of 8 MiB, which is what a layer's forward and backward pass over."""
    size = 5 * 2**23
    rates = [size / seconds(with_numpy.copy(size, threads)) / 1e9 for threads in (1, 2)]
    return f"{rates[0]:.1f} GB/s on one thread, {rates[1]:.1f} on two"


def seconds(work: Timed) -> float:
    """How long the work takes once at best, warm: what others take away is not the machine's."""
    repeats = repeats_for(work.run, 0.003)
    return min(seconds_of(work.run, repeats) / repeats for _ in range(200))


def load() -> str:
    """How many processes wanted to run in the last minute: with others' work on it, a machine tells little."""
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"


def free_cores() -> str:
    """How much faster two threads do twice a job (a hash, which is pure computation) than one thread would: 2 at best.

    Near 1, others hold a core, and what is measured at two threads says nothing.
    """
    job = bytes(2**23)

    def taken(threads: int) -> float:
        start = time.perf_counter()
        list(pool.map(hashlib.sha256, [job] * (threads * 4)))
        return time.perf_counter() - start

    with ThreadPoolExecutor(1) as pool:
        single = median(taken(1) for _ in range(5))
    with ThreadPoolExecutor(2) as pool:
        double = median(taken(2) for _ in range(5))
    return f"{2 * single / double:.1f} of 2"
