# The activations: y = f(x), gx = gy f'; see activation.pyx.
from fastdl._kernels.table cimport real

cdef int activation_code(str kind) except -1
cdef void activation_forward_kernel(
    const real* x, int code, double alpha, double beta, Py_ssize_t n, real* y) noexcept nogil
cdef void activation_backward_kernel(
    const real* gy, const real* kept, int code, double alpha, double beta, Py_ssize_t n, real* gx) noexcept nogil
