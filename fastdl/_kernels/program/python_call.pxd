# Functions in Python amid programs; see python_call.pyx.
from fastdl._kernels.descriptor cimport Batch
from fastdl._kernels.program.frame cimport Frame

cdef class PythonCall:
    cdef object name, function
    cdef tuple reads, writes
    # Call the function for a batch.
    cdef int call(self, Frame frame, const Batch* batch) except -1
    # Whether all floating numbers that it has returned for a batch are finite.
    cdef bint finite(self, const Batch* batch) except -1
