# Storing or adding n elements, as a C function; see move.pyx.
from fastdl._kernels.table cimport real

cdef void move_kernel(const real* x, bint adds, Py_ssize_t n, real* y) noexcept nogil
