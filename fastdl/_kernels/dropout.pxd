# Dropout by words of Philox4x32-10; see dropout.pyx.
from libc.stdint cimport uint64_t

from fastdl._kernels.table cimport real

# Forward and backward alike: y = x times 0 or 1 / (1 - p), one word for each `run` of n elements, of which `first` (four
# runs or a multiple) have gone before.
cdef void dropout_kernel(
    const real* x, double p, uint64_t seed, uint64_t call, Py_ssize_t run, Py_ssize_t first, Py_ssize_t n, real* y) noexcept nogil
