"""How many threads kernels begin with: what the environment says, else the processors that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")


def number_of_threads(most: int) -> tuple[int, str]:
    """How many threads to use, and why.

    FASTDL_NUM_THREADS is taken as it stands; OMP_NUM_THREADS, which limits joblib's workers, up to the number of processors.

    Raises:
        ImportError: if FASTDL_NUM_THREADS is no number from 1 to `most`.
    """
    asked = os.environ.get("FASTDL_NUM_THREADS", "")
    if asked:
        if not _is_number(asked) or int(asked) > most:
            raise ImportError(f"FASTDL_NUM_THREADS: expected a positive integer up to {most}, got {asked!r}")
        return int(asked), "FASTDL_NUM_THREADS"
    n, reason = processors()
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # further ones are for teams within teams
    if _is_number(first) and int(first) < n:
        n, reason = int(first), "OMP_NUM_THREADS"
    return min(n, most), reason


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0


def processors() -> tuple[int, str]:
    """How many processors this process may use, and what limits them."""
    found = os.cpu_count() or 1
    n, reason = found, "the number of processors"
    if hasattr(os, "sched_getaffinity"):
        n = len(os.sched_getaffinity(0))
        if n < found:
            reason = f"this process may use {n} of {found} processors"
    limit = quota(CONTROL_GROUPS, Path("/proc/self/cgroup"))
    if limit is not None and math.ceil(limit) < n:
        n, reason = max(math.ceil(limit), 1), f"its control group may use {limit:g} processors"
    return n, reason


def quota(groups: Path, own: Path) -> float | None:
    """The processors' time that the control groups of a process allow; None for any.

    Args:
        groups: where the system shows its control groups.
        own: the file that names those of the process.

    Source: the Linux kernel's documentation of control groups, versions 1 and 2.
    """
    found = []
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = ["0::/"]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2: a limit holds for all groups below it
            group = groups / path.lstrip("/")
            above = [each for each in group.parents if each == groups or groups in each.parents]
            found += [_share(*_words(each / "cpu.max")) for each in (group, *above)]
        elif "cpu" in controllers.split(","):
            for each in (groups / controllers, groups / "cpu"):
                for group in (each, each / path.lstrip("/")):
                    found.append(_share(*_words(group / "cpu.cfs_quota_us"), *_words(group / "cpu.cfs_period_us")))
    return min((each for each in found if each is not None), default=None)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _share(*words: str) -> float | None:
    """Quota over period, both in microseconds; None where there is no quota."""
    try:
        allowed, period = map(int, words)
    except ValueError:
        return None
    return allowed / period if allowed > 0 and period > 0 else None
