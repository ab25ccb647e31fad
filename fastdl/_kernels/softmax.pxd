# softmax over the middle axis of (outer, n, inner); see softmax.pyx.
from fastdl._kernels.table cimport real

# With inner > 1 a kernel gathers each row into scratch: this many elements.
cdef Py_ssize_t softmax_scratch(Py_ssize_t n, Py_ssize_t inner) noexcept nogil
cdef void softmax_forward_kernel(
    const real* x, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner, real* y, real* scratch) noexcept nogil
cdef void softmax_backward_kernel(
    const real* gy, const real* y, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner, real* gx, real* scratch) noexcept nogil
cdef void log_softmax_forward_kernel(
    const real* x, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner, real* y, real* scratch) noexcept nogil
cdef void log_softmax_backward_kernel(
    const real* gy, const real* y, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner, real* gx, real* scratch) noexcept nogil

# A row of the middle axis between its place (elements `inner` apart) and a contiguous run.
cdef inline void gather(const real* x, Py_ssize_t n, Py_ssize_t inner, real* row) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        row[i] = x[i * inner]

cdef inline void scatter(const real* row, Py_ssize_t n, Py_ssize_t inner, real* y) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i * inner] = row[i]
