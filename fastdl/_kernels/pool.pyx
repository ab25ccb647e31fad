"""Pooling: the maximum or the mean over windows of image planes, each plane on its own."""

cimport numpy as cnp
from libc.stdint cimport int32_t

from fastdl._kernels.array cimport address
from fastdl._kernels.descriptor cimport Batch, Descriptor, Gradients, Operation, OperationKernels, describe, place
from fastdl._kernels.dispatch cimport data, dispatch, floats
from fastdl._kernels.table cimport PoolAxis, entries, real, table
from fastdl._kernels.threads cimport FlushDenormals, threads_for, workers

cnp.import_array()

# Elements that one thread takes at a time, in whole planes.
cdef enum:
    CHUNK = 16384
    WORK_PER_ELEMENT = 4


cdef PoolAxis windows(
    Py_ssize_t size, Py_ssize_t outputs, Py_ssize_t taps, Py_ssize_t stride, Py_ssize_t padding, Py_ssize_t dilation) noexcept nogil:
    cdef PoolAxis axis
    cdef Py_ssize_t latest_start = size + padding - (taps - 1) * dilation - 1
    axis.size, axis.outputs = size, outputs
    axis.taps, axis.stride, axis.padding, axis.dilation = taps, stride, padding, dilation
    axis.inside_begin = min(outputs, (padding + stride - 1) // stride)
    axis.inside_end = min(outputs, latest_start // stride + 1) if latest_start >= 0 else 0
    axis.inside_end = max(axis.inside_begin, axis.inside_end)
    return axis


cdef PoolAxis shares(Py_ssize_t size, Py_ssize_t outputs) noexcept nogil:
    cdef PoolAxis axis
    if size % outputs == 0:
        return windows(size, outputs, size // outputs, size // outputs, 0, 1)
    axis.size, axis.outputs = size, outputs
    axis.taps, axis.stride, axis.padding, axis.dilation = 0, 0, 0, 1
    axis.inside_begin = axis.inside_end = 0
    return axis


cdef Py_ssize_t planes_at_a_time(const PoolAxis* rows, const PoolAxis* columns) noexcept nogil:
    return CHUNK // (rows.size * columns.size) + 1


cdef inline Py_ssize_t tasks_of(const PoolAxis* rows, const PoolAxis* columns, Py_ssize_t planes) noexcept nogil:
    cdef Py_ssize_t few = planes_at_a_time(rows, columns)
    return (planes + few - 1) // few


cdef int threads_of(const PoolAxis* rows, const PoolAxis* columns, Py_ssize_t planes) noexcept nogil:
    cdef double window = <double>min(max(rows.taps, 1), rows.size) * min(max(columns.taps, 1), columns.size)
    cdef double seen = max(<double>rows.outputs * columns.outputs * window, <double>rows.size * columns.size)
    return threads_for(planes * seen * WORK_PER_ELEMENT)


cdef void max_pool_forward_kernel(
    const real* x, const PoolAxis* rows, const PoolAxis* columns, Py_ssize_t planes, real* y, int32_t* index) noexcept nogil:
    workers.run(threads_of(rows, columns, planes), tasks_of(rows, columns, planes), max_forward_run[real], x, rows, columns, planes,
                y, index)


# Values are compared and not computed with, so denormals are not flushed: they differ.
cdef void max_forward_run(
    Py_ssize_t task, const real* x, const PoolAxis* rows, const PoolAxis* columns, Py_ssize_t planes, real* y,
    int32_t* index) noexcept nogil:
    cdef Py_ssize_t size = rows.size * columns.size, outputs = rows.outputs * columns.outputs
    cdef Py_ssize_t few = planes_at_a_time(rows, columns), plane
    for plane in range(task * few, min((task + 1) * few, planes)):
        entries(table, x).max_pool(x + plane * size, rows[0], columns[0], y + plane * outputs,
                                   index + plane * outputs if index != NULL else NULL)


cdef void max_pool_backward_kernel(
    const real* gy, const int32_t* index, const PoolAxis* rows, const PoolAxis* columns, Py_ssize_t planes,
    real* gx) noexcept nogil:
    workers.run(threads_of(rows, columns, planes), tasks_of(rows, columns, planes), max_backward_run[real], gy, index, rows,
                columns, planes, gx)


cdef void max_backward_run(
    Py_ssize_t task, const real* gy, const int32_t* index, const PoolAxis* rows, const PoolAxis* columns, Py_ssize_t planes,
    real* gx) noexcept nogil:
    cdef FlushDenormals flush
    cdef Py_ssize_t size = rows.size * columns.size, outputs = rows.outputs * columns.outputs
    cdef Py_ssize_t few = planes_at_a_time(rows, columns), plane
    flush.on()
    for plane in range(task * few, min((task + 1) * few, planes)):
        entries(table, gy).max_pool_backward(gy + plane * outputs, index + plane * outputs, rows[0], columns[0], gx + plane * size)


cdef void avg_pool_forward_kernel(
    const real* x, const PoolAxis* rows, const PoolAxis* columns, bint count_padding, Py_ssize_t divisor, Py_ssize_t planes,
    real* y) noexcept nogil:
    workers.run(threads_of(rows, columns, planes), tasks_of(rows, columns, planes), avg_forward_run[real], x, rows, columns,
                count_padding, divisor, planes, y)


cdef void avg_forward_run(
    Py_ssize_t task, const real* x, const PoolAxis* rows, const PoolAxis* columns, bint count_padding, Py_ssize_t divisor,
    Py_ssize_t planes, real* y) noexcept nogil:
    cdef FlushDenormals flush
    cdef Py_ssize_t size = rows.size * columns.size, outputs = rows.outputs * columns.outputs
    cdef Py_ssize_t few = planes_at_a_time(rows, columns), plane
    flush.on()
    for plane in range(task * few, min((task + 1) * few, planes)):
        entries(table, x).avg_pool(x + plane * size, rows[0], columns[0], count_padding, divisor, y + plane * outputs)


cdef void avg_pool_backward_kernel(
    const real* gy, const PoolAxis* rows, const PoolAxis* columns, bint count_padding, Py_ssize_t divisor, Py_ssize_t planes,
    real* gx) noexcept nogil:
    cdef PoolAxis back_rows, back_columns
    if rows.stride == 1 and columns.stride == 1 and (divisor or count_padding or rows.padding + columns.padding == 0):
        # Every window at every place and one divisor: gx pools gy as y pools x, seen from the other side.
        back_rows = windows(rows.outputs, rows.size, rows.taps, 1, rows.taps - 1 - rows.padding, 1)
        back_columns = windows(columns.outputs, columns.size, columns.taps, 1, columns.taps - 1 - columns.padding, 1)
        avg_pool_forward_kernel(gy, &back_rows, &back_columns, False, divisor or rows.taps * columns.taps, planes, gx)
        return
    workers.run(threads_of(rows, columns, planes), tasks_of(rows, columns, planes), avg_backward_run[real], gy, rows, columns,
                count_padding, divisor, planes, gx)


cdef void avg_backward_run(
    Py_ssize_t task, const real* gy, const PoolAxis* rows, const PoolAxis* columns, bint count_padding, Py_ssize_t divisor,
    Py_ssize_t planes, real* gx) noexcept nogil:
    cdef FlushDenormals flush
    cdef Py_ssize_t size = rows.size * columns.size, outputs = rows.outputs * columns.outputs
    cdef Py_ssize_t few = planes_at_a_time(rows, columns), plane
    flush.on()
    for plane in range(task * few, min((task + 1) * few, planes)):
        entries(table, gy).avg_pool_backward(gy + plane * outputs, rows[0], columns[0], count_padding, divisor, gx + plane * size)


cdef PoolAxis axis_of(
    cnp.ndarray x, cnp.ndarray y, int axis, tuple kernel_size, tuple stride, tuple padding, tuple dilation) except *:
    """Axis H (0) or W (1) of x (N, C, H, W) as outputs y (N, C, OH, OW) see it."""
    return windows(x.shape[2 + axis], y.shape[2 + axis], kernel_size[axis], stride[axis], padding[axis], dilation[axis])


def max_pool_forward(
    cnp.ndarray x not None, tuple kernel_size not None, tuple stride not None, tuple padding not None, tuple dilation not None,
    cnp.ndarray y not None, cnp.ndarray index,
):
    """y = the maximum of each window, index = its position in the plane H W; index may be None."""
    cdef PoolAxis rows = axis_of(x, y, 0, kernel_size, stride, padding, dilation)
    cdef PoolAxis columns = axis_of(x, y, 1, kernel_size, stride, padding, dilation)
    cdef Py_ssize_t planes = x.shape[0] * x.shape[1]
    dispatch(
        floats(x), max_pool_forward_kernel[float], max_pool_forward_kernel[double], data(x), &rows, &columns, planes, data(y),
        <int32_t*>address(index))


def max_pool_backward(
    cnp.ndarray gy not None, cnp.ndarray index not None, tuple kernel_size not None, tuple stride not None, tuple padding not None,
    tuple dilation not None, cnp.ndarray gx not None,
):
    """gx = the sum of the gy of those windows whose maximum is here."""
    cdef PoolAxis rows = axis_of(gx, gy, 0, kernel_size, stride, padding, dilation)
    cdef PoolAxis columns = axis_of(gx, gy, 1, kernel_size, stride, padding, dilation)
    cdef Py_ssize_t planes = gx.shape[0] * gx.shape[1]
    dispatch(
        floats(gy), max_pool_backward_kernel[float], max_pool_backward_kernel[double], data(gy), <int32_t*>address(index),
        &rows, &columns, planes, data(gx))


def avg_pool_forward(
    cnp.ndarray x not None, tuple kernel_size not None, tuple stride not None, tuple padding not None, bint count_include_pad,
    divisor_override: int | None, cnp.ndarray y not None,
):
    """y = the sum of each window / its number of places, those in the padding counted or not, or / divisor_override."""
    cdef PoolAxis rows = axis_of(x, y, 0, kernel_size, stride, padding, (1, 1))
    cdef PoolAxis columns = axis_of(x, y, 1, kernel_size, stride, padding, (1, 1))
    cdef Py_ssize_t planes = x.shape[0] * x.shape[1], divisor = divisor_override or 0
    dispatch(
        floats(x), avg_pool_forward_kernel[float], avg_pool_forward_kernel[double], data(x), &rows, &columns,
        count_include_pad, divisor, planes, data(y))


def avg_pool_backward(
    cnp.ndarray gy not None, tuple kernel_size not None, tuple stride not None, tuple padding not None, bint count_include_pad,
    divisor_override: int | None, cnp.ndarray gx not None,
):
    """gx = the sum over windows that see this element of gy / what avg_pool_forward divides by."""
    cdef PoolAxis rows = axis_of(gx, gy, 0, kernel_size, stride, padding, (1, 1))
    cdef PoolAxis columns = axis_of(gx, gy, 1, kernel_size, stride, padding, (1, 1))
    cdef Py_ssize_t planes = gx.shape[0] * gx.shape[1], divisor = divisor_override or 0
    dispatch(
        floats(gy), avg_pool_backward_kernel[float], avg_pool_backward_kernel[double], data(gy), &rows, &columns,
        count_include_pad, divisor, planes, data(gx))


def adaptive_avg_pool_forward(cnp.ndarray x not None, cnp.ndarray y not None):
    """y = the mean of each of OH x OW equal shares of the plane, rounded outwards."""
    cdef PoolAxis rows = shares(x.shape[2], y.shape[2]), columns = shares(x.shape[3], y.shape[3])
    cdef Py_ssize_t planes = x.shape[0] * x.shape[1]
    dispatch(
        floats(x), avg_pool_forward_kernel[float], avg_pool_forward_kernel[double], data(x), &rows, &columns, False, 0, planes,
        data(y))


def adaptive_avg_pool_backward(cnp.ndarray gy not None, cnp.ndarray gx not None):
    """gx = the sum over shares that hold this element of gy / the share's size."""
    cdef PoolAxis rows = shares(gx.shape[2], gy.shape[2]), columns = shares(gx.shape[3], gy.shape[3])
    cdef Py_ssize_t planes = gx.shape[0] * gx.shape[1]
    dispatch(
        floats(gy), avg_pool_backward_kernel[float], avg_pool_backward_kernel[double], data(gy), &rows, &columns, False, 0,
        planes, data(gx))


# Planes of a sample, and its axes; for averages whether padding counts, and the divisor (0 for the places of a window).
cdef struct PoolAttributes:
    Py_ssize_t planes, H, W, OH, OW, KH, KW, SH, SW, PH, PW, DH, DW, count_padding, divisor


def _attributes(dict fields):
    cdef PoolAttributes attributes = fields
    return (<char*>&attributes)[:sizeof(attributes)]


cdef PoolAxis rows_of(const PoolAttributes* a) noexcept nogil:
    return windows(a.H, a.OH, a.KH, a.SH, a.PH, a.DH) if a.KH else shares(a.H, a.OH)


cdef PoolAxis columns_of(const PoolAttributes* a) noexcept nogil:
    return windows(a.W, a.OW, a.KW, a.SW, a.PW, a.DW) if a.KW else shares(a.W, a.OW)


cdef void forward_maximum(const Operation* op, const Batch* batch, real* scratch) noexcept nogil:
    cdef const PoolAttributes* a = <const PoolAttributes*>op.attributes
    cdef PoolAxis rows = rows_of(a), columns = columns_of(a)
    max_pool_forward_kernel(
        <const real*>place(&op.x, batch), &rows, &columns, a.planes * batch.N, <real*>place(&op.y, batch),
        <int32_t*>place(op.saved, batch))


cdef void backward_maximum(const Operation* op, const Batch* batch, const Gradients* g, real* scratch) noexcept nogil:
    cdef const PoolAttributes* a = <const PoolAttributes*>op.attributes
    cdef PoolAxis rows = rows_of(a), columns = columns_of(a)
    max_pool_backward_kernel(
        <const real*>g.gy, <const int32_t*>place(op.saved, batch), &rows, &columns, a.planes * batch.N, <real*>g.gx)


cdef void forward_average(const Operation* op, const Batch* batch, real* scratch) noexcept nogil:
    cdef const PoolAttributes* a = <const PoolAttributes*>op.attributes
    cdef PoolAxis rows = rows_of(a), columns = columns_of(a)
    avg_pool_forward_kernel(
        <const real*>place(&op.x, batch), &rows, &columns, a.count_padding, a.divisor, a.planes * batch.N,
        <real*>place(&op.y, batch))


cdef void backward_average(const Operation* op, const Batch* batch, const Gradients* g, real* scratch) noexcept nogil:
    cdef const PoolAttributes* a = <const PoolAttributes*>op.attributes
    cdef PoolAxis rows = rows_of(a), columns = columns_of(a)
    avg_pool_backward_kernel(
        <const real*>g.gy, &rows, &columns, a.count_padding, a.divisor, a.planes * batch.N, <real*>g.gx)


cdef OperationKernels kernels
kernels.forward_float, kernels.forward_double = forward_maximum[float], forward_maximum[double]
kernels.backward_float, kernels.backward_double = backward_maximum[float], backward_maximum[double]
describe(Descriptor("max_pool", _attributes, saved=("index",), in_blocks=True, omits=True, maxima=True), &kernels)
kernels.forward_float, kernels.forward_double = forward_average[float], forward_average[double]
kernels.backward_float, kernels.backward_double = backward_average[float], backward_average[double]
describe(Descriptor("avg_pool", _attributes, in_blocks=True), &kernels)
