# The elementwise losses as C functions; see loss.pyx. weight and pos_weight may be NULL.
from fastdl._kernels.table cimport real

cdef double loss_sum_kernel(
    const real* x, const real* t, const real* weight, const real* pos_weight, int code, double delta, Py_ssize_t n) noexcept nogil
cdef void loss_backward_kernel(
    const real* x, const real* t, const real* weight, const real* pos_weight, int code, double delta, double scale, Py_ssize_t n,
    real* gx) noexcept nogil
