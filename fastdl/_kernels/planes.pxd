# Convolution of few channels over padded planes, without packing; see planes.pyx.
from fastdl._kernels.patches cimport Product
from fastdl._kernels.table cimport PatchGrid, PatchTap, real

# Whether the product suits: steps of few pixels, few rows.
cdef bint planes_suit(const Product& p) noexcept nogil

# The rows of weights that stand in one panel: not more than a tile's, and as many in one as in the next.
cdef Py_ssize_t rows_of_panel(Py_ssize_t rows, Py_ssize_t tile_rows) noexcept nogil
cdef Py_ssize_t planes_scratch(const Product& p) noexcept nogil
# As product_of_patches, with the weights' panels in one slice.
cdef void product_of_planes(
    const Product& p, const real* x, const real* a, const real* b, real* y, real* scratch) noexcept nogil
# As scattered_product_of_patches.
cdef void scattered_product_of_planes(
    const Product& p, const real* x, const real* a, const PatchGrid& grid, PatchTap tap, real* y, real* scratch) noexcept nogil

# Whether the gradient of these weights does: gW (rows, channels taps) of each group = gy (rows, pixels) patches^T, all images.
cdef bint correlation_suits(const Product& p) noexcept nogil
cdef Py_ssize_t planes_correlation_scratch(const Product& p) noexcept nogil
cdef void correlation_of_planes(
    const Product& p, const real* gy, const real* x, bint accumulate, real* gW, real* scratch) noexcept nogil
