"""The number of threads the kernels use: one setting for the whole process."""

import os

cdef extern from "threads.hpp" namespace "fastdl" nogil:
    const int most_threads
    int available_threads()
    void begin_threads()
    void set_threads(int n)
    void follow_setting()
    int& held_threads()
    int openmp_version()
    bint forked
    void watch_forks()

# Below this a second thread costs more (its start and end take some microseconds) than it saves.
cdef double WORTH_A_TEAM = 200_000


cdef int threads_for(double work) noexcept nogil:
    cdef int held
    if work < WORTH_A_TEAM or forked:
        return 1
    held = held_threads()
    return held if held else available_threads()


cdef void follow_threads() noexcept nogil:
    follow_setting()


cdef int hold_threads(int n) noexcept nogil:
    cdef int before = held_threads()
    (&held_threads())[0] = n
    return before


def set_num_threads(n: int) -> None:
    """Let the kernels use up to n threads, in every Python thread of the process (threadpoolctl's limits are kept to as well).

    Results do not depend on it, not by a bit. A build without OpenMP and a forked child always run on one thread.

    Raises:
        TypeError: if n is not an integer.
        ValueError: if n is below 1 or above 1024.
    """
    from fastdl.errors import InvalidTypeError, InvalidValueError
    from fastdl.messages import shown
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise InvalidTypeError("set_num_threads", "a positive integer", shown(n))
    if not 1 <= int(n) <= most_threads:
        raise InvalidValueError("set_num_threads", f"a positive integer up to {most_threads}", shown(int(n)))
    set_threads(int(n) if openmp_version() else 1)


def get_num_threads() -> int:
    """Return the number of threads that kernels use at most when called from this thread."""
    follow_setting()
    return available_threads()


def openmp() -> int:
    """Return the version (a date) of the OpenMP that the kernels were built with, 0 for none."""
    return openmp_version()


watch_forks()
begin_threads()
if os.environ.get("FASTDL_NUM_THREADS"):
    try:
        set_num_threads(int(os.environ["FASTDL_NUM_THREADS"]))
    except ValueError:
        raise ImportError(
            f"FASTDL_NUM_THREADS: expected a positive integer, got {os.environ['FASTDL_NUM_THREADS']!r}"
        ) from None
