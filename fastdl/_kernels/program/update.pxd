# The optimizer's updates in a program; see update.pyx.
cimport numpy as cnp

from fastdl._kernels.descriptor cimport Update
from fastdl._kernels.table cimport real

cdef class Updates:
    cdef Update* update
    cdef readonly Py_ssize_t count
    # The optimizer's parameters that each update covers.
    cdef list members
    cdef list kept
    cdef int read_steps(self, list counts) except -1
    cdef int count_steps(self, list counts) except -1

# Add a batch's gradients, times a weight, to the sums of a step's; let gradients be these sums by the total of weights.
cdef void add_batch(const Update* update, Py_ssize_t count, double weight, bint first, real* _) noexcept nogil
cdef void take_mean(const Update* update, Py_ssize_t count, double total, real* _) noexcept nogil
cdef void clip_values(const Update* update, Py_ssize_t count, double limit, real* _) noexcept nogil
cdef void clip_norm(const Update* update, Py_ssize_t count, double limit, real* _) noexcept nogil
