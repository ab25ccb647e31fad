# Batch normalization as C functions, see norm.pyx; and how blocks of moments are joined. Pointers may be NULL where the doors
# take None.
from libc.stdint cimport int64_t

from fastdl._kernels.table cimport real

# x is (N, C, D): N samples, C channels, D elements behind them. The scratch is so many doubles.
cdef Py_ssize_t batch_norm_scratch(Py_ssize_t N, Py_ssize_t C, Py_ssize_t D) noexcept nogil
cdef void batch_norm_forward_kernel(
    const real* x, const real* W, const real* b, double eps, double momentum, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D,
    real* running_mean, real* running_var, int64_t* batches, real* mean, real* inverse, real* y, double* scratch) noexcept nogil
cdef void batch_norm_evaluate_kernel(
    const real* x, const real* W, const real* b, const real* running_mean, const real* running_var, double eps,
    Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, real* mean, real* inverse, real* y, double* scratch) noexcept nogil
cdef void batch_norm_backward_kernel(
    const real* gy, const real* x, const real* W, const real* mean, const real* inverse, bint training, bint accumulate,
    Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, real* gx, real* gW, real* gb, double* scratch) noexcept nogil


cdef inline Py_ssize_t parts(Py_ssize_t n, Py_ssize_t size) noexcept nogil:
    return (n + size - 1) // size


# Add to the mean and the sum of squared deviations of `seen` elements a block of `count` more of which moments() told, for
# each of n channels; T. Chan et al., "Algorithms for computing the sample variance", 1983.
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
