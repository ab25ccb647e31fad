"""All runs of a study: over processes where there are cores, alone and in turn where times are measured."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from typing import Any

import numpy as np

from fastdl._kernels.threads import get_num_threads, set_num_threads
from fastdl.studies import pytorch
from fastdl.studies.results import SECONDS
from fastdl.studies.store import Store, key
from fastdl.studies.study import Case, Measured, Study

Task = tuple[Case, int]


def sweep(study: Study, store: Store, processes: int | None = None) -> None:
    """Measure every run that the store does not hold yet; each is kept as soon as it is finished.

    Args:
        study: what is measured.
        store: where it is kept.
        processes: how many at a time; None for one on each core, or one alone for a timed or quick study.

    Raises:
        KeyboardInterrupt: on Ctrl-C, saying how many runs are kept.
    """
    cases = runnable(study)
    tasks = [(case, run) for run in range(study.settings.runs) for case in cases]
    pending = [(case, run) for case, run in tasks if (key(case), run) not in store.done]
    if processes is None:
        processes = 1 if study.timed or study.is_quick else _cores()
    processes = min(processes, len(pending))
    if study.timed and pending:
        _warm_up(study, [case for case, run in pending if run == pending[0][1]])
    runs = _in_turn(study, pending) if processes <= 1 else _in_processes(study, pending, processes)
    # Closed, also where Ctrl-C comes between two runs: processes would go on.
    with closing(runs) as measured, _Bar(study.name, len(tasks), len(tasks) - len(pending)) as advance:
        try:
            for (case, run), found in measured:
                store.keep(case, run, found)
                advance()
        except KeyboardInterrupt:
            kept = len(Store(store.path.parent, study).done)  # read again: it may have been interrupted while writing
            raise KeyboardInterrupt(
                f"interrupted after {kept} of {len(tasks)} runs of {study.name}, kept in {store.path.parent};"
                " the same command goes on from there"
            ) from None


def runnable(study: Study) -> list[Case]:
    """The cases, without those of PyTorch where it is not installed."""
    return [case for case in study.cases() if case.get("framework") != "PyTorch" or pytorch.installed()]


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _measure(study: Study, task: Task) -> Measured:
    case, run = task
    start = time.perf_counter()
    measured = study.measure(case, np.random.default_rng([study.seed, run]))
    return {**measured, SECONDS: time.perf_counter() - start}


def _in_turn(study: Study, tasks: list[Task]) -> Generator[tuple[Task, Measured], None, None]:
    """Runs one after the other: what is timed has all threads, all else one, as in `_in_processes`."""
    threads = get_num_threads()
    if not study.timed:
        _one_thread()
    try:
        yield from ((task, _measure(study, task)) for task in tasks)
    finally:
        set_num_threads(threads)


def _in_processes(study: Study, tasks: list[Task], processes: int) -> Generator[tuple[Task, Measured], None, None]:
    """Runs as they finish. Workers are fresh processes on one thread each, which never hear of Ctrl-C."""
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _one_thread)
    try:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:  # workers start here, with the mask
            futures = {pool.submit(_measure, study, task): task for task in tasks}
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        while children := set(multiprocessing.active_children()) - before:  # one may just be starting
            for child in children:
                child.kill()
                child.join()


def _one_thread() -> None:
    set_num_threads(1)


def _warm_up(study: Study, cases: list[Case]) -> None:
    """Measure each case once for an epoch, for nothing: first calls import, and find memory and caches cold."""
    short = type(study)(study.is_quick, study.seed, **vars(study.settings))
    if hasattr(short.settings, "epochs"):
        short.settings.epochs = 1
    for case in cases:
        _measure(short, (case, 0))


class _Bar:
    """A bar of runs on standard error, when that is a terminal and tqdm is there."""

    def __init__(self, name: str, total: int, done: int) -> None:
        self._bar: Any = None
        if sys.stderr and sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self._bar = tqdm(total=total, initial=done, desc=name, unit="run", dynamic_ncols=True, file=sys.stderr)

    def __enter__(self) -> Callable[[], Any]:
        return (lambda: None) if self._bar is None else self._bar.update

    def __exit__(self, *ending: object) -> None:
        if self._bar is not None:
            self._bar.close()
