# Arrays of a program's that Python code sees; see passed.pyx.
cimport numpy as cnp

from fastdl._kernels.descriptor cimport Batch, Operand
from fastdl._kernels.node cimport Extent

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
