# Programs; see program.pyx.
cimport numpy as cnp
from libc.stdint cimport uint64_t

from fastdl._kernels.access cimport Access
from fastdl._kernels.descriptor cimport Batch, Operation
from fastdl._kernels.program.frame cimport Frame
from fastdl._kernels.program.sequence cimport EntryList
from fastdl._kernels.program.update cimport Updates
from fastdl._kernels.watch cimport Watch

cdef class TrainOptions:
    cdef list inputs, outputs
    cdef cnp.ndarray order, seeds
    cdef Py_ssize_t rows, batch_size, accumulate, epochs
    cdef double clip_value, clip_norm
    cdef bint sums
    cdef uint64_t seed, call
    cdef Updates updates
    cdef list counts
    cdef Access access
    cdef Watch watch
    cdef object goes_on, ended, after_backward

cdef class Program:
    cdef Operation* operations
    cdef Py_ssize_t count, itemsize, light
    cdef readonly Py_ssize_t draws, nbytes
    cdef bytes accumulates
    cdef list inputs, outputs
    cdef EntryList entries
    # What the operations' addresses point into.
    cdef object records
    # Whether a batch of N takes less time than giving the GIL away and taking it again.
    cdef bint keeps_gil(self, Py_ssize_t N) noexcept
    cdef Py_ssize_t scratch_size(self, Py_ssize_t N, Py_ssize_t last, Py_ssize_t* of_block) except -1
    cdef Batch batch_of(self, Frame frame, Py_ssize_t N, list arrays, uint64_t seed, uint64_t call) except *
    # Entries from `first` to below `last`; the number of one that failed or is in Python, or -1.
    cdef Py_ssize_t run_batch(self, Frame frame, Py_ssize_t first, Py_ssize_t last, Batch* batch) except -2

cdef class Frames:
    cdef readonly Program program
    cdef readonly list idle
    cdef list sources
    cpdef Frame take(self)
