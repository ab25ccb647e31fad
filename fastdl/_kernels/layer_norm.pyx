"""Layer normalization of (N, n), a row at a time; moments as in norm.pyx, beyond the range of registers as in moments.pyx."""

cimport numpy as cnp
from libc.math cimport sqrt
from libc.string cimport memset

from fastdl._kernels.array cimport scratch_for
from fastdl._kernels.descriptor cimport Batch, Descriptor, Gradients, Operation, OperationKernels, describe, place
from fastdl._kernels.dispatch cimport data, dispatch, floats, untyped
from fastdl._kernels.moments cimport (
    Scaled, at, in_range, join, out_of_range, parts, scaled_as, scaled_moments, write_scaled,
)
from fastdl._kernels.table cimport entries, real, table
from fastdl._kernels.threads cimport FlushDenormals, threads_for, workers

cnp.import_array()

cdef enum:
    TASKS = 16  # the most parts that the rows are cut into
    ROWS = 8  # the least that a part has of rows, and of elements
    CHUNK = 8192
    TOGETHER = 16  # rows whose moments are taken at a time, at most
    BLOCK = 8192  # elements of a row whose moments are taken at a time
    WORK_PER_ELEMENT = 4


# A task takes this many rows, so that tasks are not small and their sums take less room than x.
cdef inline Py_ssize_t rows_per_task(Py_ssize_t N, Py_ssize_t n) noexcept nogil:
    return max(<Py_ssize_t>ROWS, parts(CHUNK, max(<Py_ssize_t>1, n)), parts(N, TASKS))


cdef Py_ssize_t layer_norm_scratch(Py_ssize_t N, Py_ssize_t n) noexcept nogil:
    return 2 * n * parts(N, rows_per_task(N, n))


cdef void layer_norm_forward_kernel(
    const real* x, const real* W, const real* b, double eps, Py_ssize_t N, Py_ssize_t n, real* mean, real* inverse,
    real* y) noexcept nogil:
    cdef Py_ssize_t rows = rows_per_task(N, n)
    workers.run(threads_for(<double>N * n * WORK_PER_ELEMENT), parts(N, rows), forward_rows[real], rows, x, W, b, eps, N, n, mean,
                inverse, y)


