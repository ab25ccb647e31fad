# Frames: what of a program varies by call; see frame.pyx.
cimport numpy as cnp
from libc.stdint cimport uint64_t

from fastdl._kernels.descriptor cimport Batch, Operand
from fastdl._kernels.node cimport Extent

# Seconds a sample by all threads and by one of them, 0 where not known yet; whether the steps under way are by one, and to find out;
# windows until the slower is tried again, and between two such trials; windows that have been measured, for so many threads.
cdef struct Pace:
    double all, one
    bint alone, trial
    Py_ssize_t left, apart, windows
    int threads

cdef void note_pace(Pace* p, int threads, Py_ssize_t samples, Py_ssize_t batch, double seconds) noexcept nogil

# An array of a program's memory that Python code takes or gives.
cdef enum:
    MOST_AXES_PASSED = 32

cdef class Passed:
    cdef Operand operand
    cdef int dtype, ndim
    cdef Extent shape[MOST_AXES_PASSED]
    # Its bytes for a batch, and a copy of it.
    cdef Py_ssize_t nbytes(self, const Batch* batch)
    cdef cnp.ndarray of(self, const Batch* batch)
    # Let a batch have an array; `name` is whose it is, for errors.
    cdef int give(self, const Batch* batch, object given, object name) except -1

cdef class Frame:
    cdef readonly cnp.ndarray arena
    # The arrays outside of the arena by their number, those whose addresses `table` holds, and which of the parameters' moves they
    # stand for.
    cdef list sources, arrays
    cdef char** table
    cdef char* accumulates
    cdef object moves
    # What functions in Python leave for others.
    cdef readonly dict kept
    # What the latest call asked for.
    cdef Py_ssize_t latest_size, latest_scratch, latest_of_block
    cdef const void* latest_table
    cdef int latest_threads
    cdef Pace pace
    # Let operations read and write the arrays that parameters live in now.
    cdef int bind(self) except -1
    cdef int bind_to(self, list arrays, object moves) except -1
    # Let a base stand for an array that a run is given, or for none.
    cdef void give(self, Py_ssize_t base, cnp.ndarray array) noexcept
    cdef Batch batch(self, Py_ssize_t N, uint64_t seed, uint64_t call) noexcept

# Let a frame be used again, unless enough of them are idle.
cdef void give_back(Frame frame, list idle)
