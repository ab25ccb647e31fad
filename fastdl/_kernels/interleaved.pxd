# Convolution of many small images, a register's lanes of them at a time; see interleaved.pyx.
from fastdl._kernels.patches cimport Product
from fastdl._kernels.table cimport real

# Whether images are so small that a register would not hold a row of theirs, and many enough.
cdef bint interleaving_suits(const Product& p) noexcept nogil
cdef Py_ssize_t interleaved_scratch(const Product& p) noexcept nogil
# As product_of_planes, with the lines ordered by the row of their tap, then by channel.
cdef void product_of_interleaved(
    const Product& p, const real* x, const real* a, const real* b, real* y, real* scratch) noexcept nogil
cdef void correlation_of_interleaved(
    const Product& p, const real* gy, const real* x, bint accumulate, real* gW, real* scratch) noexcept nogil