cdef void forward_rows(
    Py_ssize_t task, Py_ssize_t rows, const real* x, const real* W, const real* b, double eps, Py_ssize_t N, Py_ssize_t n,
    real* mean, real* inverse, real* y) noexcept nogil:
    cdef FlushDenormals flush
    cdef Py_ssize_t first = task * rows, last = min(first + rows, N)
    cdef double means[TOGETHER]
    cdef double squares[TOGETHER]
    cdef real center[TOGETHER]
    cdef real missed[TOGETHER]
    cdef real deviations[TOGETHER]
    cdef Py_ssize_t together = max(<Py_ssize_t>1, min(<Py_ssize_t>TOGETHER, BLOCK // n)), run = min(<Py_ssize_t>BLOCK, n)
    cdef Py_ssize_t i, j, k, row, count, size
    flush.on()
    for i in range(parts(last - first, together)):
        row = first + i * together
        count = min(together, last - row)
        for j in range(parts(n, run)):
            size = min(run, n - j * run)
            entries(table, x).moments(x + row * n + j * run, 1, 0, count, size, center, missed, deviations)
            join(j * run, size, count, center, missed, deviations, means, squares)
        for k in range(count):
            if out_of_range(squares[k], x + (row + k) * n, 1, 0, n):
                forward_scaled(x + (row + k) * n, W, b, eps, n, mean + row + k, inverse + row + k, y + (row + k) * n)
                continue
            mean[row + k] = <real>means[k]
            inverse[row + k] = <real>(1 / sqrt(squares[k] / n + eps))
            entries(table, x).layer_norm(
                x + (row + k) * n, W, b, mean[row + k], inverse[row + k], <real>((mean[row + k] - means[k]) * inverse[row + k]),
                y + (row + k) * n, n)


cdef void forward_scaled(
    const real* x, const real* W, const real* b, double eps, Py_ssize_t n, real* mean, real* inverse, real* y) noexcept nogil:
    cdef Scaled by = scaled_moments(x, 1, 0, n, eps)
    mean[0] = <real>(by.mean / by.scale)
    inverse[0] = <real>(by.inverse * by.scale)
    write_scaled(x, 1, 0, n, by, W, b, 1, y)


cdef void layer_norm_backward_kernel(
    const real* gy, const real* x, const real* W, const real* mean, const real* inverse, bint accumulate, Py_ssize_t N,
    Py_ssize_t n, real* gx, real* gW, real* gb, real* scratch) noexcept nogil:
    """Each task sums its rows' shares of gW and gb in scratch; then the tasks are added, in their order."""
    cdef Py_ssize_t rows = rows_per_task(N, n), tasks = parts(N, rows)
    cdef real* weights = scratch if gW != NULL else NULL
    cdef real* biases = scratch + tasks * n if gb != NULL else NULL
    workers.run(threads_for(<double>N * n * WORK_PER_ELEMENT), tasks, backward_rows[real], rows, gy, x, W, mean, inverse, N, n, gx,
                weights, biases)
    sum_tasks(weights, tasks, n, accumulate, gW)
    sum_tasks(biases, tasks, n, accumulate, gb)


cdef void backward_rows(
    Py_ssize_t task, Py_ssize_t rows, const real* gy, const real* x, const real* W, const real* mean, const real* inverse,
    Py_ssize_t N, Py_ssize_t n, real* gx, real* weights, real* biases) noexcept nogil:
    cdef FlushDenormals flush
    cdef real total = 0, product = 0, slope = 0, shift = 0
    cdef Py_ssize_t row, position
    cdef real* gW = at(weights, task * n)
    cdef real* gb = at(biases, task * n)
    flush.on()
    if gW != NULL:
        memset(gW, 0, n * sizeof(real))
    if gb != NULL:
        memset(gb, 0, n * sizeof(real))
    for row in range(task * rows, min((task + 1) * rows, N)):
        position = row * n
        if not in_range(inverse[row]):
            backward_scaled(gy + position, x + position, W, mean[row], inverse[row], n, at(gx, position), gW, gb)
            continue
        if gx != NULL:
            entries(table, x).layer_norm_sums(gy + position, x + position, W, mean[row], &total, &product, n)
            slope = -product / n * inverse[row] * inverse[row] * inverse[row]
            shift = -total / n * inverse[row]
        entries(table, x).layer_norm_backward(
            gy + position, x + position, W, mean[row], inverse[row], slope, shift, at(gx, position), gW, gb, n)


cdef void backward_scaled(
    const real* gy, const real* x, const real* W, real mean, real inverse, Py_ssize_t n, real* gx, real* gW, real* gb) noexcept nogil:
    cdef Scaled by = scaled_as(x, 1, 0, n, mean, inverse, True)
    cdef double total = 0, product = 0, u, z
    cdef Py_ssize_t i
    for i in range(n):
        u = gy[i] * (<double>W[i] if W != NULL else 1)
        z = (x[i] * by.scale - by.mean) * by.inverse
        total += u
        product += u * z
        if gW != NULL:
            gW[i] += <real>(gy[i] * z)
        if gb != NULL:
            gb[i] += gy[i]
    if gx == NULL:
        return
    for i in range(n):
        u = gy[i] * (<double>W[i] if W != NULL else 1)
        z = (x[i] * by.scale - by.mean) * by.inverse
        gx[i] = <real>((u - (total + z * product) / n) * by.inverse * by.scale)


cdef void sum_tasks(const real* parts_of, Py_ssize_t tasks, Py_ssize_t n, bint accumulate, real* gradient) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    if gradient != NULL:
        if not accumulate:
            memset(gradient, 0, n * sizeof(real))
        entries(table, gradient).add_rows(parts_of, tasks, n, gradient)


def layer_norm_forward(
    cnp.ndarray x not None, cnp.ndarray W, cnp.ndarray b, double eps, cnp.ndarray mean not None, cnp.ndarray inverse not None,
    cnp.ndarray y not None,
):
    """y = (x - mean) inverse W + b for each row, inverse = 1 / sqrt(var + eps); W and b may be None."""
    cdef Py_ssize_t N = x.shape[0], n = x.shape[1]
    dispatch(
        floats(x), layer_norm_forward_kernel[float], layer_norm_forward_kernel[double], data(x), data(W), data(b), eps, N, n,
        data(mean), data(inverse), data(y))


def layer_norm_backward(
    cnp.ndarray gy not None, cnp.ndarray x not None, cnp.ndarray W, cnp.ndarray mean not None, cnp.ndarray inverse not None,
    bint accumulate, cnp.ndarray gx, cnp.ndarray gW, cnp.ndarray gb,
):
    """gx, and the sums over rows of gy (x - mean) inverse and gy [+ gW, gb]; any of the three may be None."""
    cdef Py_ssize_t N = x.shape[0], n = x.shape[1]
    cdef void* scratch = scratch_for(layer_norm_scratch(N, n) * cnp.PyArray_ITEMSIZE(x))
    dispatch(
        floats(x), layer_norm_backward_kernel[float], layer_norm_backward_kernel[double], data(gy), data(x), data(W),
        data(mean), data(inverse), accumulate, N, n, data(gx), data(gW), data(gb), untyped(scratch))


# Rows of a sample, and elements of a row.
cdef struct LayerNormAttributes:
    Py_ssize_t rows, n
    double eps


def _attributes(dict fields):
    cdef LayerNormAttributes attributes = fields
    return (<char*>&attributes)[:sizeof(attributes)]


cdef Py_ssize_t scratch_of(const Operation* op, Py_ssize_t N, Py_ssize_t itemsize, void* memory) noexcept nogil:
    cdef const LayerNormAttributes* a = <const LayerNormAttributes*>op.attributes
    return layer_norm_scratch(a.rows * N, a.n)


cdef void forward(const Operation* op, const Batch* batch, real* scratch) noexcept nogil:
    cdef const LayerNormAttributes* a = <const LayerNormAttributes*>op.attributes
    layer_norm_forward_kernel(
        <const real*>place(&op.x, batch), <const real*>place(op.parameters, batch), <const real*>place(op.parameters + 1, batch),
        a.eps, a.rows * batch.N, a.n, <real*>place(op.saved, batch), <real*>place(op.saved + 1, batch),
        <real*>place(&op.y, batch))


cdef void backward(const Operation* op, const Batch* batch, const Gradients* g, real* scratch) noexcept nogil:
    cdef const LayerNormAttributes* a = <const LayerNormAttributes*>op.attributes
    layer_norm_backward_kernel(
        <const real*>g.gy, <const real*>place(&op.x, batch), <const real*>place(op.parameters, batch),
        <const real*>place(op.saved, batch), <const real*>place(op.saved + 1, batch), g.accumulate, a.rows * batch.N, a.n,
        <real*>g.gx, <real*>g.parameters[0], <real*>g.parameters[1], scratch)


cdef OperationKernels kernels
kernels.scratch = scratch_of
kernels.forward_float, kernels.forward_double = forward[float], forward[double]
kernels.backward_float, kernels.backward_double = backward[float], backward[double]
describe(Descriptor("layer_norm", _attributes, parameters=("W", "b"), saved=("mean", "inverse"), reads="x"), &kernels)
