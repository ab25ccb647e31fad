"""Moments of values whose squares overflow or vanish in registers: in double precision, of values scaled by a power of two.

Nothing here is on the way of ordinary values, so it may be slow.
"""

from libc.float cimport DBL_MAX, DBL_MIN, FLT_MIN
from libc.math cimport fabs, frexp, hypot, ldexp, sqrt

cdef extern from *:
    """
    /* A square below the least normal number is lost. A mean square of 2^24 (2^53) times that has lost nothing that counts. */
    static const double least_mean_square[2] = {0x1p-102, 0x1p-969};
    /* Third powers of what lies between are normal numbers. */
    static const double inverse_low[2] = {0x1p-40, 0x1p-300}, inverse_high[2] = {0x1p40, 0x1p300};
    """
    const double[2] least_mean_square, inverse_low, inverse_high


cdef bint out_of_range(
    double squares, const real* x, Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t n) noexcept nogil:
    cdef double least = least_mean_square[sizeof(real) == 8] * rows * n
    cdef Py_ssize_t row, i
    if least <= squares <= DBL_MAX:
        return False
    if not squares < least:
        return True
    for row in range(rows):
        for i in range(n):
            if x[row * stride + i] != x[0]:
                return True
    return False


cdef Scaled scaled_moments(const real* x, Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t n, double eps) noexcept nogil:
    cdef Scaled by
    cdef double top = 0, total = 0, missed = 0, squares = 0, d, count = <double>rows * n
    cdef Py_ssize_t row, i
    cdef int exponent = 0
    for row in range(rows):
        for i in range(n):
            if fabs(x[row * stride + i]) > top:
                top = fabs(x[row * stride + i])
    if top <= DBL_MAX:
        frexp(top, &exponent)
    by.scale = ldexp(1, -max(-1021, min(1021, exponent)))
    for row in range(rows):
        for i in range(n):
            total += x[row * stride + i] * by.scale
    by.mean = total / count
    for row in range(rows):
        for i in range(n):
            d = x[row * stride + i] * by.scale - by.mean
            missed += d
            squares += d * d
    by.mean += missed / count
    by.variance = (squares - missed / count * missed) / count
    if by.variance < 0:
        by.variance = 0
    by.inverse = 1 / hypot(sqrt(by.variance), sqrt(eps) * by.scale)
    return by


cdef void write_scaled(
    const real* x, Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t n, Scaled by, const real* W, const real* b, Py_ssize_t step,
    real* y) noexcept nogil:
    cdef Py_ssize_t row, i
    cdef double z
    for row in range(rows):
        for i in range(n):
            z = (x[row * stride + i] * by.scale - by.mean) * by.inverse
            y[row * stride + i] = <real>(z * (W[i * step] if W != NULL else 1) + (b[i * step] if b != NULL else 0))


cdef bint in_range(real inverse) noexcept nogil:
    return not (inverse <= inverse_low[sizeof(real) == 8] or inverse >= inverse_high[sizeof(real) == 8])


cdef Scaled scaled_as(
    const real* x, Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t n, real mean, real inverse, bint own) noexcept nogil:
    cdef Scaled by
    if own and inverse < (FLT_MIN if sizeof(real) == 4 else DBL_MIN):
        return scaled_moments(x, rows, stride, n, 0)
    by.scale, by.mean, by.inverse, by.variance = 0.25, mean * 0.25, <double>inverse * 4, 0
    return by
