"""Passes over the channels of (N, C, D), where D is long by planes, else by columns; see norm.pyx."""

from libc.string cimport memset

from fastdl._kernels.moments cimport join, parts
from fastdl._kernels.table cimport entries, real, table
from fastdl._kernels.threads cimport FlushDenormals, threads_for, workers

cdef enum:
    PLANE = 1024  # elements of a sample that a task of several channels takes at most; 64 SHORT, see norm.hpp
    PARTS = 8  # what C is cut into at least, and the samples at most
    BLOCK = 8192  # elements whose moments are taken at a time
    ROWS = 64  # rows of columns whose moments are taken at a time, at least
    WORK_PER_ELEMENT = 4


cdef Cut cut_of(Py_ssize_t N, Py_ssize_t C, Py_ssize_t D) noexcept nogil:
    cdef Cut cut
    cut.each = D if 0 < D < SHORT else 1
    cut.K = C * cut.each
    cut.n = D // cut.each
    cut.channels = max(<Py_ssize_t>1, min(PLANE // max(<Py_ssize_t>1, D), parts(C, PARTS)))
    cut.tasks_of_channels = parts(C, cut.channels)
    cut.block = max(<Py_ssize_t>ROWS, BLOCK // cut.K)
    cut.rows = max(<Py_ssize_t>1, cut.block * parts(parts(N, cut.block), PARTS))
    cut.tasks_of_rows = parts(N, cut.rows)
    cut.threads = threads_for(<double>N * C * D * WORK_PER_ELEMENT)
    return cut


cdef void moments_of(
    const real* x, Py_ssize_t N, Py_ssize_t stride, Py_ssize_t block, Py_ssize_t channels, Py_ssize_t n, double* mean,
    double* squares) noexcept nogil:
    """The mean and the sum of squared deviations of each channel, over N rows that begin `stride` elements apart."""
    cdef FlushDenormals flush
    cdef real center[WINDOW]
    cdef real missed[WINDOW]
    cdef real deviations[WINDOW]
    cdef Py_ssize_t i, j, k, rows, width, size
    flush.on()
    for i in range(parts(N, block)):
        rows = min(block, N - i * block)
        for j in range(parts(channels, WINDOW)):
            width = min(<Py_ssize_t>WINDOW, channels - j * WINDOW)
            for k in range(parts(n, BLOCK)):
                size = min(<Py_ssize_t>BLOCK, n - k * BLOCK)
                entries(table, x).moments(
                    x + i * block * stride + j * WINDOW * n + k * BLOCK, rows, stride, width, size, center, missed, deviations)
                join(<double>i * block * n + <double>k * BLOCK, <double>rows * size, width, center, missed, deviations,
                     mean + j * WINDOW, squares + j * WINDOW)


cdef void sums_of(
    const real* gy, const real* x, Py_ssize_t N, Py_ssize_t stride, Py_ssize_t block, Py_ssize_t channels, Py_ssize_t n,
    const real* mean, double* total, double* product) noexcept nogil:
    """The sums of gy and of gy (x - mean) of each channel, over N rows that begin `stride` elements apart."""
    cdef FlushDenormals flush
    cdef real sums[WINDOW]
    cdef real products[WINDOW]
    cdef Py_ssize_t i, j, k, c, rows, width, place
    flush.on()
    memset(total, 0, channels * sizeof(double))
    memset(product, 0, channels * sizeof(double))
    for i in range(parts(N, block)):
        rows = min(block, N - i * block)
        for j in range(parts(channels, WINDOW)):
            width = min(<Py_ssize_t>WINDOW, channels - j * WINDOW)
            for k in range(parts(n, BLOCK)):
                place = i * block * stride + j * WINDOW * n + k * BLOCK
                entries(table, x).gradient_sums(
                    gy + place, x + place, rows, stride, width, min(<Py_ssize_t>BLOCK, n - k * BLOCK), mean + j * WINDOW, sums,
                    products)
                for c in range(width):
                    total[j * WINDOW + c] += sums[c]
                    product[j * WINDOW + c] += products[c]


cdef Py_ssize_t plane_block(Py_ssize_t width, Py_ssize_t D) noexcept nogil:
    return max(<Py_ssize_t>1, BLOCK // (width * D))


cdef void join_columns(Py_ssize_t N, Py_ssize_t C, Cut cut, double* partial) noexcept nogil:
    """Join the tasks' means and squares for each column, then the columns of each channel; all ends up in the first of them."""
    cdef double* mean = partial
    cdef double* squares = partial + cut.K
    cdef double seen, share, apart
    cdef Py_ssize_t task, c, k, rows
    for task in range(1, cut.tasks_of_rows):
        rows = min(cut.rows, N - task * cut.rows)
        seen = <double>task * cut.rows
        share = rows / (seen + rows)
        for k in range(cut.K):
            apart = partial[2 * task * cut.K + k] - mean[k]
            mean[k] += apart * share
            squares[k] += partial[(2 * task + 1) * cut.K + k] + apart * apart * (seen * share)
    for c in range(C):
        for k in range(1, cut.each):
            share = 1.0 / (k + 1)
            apart = mean[c * cut.each + k] - mean[c * cut.each]
            mean[c * cut.each] += apart * share
            squares[c * cut.each] += squares[c * cut.each + k] + apart * apart * (<double>N * k * share)


cdef void write_rows(
    const real* x, Py_ssize_t N, Py_ssize_t stride, Py_ssize_t channels, Py_ssize_t n, const real* mean, const real* factor,
    const real* shift, real* y) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    entries(table, x).normalize(x, N, stride, channels, n, mean, factor, shift, y)


cdef void write_all(
    const real* x, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, Cut cut, real* y, double* scratch) noexcept nogil:
    """y = (x - mean) factor + shift, sample by sample."""
    cdef Py_ssize_t rows = max(<Py_ssize_t>1, BLOCK // (C * D))
    workers.run(cut.threads, parts(N, rows), write_task[real], rows, x, N, C * D, cut, y, scratch)


cdef void write_task(
    Py_ssize_t task, Py_ssize_t rows, const real* x, Py_ssize_t N, Py_ssize_t size, Cut cut, real* y,
    double* scratch) noexcept nogil:
    cdef Py_ssize_t first = task * rows
    write_rows(x + first * size, min(rows, N - first), size, cut.K, cut.n, array(scratch, 0, cut, x), array(scratch, 1, cut, x),
               array(scratch, 2, cut, x), y + first * size)


cdef void write_rows_backward(
    const real* gy, const real* x, Py_ssize_t N, Py_ssize_t stride, Py_ssize_t channels, Py_ssize_t n, const real* mean,
    const real* gain, const real* slope, const real* shift, real* gx) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    entries(table, x).normalize_backward(gy, x, N, stride, channels, n, mean, gain, slope, shift, gx)
