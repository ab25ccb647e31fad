# Products of weights with the patches of images, which are packed as they are used; see patches.pyx.
from fastdl._kernels.table cimport PatchGrid, PatchTap, real

# `rows` outputs for each of N images of G groups: weights (rows, channels taps) times patches (channels taps, pixels). Taps
# stand row by row, `across` in each.
cdef struct Product:
    Py_ssize_t N, G, rows, channels, taps, across, pixels
    PatchGrid grid
    const PatchTap* tap

cdef double operations(const Product& p) noexcept nogil

# The channels whose lines make a slice of the sum; weights stand in panels of rows, by group, slice and row.
cdef Py_ssize_t slice_channels(Py_ssize_t channels, Py_ssize_t taps) noexcept nogil
cdef Py_ssize_t weights_size(const Product& p) noexcept nogil

# Elements of scratch, without the weights' panels.
cdef Py_ssize_t patches_scratch(const Product& p) noexcept nogil
cdef void product_of_patches(
    const Product& p, const real* x, const real* a, const real* b, real* y, real* scratch) noexcept nogil
# The same, each pixel going to where `tap` and `grid` say in a plane of y: pixels of a phase lie apart.
cdef void scattered_product_of_patches(
    const Product& p, const real* x, const real* a, const PatchGrid& grid, PatchTap tap, real* y, real* scratch) noexcept nogil

# gW (rows, channels taps) of each group = gy (rows, pixels) patches^T, summed over the images.
cdef Py_ssize_t patches_correlation_scratch(const Product& p) noexcept nogil
cdef void correlation_of_patches(
    const Product& p, const real* gy, const real* x, bint accumulate, real* gW, real* scratch) noexcept nogil
