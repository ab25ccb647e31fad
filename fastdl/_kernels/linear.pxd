# Linear: y = x W^T + b and its gradients, as C functions; see linear.pyx. N rows, I inputs, O outputs.
from fastdl._kernels.table cimport real
from fastdl._kernels.descriptor cimport Update

cdef Py_ssize_t linear_scratch(Py_ssize_t N, Py_ssize_t I, Py_ssize_t O) noexcept nogil
cdef void linear_forward_kernel(
    const real* x, const real* W, const real* b, Py_ssize_t N, Py_ssize_t I, Py_ssize_t O,
    int activation, double alpha, double beta, real* y, real* scratch) noexcept nogil
cdef void linear_backward_input_kernel(
    const real* gy, const real* W, Py_ssize_t N, Py_ssize_t I, Py_ssize_t O, real* gx, real* scratch) noexcept nogil
# Both gradients; any of gW, gb and gx may be NULL.
cdef void linear_backward_kernel(
    const real* gy, const real* x, const real* W, Py_ssize_t N, Py_ssize_t I, Py_ssize_t O, bint accumulate, real* gW, real* gb,
    real* gx, real* scratch) noexcept nogil
cdef void linear_backward_weight_kernel(
    const real* gy, const real* x, Py_ssize_t N, Py_ssize_t I, Py_ssize_t O, bint accumulate, real* gW, real* gb,
    real* scratch) noexcept nogil
# The weights' step in place of their gradient, where that suits.
cdef bint step_suits(Py_ssize_t N, Py_ssize_t I, Py_ssize_t O) noexcept nogil
cdef void linear_backward_step_kernel(
    const real* gy, const real* x, Py_ssize_t N, Py_ssize_t I, Py_ssize_t O, Update* update, real* scratch) noexcept nogil
