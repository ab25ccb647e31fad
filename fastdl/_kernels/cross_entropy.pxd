# The losses over classes as C functions; see cross_entropy.pyx. Scores are (N, C, D); weight may be NULL.
from libc.stdint cimport int64_t

from fastdl._kernels.table cimport real

cdef void nll_forward_kernel(
    const real* x, const int64_t* target, const real* weight, int64_t ignore_index, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D,
    real* y) noexcept nogil
cdef void nll_backward_kernel(
    const int64_t* target, const real* weight, int64_t ignore_index, const real* gy, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D,
    real* gx) noexcept nogil
# `target` or `t` is NULL; the scratch of the forward holds 2 C elements.
cdef void cross_entropy_forward_kernel(
    const real* x, const int64_t* target, const real* t, const real* weight, int64_t ignore_index, double label_smoothing,
    Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, real* p, real* y, real* scratch) noexcept nogil
cdef void cross_entropy_backward_kernel(
    const real* p, const int64_t* target, const real* t, const real* weight, int64_t ignore_index, double label_smoothing,
    const real* gy, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, real* gx) noexcept nogil
