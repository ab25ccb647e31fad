# Convolution with 3 x 3 weights by Winograd's F(4x4, 3x3); see winograd.pyx.
from fastdl._kernels.patches cimport Product
from fastdl._kernels.table cimport real

# Whether the product is one that it can do in its memory, and does faster; `winograd_wanted` is the user's setting.
cdef bint winograd_wanted() noexcept nogil
cdef bint winograd_suits(const Product& p) noexcept nogil

# Elements of scratch, with the weights at their points.
cdef Py_ssize_t winograd_scratch(const Product& p) noexcept nogil
# As product_of_patches, with the weights where they lie: element (row, channel, 0) at W[row row_step + channel channel_step].
cdef void product_of_winograd(
    const Product& p, const real* x, const real* W, Py_ssize_t row_step, Py_ssize_t channel_step, const real* b, real* y,
    real* scratch) noexcept nogil

# gW (rows, channels taps) = gy (rows, pixels) patches^T, summed over the images.
cdef Py_ssize_t winograd_correlation_scratch(const Product& p) noexcept nogil
cdef void correlation_of_winograd(
    const Product& p, const real* gy, const real* x, bint accumulate, real* gW, real* scratch) noexcept nogil
