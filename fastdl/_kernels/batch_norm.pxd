# Batch normalization as C functions, see batch_norm.pyx. Pointers may be NULL where the bindings take None.
from libc.stdint cimport int64_t

from fastdl._kernels.table cimport real

# x is (N, C, D): N samples, C channels, D elements behind them. The scratch is so many doubles.
cdef Py_ssize_t batch_norm_scratch(Py_ssize_t N, Py_ssize_t C, Py_ssize_t D) noexcept nogil
cdef void batch_norm_forward_kernel(
    const real* x, const real* W, const real* b, double eps, double momentum, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D,
    real* running_mean, real* running_var, int64_t* batches, real* mean, real* inverse, real* y, double* scratch) noexcept nogil
cdef void batch_norm_evaluate_kernel(
    const real* x, const real* W, const real* b, const real* running_mean, const real* running_var, double eps,
    Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, real* mean, real* inverse, real* y, double* scratch) noexcept nogil
cdef void batch_norm_backward_kernel(
    const real* gy, const real* x, const real* W, const real* mean, const real* inverse, bint training, bint accumulate,
    Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, real* gx, real* gW, real* gb, double* scratch) noexcept nogil
