# Pooling of images, as C functions; see pool.pyx. `planes` is N C; rows and columns describe the axes H and W.
from libc.stdint cimport int32_t

from fastdl._kernels.table cimport PoolAxis, real

# An axis of `size` elements seen through windows of `taps` places; and one cut into equal shares.
cdef PoolAxis windows(
    Py_ssize_t size, Py_ssize_t outputs, Py_ssize_t taps, Py_ssize_t stride, Py_ssize_t padding, Py_ssize_t dilation) noexcept nogil
cdef PoolAxis shares(Py_ssize_t size, Py_ssize_t outputs) noexcept nogil

# `index` receives the position in the H W plane of each output's maximum, -1 where its window holds nothing; it may be NULL.
cdef void max_pool_forward_kernel(
    const real* x, const PoolAxis* rows, const PoolAxis* columns, Py_ssize_t planes, real* y, int32_t* index) noexcept nogil
cdef void max_pool_backward_kernel(
    const real* gy, const int32_t* index, const PoolAxis* rows, const PoolAxis* columns, Py_ssize_t planes,
    real* gx) noexcept nogil

# `divisor` divides every sum; 0 stands for the number of places in each window, with or without those in the padding.
cdef void avg_pool_forward_kernel(
    const real* x, const PoolAxis* rows, const PoolAxis* columns, bint count_padding, Py_ssize_t divisor, Py_ssize_t planes,
    real* y) noexcept nogil
cdef void avg_pool_backward_kernel(
    const real* gy, const PoolAxis* rows, const PoolAxis* columns, bint count_padding, Py_ssize_t divisor, Py_ssize_t planes,
    real* gx) noexcept nogil
