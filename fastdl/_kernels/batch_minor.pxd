# Small linear layers on batch-minor matrices; see batch_minor.pyx. x (I, L), y (O, L), of which N samples count.
from fastdl._kernels.table cimport real

cdef void to_batch_minor_kernel(const real* x, Py_ssize_t N, Py_ssize_t I, Py_ssize_t L, real* y) noexcept nogil
cdef void from_batch_minor_kernel(const real* x, Py_ssize_t N, Py_ssize_t I, Py_ssize_t L, real* y) noexcept nogil
cdef void batch_minor_forward_kernel(
    const real* x, const real* W, const real* b, Py_ssize_t N, Py_ssize_t L, Py_ssize_t I, Py_ssize_t O, real* y,
    real* scratch) noexcept nogil
cdef void batch_minor_backward_input_kernel(
    const real* gy, const real* W, Py_ssize_t N, Py_ssize_t L, Py_ssize_t I, Py_ssize_t O, real* gx) noexcept nogil
# Elements of scratch.
cdef Py_ssize_t batch_minor_scratch(Py_ssize_t N, Py_ssize_t I, Py_ssize_t O) noexcept nogil
cdef void batch_minor_backward_weight_kernel(
    const real* gy, const real* x, Py_ssize_t N, Py_ssize_t L, Py_ssize_t I, Py_ssize_t O, bint accumulate, real* gW, real* gb,
    real* scratch) noexcept nogil
