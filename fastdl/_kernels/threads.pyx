"""The number of threads the kernels use: one process-wide setting."""

import os

cdef extern from "threads.hpp" namespace "fastdl" nogil:
    int openmp_threads()
    void set_openmp_threads(int n)
    int& held_threads()
    int openmp_version()
    void watch_forks()

# Below this a second thread costs more (its start and end take some microseconds) than it saves.
cdef double WORTH_A_TEAM = 200_000

cdef int setting = openmp_threads()


cdef int threads_for(double work) noexcept nogil:
    cdef int held
    if work < WORTH_A_TEAM:
        return 1
    held = held_threads()
    return held if held else min(setting, openmp_threads())


cdef int hold_threads(int n) noexcept nogil:
    cdef int before = held_threads()
    (&held_threads())[0] = n
    return before


def set_num_threads(n) -> None:
    """Let the kernels use up to n threads, in the whole process (threadpoolctl's limits are kept to as well).

    Results do not depend on it, not by a bit. A build without OpenMP always runs on one thread.

    Raises:
        TypeError: if n is not an integer.
        ValueError: if n is below 1.
    """
    global setting
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"set_num_threads: expected a positive integer, got {n!r}")
    if not 1 <= int(n) <= 1024:
        raise ValueError(f"set_num_threads: expected a positive integer up to 1024, got {n}")
    setting = int(n) if openmp_version() else 1
    set_openmp_threads(setting)


def get_num_threads() -> int:
    """Return the number of threads that kernels use at most when called from this thread."""
    return min(setting, openmp_threads())


def openmp() -> int:
    """Return the version (a date) of the OpenMP that the kernels were built with, 0 for none."""
    return openmp_version()


watch_forks()
if os.environ.get("FASTDL_NUM_THREADS"):
    try:
        set_num_threads(int(os.environ["FASTDL_NUM_THREADS"]))
    except ValueError:
        raise ImportError(
            f"FASTDL_NUM_THREADS: expected a positive integer, got {os.environ['FASTDL_NUM_THREADS']!r}"
        ) from None
