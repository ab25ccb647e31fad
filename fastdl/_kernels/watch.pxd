# Notices changes of a model; see watch.pyx.
from cpython.object cimport PyObject

cdef class Watch:
    cdef list entries, sizes, parameters
    # Dictionary, name and value of each entry, one behind the other; the list above holds them.
    cdef PyObject** looked_at
    cdef bint in_place
    cdef object kind
    # How often parameters had moved when they were last looked at.
    cdef readonly object moves
    # Both run no Python code.
    cdef bint unchanged(self) except -1
    cdef bint parameters_fit(self) except -1
