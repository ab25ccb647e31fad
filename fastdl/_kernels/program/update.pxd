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

cdef void clip_values(const Update* update, Py_ssize_t count, double limit, real* _) noexcept nogil
cdef void clip_norm(const Update* update, Py_ssize_t count, double limit, real* _) noexcept nogil
