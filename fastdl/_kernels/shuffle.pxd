# The order of an epoch, as other rooms call it; see shuffle.pyx.
from libc.stdint cimport int64_t, uint64_t

cdef void shuffle_kernel(uint64_t seed, Py_ssize_t n, int64_t* order) noexcept nogil
