# Rows of the middle axis of (outer, n, inner), as softmax.pyx and cross_entropy.pyx take them.
from fastdl._kernels.table cimport real

# A row of the middle axis between its place (elements `inner` apart) and a contiguous run.
cdef inline void gather(const real* x, Py_ssize_t n, Py_ssize_t inner, real* row) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        row[i] = x[i * inner]

cdef inline void scatter(const real* row, Py_ssize_t n, Py_ssize_t inner, real* y) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i * inner] = row[i]
