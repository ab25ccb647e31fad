"""Batch normalization of (N, C, D): N samples, C channels, D elements behind them.

Where D is long, a task takes some channels through all their passes while they are in the cache: their planes are runs of D.
Where D is short, each of the K = C D elements of a sample is a column, so that registers are full: a task takes some samples,
sums are joined in the order of the tasks, and then all is written.

Moments are taken block by block, in two passes each while it is in the cache, and joined in double precision. Channels beyond the
range of registers are done over in the end, see moments.pyx.
"""

cimport numpy as cnp
from libc.math cimport sqrt
from libc.stdint cimport int64_t
from libc.string cimport memset

from fastdl._kernels.array cimport address, scratch_for
from fastdl._kernels.channels cimport (
    SHORT, WINDOW, Cut, array, cut_of, join_columns, moments_of, plane_block, sums_of, write_all, write_rows, write_rows_backward,
)
from fastdl._kernels.descriptor cimport Batch, Descriptor, Gradients, Operation, OperationKernels, describe, place
from fastdl._kernels.dispatch cimport data, dispatch, floats
from fastdl._kernels.moments cimport Scaled, at, in_range, out_of_range, scaled_as, scaled_moments, write_scaled
from fastdl._kernels.table cimport real
from fastdl._kernels.threads cimport workers

cnp.import_array()

# Scratch: four arrays of K of the type of x, then two of K doubles for each task of columns.
cdef Py_ssize_t batch_norm_scratch(Py_ssize_t N, Py_ssize_t C, Py_ssize_t D) noexcept nogil:
    cdef Cut cut = cut_of(N, C, D)
    return 4 * cut.K + (2 * cut.K * cut.tasks_of_rows if D < SHORT else 0)


# Forward.


cdef void finish_channel(
    const real* x, double batch_mean, double squares, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, double eps, double momentum,
    const real* W, const real* b, Cut cut, Py_ssize_t c, real* running_mean, real* running_var, real* mean, real* inverse,
    double* scratch) noexcept nogil:
    """Tell a channel's mean and inverse, move its running statistics, and say how its elements are written.

    A channel beyond the range of registers gets an inverse of -1, and is written by forward_scaled in the end.
    """
    cdef double count = <double>N * D
    mean[c] = <real>batch_mean
    inverse[c] = <real>(1 / sqrt(squares / count + eps))
    if out_of_range(squares, x + c * D, N, C * D, D):
        inverse[c] = -1
    elif running_mean != NULL:
        move_running(c, momentum, batch_mean, squares / (count - 1), running_mean, running_var)
    set_map(W, b, cut, c, mean[c] - batch_mean, mean, inverse, scratch)


cdef inline void move_running(
    Py_ssize_t c, double momentum, double batch_mean, double variance, real* running_mean, real* running_var) noexcept nogil:
    running_mean[c] = <real>((1 - momentum) * running_mean[c] + momentum * batch_mean)
    running_var[c] = <real>((1 - momentum) * running_var[c] + momentum * variance)


cdef void forward_scaled(
    const real* x, const real* W, const real* b, double eps, double momentum, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D,
    Py_ssize_t c, real* running_mean, real* running_var, real* mean, real* inverse, real* y) noexcept nogil:
    cdef Scaled by = scaled_moments(x + c * D, N, C * D, D, eps)
    cdef double count = <double>N * D
    mean[c] = <real>(by.mean / by.scale)
    inverse[c] = <real>(by.inverse * by.scale)
    if running_mean != NULL:
        move_running(c, momentum, by.mean / by.scale, by.variance * (count / (count - 1)) / by.scale / by.scale, running_mean,
                     running_var)
    write_scaled(x + c * D, N, C * D, D, by, at(W, c), at(b, c), 0, y + c * D)


cdef void set_map(
    const real* W, const real* b, Cut cut, Py_ssize_t c, double rounding, const real* mean, const real* inverse,
    double* scratch) noexcept nogil:
    """y = (x - mean) factor + shift, which mends what the mean was rounded by."""
    cdef real factor = inverse[c] * (W[c] if W != NULL else 1)
    cdef Py_ssize_t k
    for k in range(c * cut.each, (c + 1) * cut.each):
        array(scratch, 0, cut, mean)[k] = mean[c]
        array(scratch, 1, cut, mean)[k] = factor
        array(scratch, 2, cut, mean)[k] = <real>((b[c] if b != NULL else 0) + rounding * factor)


