# The order of an epoch, for other Cython files; see shuffle.pyx.
from libc.stdint cimport int64_t, uint64_t

cdef void shuffle_kernel(uint64_t seed, Py_ssize_t n, int64_t* order) noexcept nogil
