# Notices changes of a model; see watch.pyx.
from cpython.object cimport PyObject

cdef class Watch:
    cdef list entries, dictionaries, parameters
    cdef frozenset passing
    # Of each dictionary, how many entries there are, and how many that may not come and go.
    cdef Py_ssize_t* sizes
    # Dictionary, name and value of each entry, one behind the other; the list above holds them.
    cdef PyObject** looked_at
    cdef bint in_place
    cdef object kind
    # How often parameters had moved when they were last looked at.
    cdef readonly object moves
    # They run no Python code.
    cdef bint unchanged(self) except -1
    cdef Py_ssize_t counted(self, dictionary) except -1
    cdef bint parameters_fit(self) except -1