cdef void forward_planes(
    Py_ssize_t task, const real* x, const real* W, const real* b, double eps, double momentum, Py_ssize_t N, Py_ssize_t C,
    Py_ssize_t D, Cut cut, real* running_mean, real* running_var, real* mean, real* inverse, real* y,
    double* scratch) noexcept nogil:
    cdef double means[WINDOW]
    cdef double squares[WINDOW]
    cdef Py_ssize_t c = task * cut.channels, width = min(cut.channels, C - c), k
    moments_of(x + c * D, N, C * D, plane_block(width, D), width, D, means, squares)
    for k in range(width):
        finish_channel(x, means[k], squares[k], N, C, D, eps, momentum, W, b, cut, c + k, running_mean, running_var, mean,
                       inverse, scratch)
    write_rows(x + c * D, N, C * D, width, D, mean + c, array(scratch, 1, cut, x) + c, array(scratch, 2, cut, x) + c, y + c * D)


cdef void batch_norm_forward_kernel(
    const real* x, const real* W, const real* b, double eps, double momentum, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D,
    real* running_mean, real* running_var, int64_t* batches, real* mean, real* inverse, real* y, double* scratch) noexcept nogil:
    cdef Cut cut = cut_of(N, C, D)
    cdef Py_ssize_t c
    if N * D == 0:
        return
    if batches != NULL:
        batches[0] += 1
        if momentum < 0:
            momentum = 1.0 / <double>batches[0]
    if D >= SHORT:
        workers.run(cut.threads, cut.tasks_of_channels, forward_planes[real], x, W, b, eps, momentum, N, C, D, cut, running_mean,
                    running_var, mean, inverse, y, scratch)
    else:
        forward_columns(x, W, b, eps, momentum, N, C, D, cut, running_mean, running_var, mean, inverse, y, scratch)
    for c in range(C):
        if inverse[c] < 0:
            forward_scaled(x, W, b, eps, momentum, N, C, D, c, running_mean, running_var, mean, inverse, y)


cdef void moments_of_rows(Py_ssize_t task, const real* x, Py_ssize_t N, Cut cut, double* partial) noexcept nogil:
    cdef Py_ssize_t K = cut.K, first = task * cut.rows
    moments_of(x + first * K, min(cut.rows, N - first), K, cut.block, K, 1, partial + 2 * task * K, partial + (2 * task + 1) * K)


cdef void forward_columns(
    const real* x, const real* W, const real* b, double eps, double momentum, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, Cut cut,
    real* running_mean, real* running_var, real* mean, real* inverse, real* y, double* scratch) noexcept nogil:
    cdef double* partial = scratch + 4 * cut.K
    cdef Py_ssize_t c, K = cut.K
    workers.run(cut.threads, cut.tasks_of_rows, moments_of_rows[real], x, N, cut, partial)
    join_columns(N, C, cut, partial)
    for c in range(C):
        finish_channel(x, partial[c * D], partial[K + c * D], N, C, D, eps, momentum, W, b, cut, c, running_mean, running_var,
                       mean, inverse, scratch)
    write_all(x, N, C, D, cut, y, scratch)


cdef void batch_norm_evaluate_kernel(
    const real* x, const real* W, const real* b, const real* running_mean, const real* running_var, double eps,
    Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, real* mean, real* inverse, real* y, double* scratch) noexcept nogil:
    cdef Cut cut = cut_of(N, C, D)
    cdef Py_ssize_t c
    if N * D == 0:
        return
    for c in range(C):
        mean[c] = running_mean[c]
        inverse[c] = <real>(1 / sqrt(running_var[c] + eps))
        set_map(W, b, cut, c, 0, mean, inverse, scratch)
    write_all(x, N, C, D, cut, y, scratch)


# Backward: gx = gain gy + slope (x - mean) + shift, in evaluation gain gy alone.


