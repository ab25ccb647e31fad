# Notices changes of a model; see watch.pyx.
from cpython.object cimport PyObject

# An entry of a dictionary.
cdef struct LookedAt:
    PyObject* name
    PyObject* value

# A dictionary: how many entries it has, how many of them may not come and go, and the version at the last look (0 before it).
cdef struct Watched:
    Py_ssize_t size, entries
    unsigned long long version

cdef class Watch:
    cdef list entries, dictionaries, parameters
    cdef frozenset passing
    # The entries of all dictionaries, one behind the other; the lists above hold what they name.
    cdef LookedAt* looked_at
    cdef Watched* watched
    cdef bint in_place, as_frozen
    cdef object kind
    # How often parameters had moved when they were last looked at.
    cdef readonly object moves
    # They run no Python code.
    cdef bint unchanged(self) except -1
    cdef Py_ssize_t counted(self, dictionary) except -1
    cdef bint parameters_fit(self) except -1

cdef class Read:
    cdef list entries, sizes, cells, functions, slots
    # It runs no code of the user's.
    cdef bint same(self) except -1

# Whether (dictionary, name, value) still hold the same objects; no Python code runs.
cdef bint holds(list entries) except -1
