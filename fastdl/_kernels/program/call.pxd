# Forms of the arrays of calls; see call.pyx.
cimport numpy as cnp

cdef class Form:
    cdef int kind
    cdef tuple shape
    # The array as a program reads it, in whatever layout it is; None where it is of another form, or has too few or many samples.
    cdef cnp.ndarray read(self, x, Py_ssize_t least, Py_ssize_t most)