cdef void finish_gradient(
    double total, double product, const real* W, const real* inverse, double count, bint training, bint accumulate, Cut cut,
    Py_ssize_t c, real* gW, real* gb, double* scratch) noexcept nogil:
    """Write a channel's gradients, and say how its elements' are written; backward_scaled mends those beyond the range."""
    cdef double gain = inverse[c] * (W[c] if W != NULL else 1)
    cdef Py_ssize_t k
    if gW != NULL and in_range(inverse[c]):
        gW[c] = <real>(product * inverse[c] + (gW[c] if accumulate else 0))
    if gb != NULL:
        gb[c] = <real>(total + (gb[c] if accumulate else 0))
    for k in range(c * cut.each, (c + 1) * cut.each):
        array(scratch, 1, cut, inverse)[k] = <real>gain
        if training:
            array(scratch, 2, cut, inverse)[k] = <real>(-total / count * gain)
            array(scratch, 3, cut, inverse)[k] = <real>(-product / count * inverse[c] * inverse[c] * gain)
        else:  # gx = (gy - 0) gain + 0
            array(scratch, 0, cut, inverse)[k] = array(scratch, 2, cut, inverse)[k] = 0


cdef void backward_planes(
    Py_ssize_t task, const real* gy, const real* x, const real* W, const real* mean, const real* inverse, bint training,
    bint accumulate, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, Cut cut, real* gx, real* gW, real* gb,
    double* scratch) noexcept nogil:
    cdef double total[WINDOW]
    cdef double product[WINDOW]
    cdef Py_ssize_t c = task * cut.channels, width = min(cut.channels, C - c), start = c * D, k
    sums_of(gy + start, x + start, N, C * D, plane_block(width, D), width, D, mean + c, total, product)
    for k in range(width):
        finish_gradient(total[k], product[k], W, inverse, <double>N * D, training, accumulate, cut, c + k, gW, gb, scratch)
    if training and gx != NULL:
        write_rows_backward(gy + start, x + start, N, C * D, width, D, mean + c, array(scratch, 1, cut, x) + c,
                            array(scratch, 3, cut, x) + c, array(scratch, 2, cut, x) + c, gx + start)


cdef void sums_of_rows(
    Py_ssize_t task, const real* gy, const real* x, Py_ssize_t N, Cut cut, const real* center, double* sums) noexcept nogil:
    cdef Py_ssize_t K = cut.K, first = task * cut.rows
    sums_of(gy + first * K, x + first * K, min(cut.rows, N - first), K, cut.block, K, 1, center, sums + 2 * task * K,
            sums + (2 * task + 1) * K)


cdef void write_task_backward(
    Py_ssize_t task, const real* gy, const real* x, Py_ssize_t N, Cut cut, const real* center, double* scratch,
    real* gx) noexcept nogil:
    cdef Py_ssize_t K = cut.K, first = task * cut.rows
    write_rows_backward(gy + first * K, x + first * K, min(cut.rows, N - first), K, K, 1, center, array(scratch, 1, cut, x),
                        array(scratch, 3, cut, x), array(scratch, 2, cut, x), gx + first * K)


