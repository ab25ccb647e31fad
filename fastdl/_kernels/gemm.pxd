# The matrix product: c (m, n) = f(a (m, k) b (k, n) [+ c] [+ bias]); see gemm.pyx.
from fastdl._kernels.table cimport real

# A matrix whose element (i, j) sits at p[i * row + j * column].
cdef Py_ssize_t gemm_scratch(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k) noexcept nogil
cdef void gemm_kernel(
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
    const real* a, Py_ssize_t a_row, Py_ssize_t a_column,
    const real* b, Py_ssize_t b_row, Py_ssize_t b_column,
    const real* bias, bint accumulate, int activation, double alpha, double beta,
    real* c, real* scratch) noexcept nogil

# Fewer elements are stored as fast as they are handed over.
cdef enum:
    FEWEST_TAKEN = 32768

# Some rows of a product, for whoever wants them now: their elements start at number `start` of C.
ctypedef void (*Taker)(void* taker, Py_ssize_t start, Py_ssize_t n, const void* elements) noexcept nogil
cdef bint bands_suit(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k) noexcept nogil
cdef Py_ssize_t bands_scratch(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k) noexcept nogil
cdef void product_by_bands(
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
    const real* a, Py_ssize_t a_row, Py_ssize_t a_column,
    const real* b, Py_ssize_t b_row, Py_ssize_t b_column, Taker take, void* taker, real* scratch) noexcept nogil
