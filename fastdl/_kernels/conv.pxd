# Convolution: y = W * x + b and its gradients, as C functions; see conv.pyx.
from fastdl._kernels.table cimport PatchTap, real

# x (N, C, H, W), weight (O, C / G, KH, KW), y (N, O, OH, OW); stride S, padding above and left P, dilation D, groups G.
cdef struct Convolution:
    Py_ssize_t N, C, H, W, O, KH, KW, OH, OW, SH, SW, PH, PW, DH, DW, G

# The number of elements of scratch that each of the three kernels needs at most; that of the list of taps at its beginning,
# which the former is found with.
cdef Py_ssize_t taps_scratch(const Convolution& s) noexcept nogil
cdef Py_ssize_t conv_scratch(const Convolution& s, PatchTap* taps) noexcept nogil
cdef void conv_forward_kernel(
    const real* x, const real* W, const real* b, const Convolution& s, real* y, real* scratch) noexcept nogil
cdef void conv_backward_input_kernel(
    const real* gy, const real* W, const Convolution& s, real* gx, real* scratch) noexcept nogil
cdef void conv_backward_weight_kernel(
    const real* gy, const real* x, const Convolution& s, bint accumulate, real* gW, real* gb, real* scratch) noexcept nogil
