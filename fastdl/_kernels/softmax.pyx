"""softmax and log-softmax over the middle axis of (outer, n, inner): one run a row, gathered where it is not contiguous."""

cimport numpy as cnp

from fastdl._kernels.array cimport scratch_for
from fastdl._kernels.descriptor cimport Batch, Descriptor, Gradients, Operation, OperationKernels, describe, place
from fastdl._kernels.dispatch cimport data, dispatch, floats, untyped
from fastdl._kernels.table cimport entries, real, table
from fastdl._kernels.threads cimport FlushDenormals, threads_for, workers

cnp.import_array()

cdef enum:
    # Elements that a thread takes at a time, and what one of them costs, in multiply-adds.
    CHUNK = 4096
    WORK_PER_ELEMENT = 16


cdef Py_ssize_t softmax_scratch(Py_ssize_t n, Py_ssize_t inner) noexcept nogil:
    """The elements that the kernels gather a row into, where inner > 1."""
    return 3 * n if inner > 1 else 0


cdef inline Py_ssize_t rows_at_once(Py_ssize_t n) noexcept nogil:
    return max(CHUNK // max(n, 1), 1)


cdef inline Py_ssize_t tasks_of(Py_ssize_t outer, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t rows = rows_at_once(n)
    return (outer + rows - 1) // rows


cdef int threads_of(Py_ssize_t outer, Py_ssize_t n) noexcept nogil:
    return threads_for(<double>outer * n * WORK_PER_ELEMENT)


cdef void forward_kernel(
    const real* x, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner, bint log, real* y, real* scratch) noexcept nogil:
    """softmax, or its logarithm."""
    cdef Py_ssize_t i, j
    if inner == 1:
        workers.run(threads_of(outer, n), tasks_of(outer, n), forward_rows[real], x, outer, n, log, y)
    else:
        for i in range(outer):
            for j in range(inner):
                gather(x + i * n * inner + j, n, inner, scratch)
                forward_rows(0, scratch, 1, n, log, scratch)
                scatter(scratch, n, inner, y + i * n * inner + j)


cdef void forward_rows(Py_ssize_t task, const real* x, Py_ssize_t outer, Py_ssize_t n, bint log, real* y) noexcept nogil:
    cdef FlushDenormals flush
    cdef Py_ssize_t first = task * rows_at_once(n), rows = min(rows_at_once(n), outer - first)
    flush.on()
    if log:
        entries(table, x).log_softmax(x + first * n, y + first * n, rows, n)
    else:
        entries(table, x).softmax(x + first * n, y + first * n, NULL, NULL, rows, n)


cdef void backward_kernel(
    const real* gy, const real* y, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner, bint log, real* gx,
    real* scratch) noexcept nogil:
    cdef Py_ssize_t i, j
    if inner == 1:
        workers.run(threads_of(outer, n), tasks_of(outer, n), backward_rows[real], gy, y, outer, n, log, gx)
    else:
        for i in range(outer):
            for j in range(inner):
                gather(gy + i * n * inner + j, n, inner, scratch)
                gather(y + i * n * inner + j, n, inner, scratch + n)
                backward_rows(0, scratch, scratch + n, 1, n, log, scratch + 2 * n)
                scatter(scratch + 2 * n, n, inner, gx + i * n * inner + j)


cdef void backward_rows(
    Py_ssize_t task, const real* gy, const real* y, Py_ssize_t outer, Py_ssize_t n, bint log, real* gx) noexcept nogil:
    cdef FlushDenormals flush
    cdef Py_ssize_t first = task * rows_at_once(n), rows = min(rows_at_once(n), outer - first)
    flush.on()
    gy, y, gx = gy + first * n, y + first * n, gx + first * n
    if log:
        entries(table, y).log_softmax_backward(gy, y, gx, rows, n)
    else:
        entries(table, y).softmax_backward(gy, y, gx, rows, n)


cdef run_forward(cnp.ndarray x, bint log, cnp.ndarray y):
    cdef Py_ssize_t outer = x.shape[0], n = x.shape[1], inner = x.shape[2]
    cdef void* scratch = scratch_for(softmax_scratch(n, inner) * cnp.PyArray_ITEMSIZE(x))
    dispatch(
        floats(x), forward_kernel[float], forward_kernel[double], data(x), outer, n, inner, log, data(y), untyped(scratch))


cdef run_backward(cnp.ndarray gy, cnp.ndarray y, bint log, cnp.ndarray gx):
    cdef Py_ssize_t outer = y.shape[0], n = y.shape[1], inner = y.shape[2]
    cdef void* scratch = scratch_for(softmax_scratch(n, inner) * cnp.PyArray_ITEMSIZE(y))
    dispatch(
        floats(y), backward_kernel[float], backward_kernel[double], data(gy), data(y), outer, n, inner, log, data(gx),
        untyped(scratch))


def softmax_forward(cnp.ndarray x not None, cnp.ndarray y not None):
    """y = exp(x) / sum of exp(x)"""
    run_forward(x, False, y)


def softmax_backward(cnp.ndarray gy not None, cnp.ndarray y not None, cnp.ndarray gx not None):
    """gx = y (gy - sum of gy y)"""
    run_backward(gy, y, False, gx)


def log_softmax_forward(cnp.ndarray x not None, cnp.ndarray y not None):
    """y = x - log of the sum of exp(x)"""
    run_forward(x, True, y)


def log_softmax_backward(cnp.ndarray gy not None, cnp.ndarray y not None, cnp.ndarray gx not None):
    """gx = gy - exp(y) times the sum of gy"""
    run_backward(gy, y, True, gx)


# The shape (outer, n, inner) of a sample, its softmax over the middle axis.
cdef struct SoftmaxAttributes:
    Py_ssize_t outer, n, inner


def _attributes(dict fields):
    cdef SoftmaxAttributes attributes = fields
    return (<char*>&attributes)[:sizeof(attributes)]


cdef Py_ssize_t scratch_of(const Operation* op, Py_ssize_t N, Py_ssize_t itemsize, void* memory) noexcept nogil:
    cdef const SoftmaxAttributes* a = <const SoftmaxAttributes*>op.attributes
    return softmax_scratch(a.n, a.inner)


cdef void forward(const Operation* op, const Batch* batch, bint log, real* scratch) noexcept nogil:
    cdef const SoftmaxAttributes* a = <const SoftmaxAttributes*>op.attributes
    forward_kernel(
        <const real*>place(&op.x, batch), a.outer * batch.N, a.n, a.inner, log, <real*>place(&op.y, batch), scratch)


cdef void backward(const Operation* op, const Batch* batch, const Gradients* g, bint log, real* scratch) noexcept nogil:
    cdef const SoftmaxAttributes* a = <const SoftmaxAttributes*>op.attributes
    backward_kernel(
        <const real*>g.gy, <const real*>place(&op.y, batch), a.outer * batch.N, a.n, a.inner, log, <real*>g.gx, scratch)


cdef void forward_softmax(const Operation* op, const Batch* batch, real* scratch) noexcept nogil:
    forward(op, batch, False, scratch)


cdef void backward_softmax(const Operation* op, const Batch* batch, const Gradients* g, real* scratch) noexcept nogil:
    backward(op, batch, g, False, scratch)


cdef void forward_log_softmax(const Operation* op, const Batch* batch, real* scratch) noexcept nogil:
    forward(op, batch, True, scratch)


cdef void backward_log_softmax(const Operation* op, const Batch* batch, const Gradients* g, real* scratch) noexcept nogil:
    backward(op, batch, g, True, scratch)


cdef OperationKernels kernels
kernels.scratch = scratch_of
kernels.forward_float, kernels.forward_double = forward_softmax[float], forward_softmax[double]
kernels.backward_float, kernels.backward_double = backward_softmax[float], backward_softmax[double]
describe(Descriptor("softmax", _attributes, reads="y"), &kernels)
kernels.forward_float, kernels.forward_double = forward_log_softmax[float], forward_log_softmax[double]
kernels.backward_float, kernels.backward_double = backward_log_softmax[float], backward_log_softmax[double]
describe(Descriptor("log_softmax", _attributes, reads="y"), &kernels)
