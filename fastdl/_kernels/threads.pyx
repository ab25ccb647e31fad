"""The threads that kernels share their tasks with, and how many of them: one setting for the whole process.

The pool is in thread_pool.hpp. A kernel names its tasks: `workers.run(threads_for(work), count, task[real], arguments...)` calls
`task(number, arguments...)` for each number below count, wherever there is a thread for it.
"""

from fastdl._kernels.processors import number_of_threads

cdef extern from "threads.hpp" namespace "fastdl" nogil:
    const int most_threads
    int setting
    int available_threads()
    void set_threads(int n)
    void follow_setting()
    int& held_threads()
    Workers* make_pool()

# Below this a second thread costs more (its start and end take some microseconds) than it saves.
cdef double WORTH_A_TEAM = 200_000


cdef int threads_for(double work) noexcept nogil:
    cdef int held
    if work < WORTH_A_TEAM:
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

    Results do not depend on it, not by a bit.

    Raises:
        TypeError: if n is not an integer.
        ValueError: if n is below 1 or above 1024.
    """
    global reason
    from fastdl.errors import InvalidTypeError, InvalidValueError
    from fastdl.messages import shown
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise InvalidTypeError("set_num_threads", "a positive integer", shown(n))
    if not 1 <= int(n) <= most_threads:
        raise InvalidValueError("set_num_threads", f"a positive integer up to {most_threads}", shown(int(n)))
    set_threads(int(n))
    reason = "set_num_threads"


def get_num_threads() -> int:
    """Return the number of threads that kernels use at most when called from this thread."""
    follow_setting()
    return available_threads()


def threads_reason() -> str:
    """Return what get_num_threads follows from."""
    follow_setting()
    return f"threadpoolctl, of {setting} by {reason}" if available_threads() < setting else reason


workers = make_pool()
cdef int begun
cdef str reason
begun, reason = number_of_threads(most_threads)
set_threads(begun)