cdef void backward_columns(
    const real* gy, const real* x, const real* W, const real* mean, const real* inverse, bint training, bint accumulate,
    Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, Cut cut, real* gx, real* gW, real* gb, double* scratch) noexcept nogil:
    cdef Py_ssize_t K = cut.K, task, k
    cdef double* total = scratch + 4 * K
    cdef double* product = total + K
    cdef real* center = array(scratch, 0, cut, x)
    for k in range(K):
        center[k] = mean[k // D]
    workers.run(cut.threads, cut.tasks_of_rows, sums_of_rows[real], gy, x, N, cut, center, total)
    for task in range(1, cut.tasks_of_rows):
        for k in range(2 * K):
            total[k] += total[2 * task * K + k]
    for k in range(K):
        if k % D:
            total[k // D * D] += total[k]
            product[k // D * D] += product[k]
    for k in range(C):
        finish_gradient(total[k * D], product[k * D], W, inverse, <double>N * D, training, accumulate, cut, k, gW, gb, scratch)
    if not training or gx == NULL:
        return
    workers.run(cut.threads, cut.tasks_of_rows, write_task_backward[real], gy, x, N, cut, center, scratch, gx)


cdef void batch_norm_backward_kernel(
    const real* gy, const real* x, const real* W, const real* mean, const real* inverse, bint training, bint accumulate,
    Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, real* gx, real* gW, real* gb, double* scratch) noexcept nogil:
    cdef Cut cut = cut_of(N, C, D)
    cdef Py_ssize_t c
    cdef real* nothing = NULL
    if N * D == 0:
        if gW != NULL and not accumulate:
            memset(gW, 0, C * sizeof(real))
        if gb != NULL and not accumulate:
            memset(gb, 0, C * sizeof(real))
        return
    if not training and gW == NULL and gb == NULL:
        for c in range(C):
            finish_gradient(0, 0, W, inverse, 1, False, False, cut, c, nothing, nothing, scratch)
    elif D < SHORT:
        backward_columns(gy, x, W, mean, inverse, training, accumulate, N, C, D, cut, gx, gW, gb, scratch)
    else:
        workers.run(cut.threads, cut.tasks_of_channels, backward_planes[real], gy, x, W, mean, inverse, training, accumulate, N, C,
                    D, cut, gx, gW, gb, scratch)
    if not training and gx != NULL:
        write_all(gy, N, C, D, cut, gx, scratch)
    for c in range(C):
        if not in_range(inverse[c]):
            backward_scaled(gy + c * D, x + c * D, at(W, c), mean[c], inverse[c], training, accumulate, N, C * D, D, at(gx, c * D),
                            at(gW, c))


cdef void backward_scaled(
    const real* gy, const real* x, const real* W, real mean, real inverse, bint training, bint accumulate, Py_ssize_t rows,
    Py_ssize_t stride, Py_ssize_t n, real* gx, real* gW) noexcept nogil:
    """Write gW, and in training gx, of one channel."""
    cdef Scaled by = scaled_as(x, rows, stride, n, mean, inverse, training)
    cdef double total = 0, product = 0, z, count = <double>rows * n, gain = by.inverse * by.scale * (W[0] if W != NULL else 1)
    cdef Py_ssize_t row, i
    for row in range(rows):
        for i in range(n):
            z = (x[row * stride + i] * by.scale - by.mean) * by.inverse
            total += gy[row * stride + i]
            product += gy[row * stride + i] * z
    if gW != NULL:
        gW[0] = <real>(product + (gW[0] if accumulate else 0))
    if not training or gx == NULL:
        return
    for row in range(rows):
        for i in range(n):
            z = (x[row * stride + i] * by.scale - by.mean) * by.inverse
            gx[row * stride + i] = <real>((gy[row * stride + i] - (total + z * product) / count) * gain)


cdef inline Py_ssize_t behind(cnp.ndarray x):
    """D of an x that is (N, C, ...)."""
    cdef Py_ssize_t D = 1
    cdef int axis
    for axis in range(2, x.ndim):
        D *= x.shape[axis]
    return D


def batch_norm_forward(
    cnp.ndarray x not None, cnp.ndarray W, cnp.ndarray b, double eps, double momentum, cnp.ndarray running_mean,
    cnp.ndarray running_var, cnp.ndarray batches, cnp.ndarray mean not None, cnp.ndarray inverse not None, cnp.ndarray y not None,
):
    """y = (x - mean) inverse W + b with the batch's mean and inverse = 1 / sqrt(var + eps), which move the running statistics.

    `batches` counts them; a negative momentum stands for 1 / batches. W, b, and all three of the statistics, may be None.
    """
    cdef Py_ssize_t N = x.shape[0], C = x.shape[1], D = behind(x)
    cdef double* scratch = <double*>scratch_for(batch_norm_scratch(N, C, D) * sizeof(double))
    dispatch(
        floats(x), batch_norm_forward_kernel[float], batch_norm_forward_kernel[double], data(x), data(W), data(b), eps,
        momentum, N, C, D, data(running_mean), data(running_var), <int64_t*>address(batches), data(mean), data(inverse),
        data(y), scratch)


def batch_norm_evaluate(
    cnp.ndarray x not None, cnp.ndarray W, cnp.ndarray b, cnp.ndarray running_mean not None, cnp.ndarray running_var not None,
    double eps, cnp.ndarray mean not None, cnp.ndarray inverse not None, cnp.ndarray y not None,
):
    """y = (x - mean) inverse W + b with the running statistics; W and b may be None."""
    cdef Py_ssize_t N = x.shape[0], C = x.shape[1], D = behind(x)
    cdef double* scratch = <double*>scratch_for(batch_norm_scratch(N, C, D) * sizeof(double))
    dispatch(
        floats(x), batch_norm_evaluate_kernel[float], batch_norm_evaluate_kernel[double], data(x), data(W), data(b),
        data(running_mean), data(running_var), eps, N, C, D, data(mean), data(inverse), data(y), scratch)


def batch_norm_backward(
    cnp.ndarray gy not None, cnp.ndarray x not None, cnp.ndarray W, cnp.ndarray mean not None, cnp.ndarray inverse not None,
    bint training, bint accumulate, cnp.ndarray gx, cnp.ndarray gW, cnp.ndarray gb,
):
    """gx, and the sums of gy (x - mean) inverse and gy [+ gW, gb]; any of the three may be None.

    With `training` mean and inverse are the batch's and vary with x; else they are constants.
    """
    cdef Py_ssize_t N = x.shape[0], C = x.shape[1], D = behind(x)
    cdef double* scratch = <double*>scratch_for(batch_norm_scratch(N, C, D) * sizeof(double))
    dispatch(
        floats(x), batch_norm_backward_kernel[float], batch_norm_backward_kernel[double], data(gy), data(x), data(W),
        data(mean), data(inverse), training, accumulate, N, C, D, data(gx), data(gW), data(gb), scratch)


# Channels, elements behind them; whether by the batch's statistics, which move the running ones.
cdef struct BatchNormAttributes:
    Py_ssize_t C, D
    bint training
    double eps, momentum


def _attributes(dict fields):
    cdef BatchNormAttributes attributes = fields
    return (<char*>&attributes)[:sizeof(attributes)]


cdef Py_ssize_t scratch_of(const Operation* op, Py_ssize_t N, Py_ssize_t itemsize, void* memory) noexcept nogil:
    cdef const BatchNormAttributes* a = <const BatchNormAttributes*>op.attributes
    return batch_norm_scratch(N, a.C, a.D) * <Py_ssize_t>sizeof(double) // itemsize


cdef void forward(const Operation* op, const Batch* batch, real* scratch) noexcept nogil:
    cdef const BatchNormAttributes* a = <const BatchNormAttributes*>op.attributes
    cdef const real* x = <const real*>place(&op.x, batch)
    cdef const real* W = <const real*>place(op.parameters, batch)
    cdef const real* b = <const real*>place(op.parameters + 1, batch)
    cdef real* running_mean = <real*>place(op.buffers, batch)
    cdef real* running_var = <real*>place(op.buffers + 1, batch)
    cdef real* mean = <real*>place(op.saved, batch)
    cdef real* inverse = <real*>place(op.saved + 1, batch)
    cdef real* y = <real*>place(&op.y, batch)
    if a.training:
        batch_norm_forward_kernel(
            x, W, b, a.eps, a.momentum, batch.N, a.C, a.D, running_mean, running_var, <int64_t*>place(op.buffers + 2, batch),
            mean, inverse, y, <double*>scratch)
    else:
        batch_norm_evaluate_kernel(
            x, W, b, <const real*>running_mean, <const real*>running_var, a.eps, batch.N, a.C, a.D, mean, inverse, y,
            <double*>scratch)


cdef void backward(const Operation* op, const Batch* batch, const Gradients* g, real* scratch) noexcept nogil:
    cdef const BatchNormAttributes* a = <const BatchNormAttributes*>op.attributes
    batch_norm_backward_kernel(
        <const real*>g.gy, <const real*>place(&op.x, batch), <const real*>place(op.parameters, batch),
        <const real*>place(op.saved, batch), <const real*>place(op.saved + 1, batch), a.training, g.accumulate, batch.N, a.C, a.D,
        <real*>g.gx, <real*>g.parameters[0], <real*>g.parameters[1], <double*>scratch)


cdef OperationKernels kernels
kernels.scratch = scratch_of
kernels.forward_float, kernels.forward_double = forward[float], forward[double]
kernels.backward_float, kernels.backward_double = backward[float], backward[double]
describe(
    Descriptor("batch_norm", _attributes, parameters=("W", "b"), saved=("mean", "inverse"),
               buffers=("running_mean", "running_var", "num_batches_tracked"), reads="x"),
    &kernels)
