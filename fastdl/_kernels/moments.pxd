# The mean and variance of channels and rows: in registers and joined in double precision, and for what these cannot hold, scaled.
# x is rows of n elements that begin `stride` elements apart; a channel is such rows, n of each.
from fastdl._kernels.table cimport real


cdef inline Py_ssize_t parts(Py_ssize_t n, Py_ssize_t size) noexcept nogil:
    return (n + size - 1) // size


cdef inline real* at(const real* p, Py_ssize_t place) noexcept nogil:
    """The element at a place; NULL where there is no array."""
    return <real*>p + place if p != NULL else NULL


# Add to the mean and the sum of squared deviations of `seen` elements those of a block of `count` more, as moments() gives them,
# for each of n channels; T. Chan et al., "Algorithms for computing the sample variance", 1983.
cdef inline void join(
    double seen, double count, Py_ssize_t n, const real* center, const real* missed, const real* deviations, double* mean,
    double* squares) noexcept nogil:
    cdef double share = count / (seen + count), per = 1 / count, off, apart, own
    cdef Py_ssize_t k
    for k in range(n):
        off = missed[k] * per
        own = deviations[k] - missed[k] * off
        own = 0 if own < 0 else own
        if seen == 0:
            mean[k] = center[k] + off
            squares[k] = own
        else:
            apart = center[k] + off - mean[k]
            mean[k] += apart * share
            squares[k] += own + apart * apart * (seen * share)


# z = (x scale - mean) inverse, scale a power of two; variance is that of x scale.
cdef struct Scaled:
    double scale, mean, inverse, variance

# Whether a sum of squared deviations of x in registers may have overflowed or lost what was too small; not where x is constant.
cdef bint out_of_range(
    double squares, const real* x, Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t n) noexcept nogil
cdef Scaled scaled_moments(const real* x, Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t n, double eps) noexcept nogil
# y = z W + b; W and b, which may be NULL, step by `step` from one element of a row to the next.
cdef void write_scaled(
    const real* x, Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t n, Scaled by, const real* W, const real* b, Py_ssize_t step,
    real* y) noexcept nogil

# Whether (x - mean) inverse and powers of inverse are within the range of registers.
cdef bint in_range(real inverse) noexcept nogil
# What x was scaled by in the forward that left mean and inverse; `own` where these are its own moments.
cdef Scaled scaled_as(
    const real* x, Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t n, real mean, real inverse, bint own) noexcept nogil
