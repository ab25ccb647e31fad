# Layer normalization of the N rows of x (N, n) as C functions, see layer_norm.pyx. Pointers may be NULL where the bindings
# take None.
from fastdl._kernels.table cimport real

cdef void layer_norm_forward_kernel(
    const real* x, const real* W, const real* b, double eps, Py_ssize_t N, Py_ssize_t n, real* mean, real* inverse,
    real* y) noexcept nogil
# The number of elements of scratch that the backward needs.
cdef Py_ssize_t layer_norm_scratch(Py_ssize_t N, Py_ssize_t n) noexcept nogil
cdef void layer_norm_backward_kernel(
    const real* gy, const real* x, const real* W, const real* mean, const real* inverse, bint accumulate, Py_ssize_t N,
    Py_ssize_t n, real* gx, real* gW, real* gb, real* scratch) noexcept nogil
