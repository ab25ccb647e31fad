# Programs, as other rooms call them; see program.pyx.
cimport numpy as cnp
from libc.stdint cimport uint64_t

from fastdl._kernels.program.blocks cimport Blocks
from fastdl._kernels.program.operation cimport Batch

# Seconds a sample by one thread and by all, 0 where not known yet; calls so far, and when the slower is tried again.
cdef struct Pace:
    double one, all
    Py_ssize_t calls, next_trial, trials_apart

cdef class Program:
    cdef cnp.ndarray operations, objective
    cdef Pace pace
    cdef Py_ssize_t count, itemsize, latest_size, latest_scratch, light
    cdef Blocks blocks
    cdef const void* latest_table
    cdef int latest_threads
    cdef char* input
    cdef char* target
    cdef readonly Py_ssize_t draws
    cdef object kept
    # Which of the parameters' moves the addresses stand for, and the arrays there.
    cdef object bound
    cdef list arrays
    # Whether a batch of N takes less time than giving the GIL away and taking it again.
    cdef bint keeps_gil(self, Py_ssize_t N) noexcept
    cdef int bind(self, list parameters, object moves) except -1
    cdef Py_ssize_t scratch_size(self, Py_ssize_t N, Py_ssize_t last) except -1
    cdef Py_ssize_t first_wild_of(self, Py_ssize_t first, Py_ssize_t count, const Batch* batch) noexcept
    cdef int run_batch(self, const Batch* batch, bint forward) except -1
    # One batch through; y is its result, and backward may follow.
    cdef int forward(self, cnp.ndarray x, cnp.ndarray y, uint64_t seed, uint64_t call) except -1
    # The gradients of the batch that forward has last seen; gx may be None. `gradients` has the parameters of each operation that
    # differentiates some, from the last to the first, behind the operation's number: each gradient is added to, or stored where
    # the parameter's is forgotten.
    cdef int backward(
        self, cnp.ndarray x, cnp.ndarray y, cnp.ndarray gy, cnp.ndarray gx, list gradients, uint64_t seed, uint64_t call) except -1
