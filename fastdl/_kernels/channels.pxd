# What passes over the channels of batch normalization share, see channels.pyx: how x (N, C, D) is cut, sums over it, maps of it.
from fastdl._kernels.table cimport real

cdef enum:
    SHORT = 16  # a D below this is spread out in columns
    WINDOW = 256  # columns whose moments are taken at a time, at most

# How x is cut. What is per channel stands in arrays of K: one value for each plane of n = D elements or column of n = 1.
cdef struct Cut:
    Py_ssize_t each  # columns of a channel; 1 where it is a plane
    Py_ssize_t K, n
    Py_ssize_t channels, tasks_of_channels  # of one task, and how many there are
    Py_ssize_t block, rows, tasks_of_rows  # samples of a block, samples of one task, and how many there are
    int threads


cdef Cut cut_of(Py_ssize_t N, Py_ssize_t C, Py_ssize_t D) noexcept nogil


# The four arrays in scratch: the mean, what x - mean is multiplied by, what is added, and one more.
cdef inline real* array(double* scratch, Py_ssize_t number, Cut cut, const real* like) noexcept nogil:
    return <real*>(scratch + number * cut.K)


# The mean and the sum of squared deviations of each channel, over N rows that begin `stride` elements apart.
cdef void moments_of(
    const real* x, Py_ssize_t N, Py_ssize_t stride, Py_ssize_t block, Py_ssize_t channels, Py_ssize_t n, double* mean,
    double* squares) noexcept nogil
# The sums of gy and of gy (x - mean) of each channel, likewise.
cdef void sums_of(
    const real* gy, const real* x, Py_ssize_t N, Py_ssize_t stride, Py_ssize_t block, Py_ssize_t channels, Py_ssize_t n,
    const real* mean, double* total, double* product) noexcept nogil
# Join the tasks' means and squares for each column, then the columns of each channel; all ends up in the first of them.
cdef void join_columns(Py_ssize_t N, Py_ssize_t C, Cut cut, double* partial) noexcept nogil
# So many samples of channels that are planes stay in the cache.
cdef Py_ssize_t plane_block(Py_ssize_t width, Py_ssize_t D) noexcept nogil
# y = (x - mean) factor + shift.
cdef void write_rows(
    const real* x, Py_ssize_t N, Py_ssize_t stride, Py_ssize_t channels, Py_ssize_t n, const real* mean, const real* factor,
    const real* shift, real* y) noexcept nogil
# The same sample by sample, with the arrays in scratch.
cdef void write_all(
    const real* x, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, Cut cut, real* y, double* scratch) noexcept nogil
# gx = gain gy + slope (x - mean) + shift.
cdef void write_rows_backward(
    const real* gy, const real* x, Py_ssize_t N, Py_ssize_t stride, Py_ssize_t channels, Py_ssize_t n, const real* mean,
    const real* gain, const real* slope, const real* shift, real* gx) noexcept nogil
