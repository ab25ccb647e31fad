# Turns to read and write parameters, gradients and buffers; see access.pyx.

cdef class Entries:
    cdef readonly unsigned long long number

cdef class Access:
    cdef readonly frozenset reads, writes
    cdef readonly Entries entries
    cdef object kept

# Wait for a turn and take it; give it back. Python code may run while this waits.
cdef int enter(Access access) except -1
cdef int leave(Access access) except -1
