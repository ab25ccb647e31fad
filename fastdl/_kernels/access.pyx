"""Turns: native code without the GIL, and Python code that changes or replaces arrays, use parameters in turn.

Whoever runs without the GIL has a turn for as long as it does, and so has an optimizer's step, load_state_dict, astype and their like.
Turns that only read go side by side; one that writes what another reads or writes waits for it, in the order in which the threads began
to wait. A thread that has a turn never waits for another, so that threads cannot wait for each other in a circle.
"""

import os

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.list cimport PyList_GET_SIZE

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident() noexcept nogil

cdef extern from "waiting.hpp" namespace "fastdl" nogil:
    cdef cppclass Changes:
        unsigned long latest()
        void announce()
        void wait(unsigned long seen, long milliseconds)
        void renew()

# While waiting, signals are looked for this often.
cdef enum:
    MILLISECONDS = 20

cdef Changes changes
# Those who have a turn or wait for one, in the order of arrival; guarded by the GIL.
cdef list turns = []
cdef int waiting = 0


@cython.final
cdef class Entries:
    """How often a turn has begun."""


cdef class Access:
    """What a turn reads and writes; one may be used by several threads. Also a context manager.

    Args:
        reads, writes: objects whose values are read or written: parameters, and modules for their buffers.
        reads_gradients, writes_gradients: parameters.
    """

    def __init__(
        self, reads: Collection[object] = (), writes: Collection[object] = (), reads_gradients: Collection[object] = (),
        writes_gradients: Collection[object] = (),
    ):
        self.entries = Entries()
        self.kept = [*reads, *writes, *reads_gradients, *writes_gradients]  # while they live, no other object has their numbers
        self.reads = frozenset([*map(id, reads), *(id(each) | 1 for each in reads_gradients)])
        self.writes = frozenset([*map(id, writes), *(id(each) | 1 for each in writes_gradients)])

    def __reduce__(self):
        raise TypeError("Access: expected to stay in its process, for it holds addresses; make it again")

    def __enter__(self):
        enter(self)

    def __exit__(self, *exception):
        leave(self)


@cython.final
@cython.freelist(8)
@cython.no_gc
cdef class Turn:
    cdef Access access
    cdef unsigned long thread
    cdef bint active


def busy() -> bool:
    """Tell whether anyone has a turn: who changes one array in one go, and keeps the GIL, need not ask for a turn otherwise."""
    return PyList_GET_SIZE(turns) > 0


def has_turn() -> bool:
    """Tell whether this thread has a turn, so that it must not wait for another thread, which may wait for the turn's end."""
    cdef Turn turn
    cdef unsigned long thread = PyThread_get_thread_ident()
    for turn in turns:
        if turn.thread == thread and turn.active:
            return True
    return False


cdef bint conflict(Access one, Access other) except -1:
    return not (one.writes.isdisjoint(other.writes) and one.writes.isdisjoint(other.reads) and one.reads.isdisjoint(other.writes))


cdef bint may_begin(Turn turn) except -1:
    """Whether nobody has a turn that conflicts, nor waits for one since before this thread does.

    A thread that waits may be interrupted by a signal handler that asks for a turn, too: who came between the two waits for the first.
    """
    cdef Turn other
    cdef bint earlier = True
    for other in turns:
        if other.thread == turn.thread and other.active:
            return True
    for other in turns:
        if other.thread == turn.thread:
            earlier = False
        elif (earlier or other.active) and conflict(other.access, turn.access):
            return False
    return True


cdef int enter(Access access) except -1:
    global waiting
    cdef Turn turn = Turn.__new__(Turn)
    cdef unsigned long seen
    turn.access, turn.thread = access, PyThread_get_thread_ident()
    if PyList_GET_SIZE(turns) == 0:
        turn.active = True
        access.entries.number += 1
        turns.append(turn)
        return 0
    turns.append(turn)
    waiting += 1
    try:
        while True:
            seen = changes.latest()
            if may_begin(turn):
                break
            with nogil:
                changes.wait(seen, MILLISECONDS)
            PyErr_CheckSignals()
        turn.active = True
        access.entries.number += 1
    except BaseException:
        turns.remove(turn)
        changes.announce()
        raise
    finally:
        waiting -= 1
    return 0


cdef int leave(Access access) except -1:
    cdef Py_ssize_t i
    cdef unsigned long thread = PyThread_get_thread_ident()
    cdef Turn turn
    for i in range(PyList_GET_SIZE(turns) - 1, -1, -1):
        turn = <Turn>turns[i]
        if turn.access is access and turn.active and turn.thread == thread:
            del turns[i]
            break
    if waiting:
        changes.announce()
    return 0


def after_fork():
    """In a child, only the thread that has forked goes on."""
    global waiting
    cdef Turn turn
    cdef unsigned long thread = PyThread_get_thread_ident()
    changes.renew()
    turns[:] = [turn for turn in turns if turn.thread == thread]
    waiting = len([turn for turn in turns if not turn.active])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=after_fork)
