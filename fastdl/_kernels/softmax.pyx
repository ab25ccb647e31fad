"""softmax and log-softmax over the middle axis of (outer, n, inner): one run a row, gathered where it is not contiguous."""

cimport numpy as cnp
from cython.parallel cimport prange

from fastdl._kernels.array cimport scratch_for
from fastdl._kernels.descriptor cimport Batch, Descriptor, Gradients, Operation, OperationKernels, describe, place
from fastdl._kernels.dispatch cimport data, dispatch, floats, untyped
from fastdl._kernels.table cimport entries, real, table
from fastdl._kernels.threads cimport FlushDenormals, threads_for

cnp.import_array()

cdef enum:
    # Elements that a thread takes at a time, and what one of them costs, in multiply-adds.
    CHUNK = 4096
    WORK_PER_ELEMENT = 16


cdef Py_ssize_t softmax_scratch(Py_ssize_t n, Py_ssize_t inner) noexcept nogil:
    return 3 * n if inner > 1 else 0


cdef Py_ssize_t rows_at_once(Py_ssize_t n) noexcept nogil:
    return max(CHUNK // max(n, 1), 1)


cdef int threads_of(Py_ssize_t outer, Py_ssize_t n) noexcept nogil:
    return threads_for(<double>outer * n * WORK_PER_ELEMENT)


cdef void softmax_forward_kernel(
    const real* x, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner, real* y, real* scratch) noexcept nogil:
    cdef Py_ssize_t i, j, step = rows_at_once(n)
    cdef int threads = threads_of(outer, n)
    if inner == 1 and threads == 1:
        forward_rows(x, outer, n, y)
        return
    if inner == 1:
        for i in prange((outer + step - 1) // step, num_threads=threads, schedule="static"):
            forward_rows(x + i * step * n, min(step, outer - i * step), n, y + i * step * n)
        return
    for i in range(outer):
        for j in range(inner):
            gather(x + i * n * inner + j, n, inner, scratch)
            forward_rows(scratch, 1, n, scratch)
            scatter(scratch, n, inner, y + i * n * inner + j)


cdef void forward_rows(const real* x, Py_ssize_t rows, Py_ssize_t n, real* y) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    entries(table, x).softmax(x, y, NULL, NULL, rows, n)


cdef void softmax_backward_kernel(
    const real* gy, const real* y, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner, real* gx, real* scratch) noexcept nogil:
    cdef Py_ssize_t i, j, step = rows_at_once(n)
    cdef int threads = threads_of(outer, n)
    if inner == 1 and threads == 1:
        backward_rows(gy, y, outer, n, gx)
        return
    if inner == 1:
        for i in prange((outer + step - 1) // step, num_threads=threads, schedule="static"):
            backward_rows(gy + i * step * n, y + i * step * n, min(step, outer - i * step), n, gx + i * step * n)
        return
    for i in range(outer):
        for j in range(inner):
            gather(gy + i * n * inner + j, n, inner, scratch)
            gather(y + i * n * inner + j, n, inner, scratch + n)
            backward_rows(scratch, scratch + n, 1, n, scratch + 2 * n)
            scatter(scratch + 2 * n, n, inner, gx + i * n * inner + j)


cdef void backward_rows(const real* gy, const real* y, Py_ssize_t rows, Py_ssize_t n, real* gx) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    entries(table, y).softmax_backward(gy, y, gx, rows, n)


cdef void log_softmax_forward_kernel(
    const real* x, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner, real* y, real* scratch) noexcept nogil:
    cdef Py_ssize_t i, j, step = rows_at_once(n)
    cdef int threads = threads_of(outer, n)
    if inner == 1 and threads == 1:
        log_forward_rows(x, outer, n, y)
        return
    if inner == 1:
        for i in prange((outer + step - 1) // step, num_threads=threads, schedule="static"):
            log_forward_rows(x + i * step * n, min(step, outer - i * step), n, y + i * step * n)
        return
    for i in range(outer):
        for j in range(inner):
            gather(x + i * n * inner + j, n, inner, scratch)
            log_forward_rows(scratch, 1, n, scratch)
            scatter(scratch, n, inner, y + i * n * inner + j)


cdef void log_forward_rows(const real* x, Py_ssize_t rows, Py_ssize_t n, real* y) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    entries(table, x).log_softmax(x, y, rows, n)


cdef void log_softmax_backward_kernel(
    const real* gy, const real* y, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner, real* gx, real* scratch) noexcept nogil:
    cdef Py_ssize_t i, j, step = rows_at_once(n)
    cdef int threads = threads_of(outer, n)
    if inner == 1 and threads == 1:
        log_backward_rows(gy, y, outer, n, gx)
        return
    if inner == 1:
        for i in prange((outer + step - 1) // step, num_threads=threads, schedule="static"):
            log_backward_rows(gy + i * step * n, y + i * step * n, min(step, outer - i * step), n, gx + i * step * n)
        return
    for i in range(outer):
        for j in range(inner):
            gather(gy + i * n * inner + j, n, inner, scratch)
            gather(y + i * n * inner + j, n, inner, scratch + n)
            log_backward_rows(scratch, scratch + n, 1, n, scratch + 2 * n)
            scatter(scratch + 2 * n, n, inner, gx + i * n * inner + j)


cdef void log_backward_rows(const real* gy, const real* y, Py_ssize_t rows, Py_ssize_t n, real* gx) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    entries(table, y).log_softmax_backward(gy, y, gx, rows, n)


def softmax_forward(cnp.ndarray x not None, cnp.ndarray y not None):
    """y = exp(x) / sum of exp(x)"""
    cdef Py_ssize_t outer = x.shape[0], n = x.shape[1], inner = x.shape[2]
    cdef void* scratch = scratch_for(softmax_scratch(n, inner) * cnp.PyArray_ITEMSIZE(x))
    dispatch(
        floats(x), softmax_forward_kernel[float], softmax_forward_kernel[double], data(x), outer, n, inner, data(y),
        untyped(scratch))


def softmax_backward(cnp.ndarray gy not None, cnp.ndarray y not None, cnp.ndarray gx not None):
    """gx = y (gy - sum of gy y)"""
    cdef Py_ssize_t outer = y.shape[0], n = y.shape[1], inner = y.shape[2]
    cdef void* scratch = scratch_for(softmax_scratch(n, inner) * cnp.PyArray_ITEMSIZE(y))
    dispatch(
        floats(y), softmax_backward_kernel[float], softmax_backward_kernel[double], data(gy), data(y), outer, n, inner,
        data(gx), untyped(scratch))


def log_softmax_forward(cnp.ndarray x not None, cnp.ndarray y not None):
    """y = x - log of the sum of exp(x)"""
    cdef Py_ssize_t outer = x.shape[0], n = x.shape[1], inner = x.shape[2]
    cdef void* scratch = scratch_for(softmax_scratch(n, inner) * cnp.PyArray_ITEMSIZE(x))
    dispatch(
        floats(x), log_softmax_forward_kernel[float], log_softmax_forward_kernel[double], data(x), outer, n, inner, data(y),
        untyped(scratch))


def log_softmax_backward(cnp.ndarray gy not None, cnp.ndarray y not None, cnp.ndarray gx not None):
    """gx = gy - exp(y) times the sum of gy"""
    cdef Py_ssize_t outer = y.shape[0], n = y.shape[1], inner = y.shape[2]
    cdef void* scratch = scratch_for(softmax_scratch(n, inner) * cnp.PyArray_ITEMSIZE(y))
    dispatch(
        floats(y), log_softmax_backward_kernel[float], log_softmax_backward_kernel[double], data(gy), data(y), outer, n, inner,
        data(gx), untyped(scratch))


# The shape (outer, n, inner) of a sample, its softmax over the middle axis.
cdef struct SoftmaxAttributes:
    Py_ssize_t outer, n, inner


def _attributes(dict fields):
    cdef SoftmaxAttributes attributes = fields
    return (<char*>&attributes)[:sizeof(attributes)]


cdef Py_ssize_t scratch_of(const Operation* op, Py_ssize_t N, Py_ssize_t itemsize, void* memory) noexcept nogil:
    cdef const SoftmaxAttributes* a = <const SoftmaxAttributes*>op.attributes
    return softmax_scratch(a.n, a.inner)


cdef void forward_softmax(const Operation* op, const Batch* batch, real* scratch) noexcept nogil:
    cdef const SoftmaxAttributes* a = <const SoftmaxAttributes*>op.attributes
    softmax_forward_kernel(
        <const real*>place(&op.x, batch), a.outer * batch.N, a.n, a.inner, <real*>place(&op.y, batch), scratch)


cdef void backward_softmax(const Operation* op, const Batch* batch, const Gradients* g, real* scratch) noexcept nogil:
    cdef const SoftmaxAttributes* a = <const SoftmaxAttributes*>op.attributes
    softmax_backward_kernel(
        <const real*>g.gy, <const real*>place(&op.y, batch), a.outer * batch.N, a.n, a.inner, <real*>g.gx, scratch)


cdef void forward_log_softmax(const Operation* op, const Batch* batch, real* scratch) noexcept nogil:
    cdef const SoftmaxAttributes* a = <const SoftmaxAttributes*>op.attributes
    log_softmax_forward_kernel(
        <const real*>place(&op.x, batch), a.outer * batch.N, a.n, a.inner, <real*>place(&op.y, batch), scratch)


cdef void backward_log_softmax(const Operation* op, const Batch* batch, const Gradients* g, real* scratch) noexcept nogil:
    cdef const SoftmaxAttributes* a = <const SoftmaxAttributes*>op.attributes
    log_softmax_backward_kernel(
        <const real*>g.gy, <const real*>place(&op.y, batch), a.outer * batch.N, a.n, a.inner, <real*>g.gx, scratch)


cdef OperationKernels kernels
kernels.scratch = scratch_of
kernels.forward_float, kernels.forward_double = forward_softmax[float], forward_softmax[double]
kernels.backward_float, kernels.backward_double = backward_softmax[float], backward_softmax[double]
describe(Descriptor("softmax", _attributes, reads="y"), &kernels)
kernels.forward_float, kernels.forward_double = forward_log_softmax[float], forward_log_softmax[double]
kernels.backward_float, kernels.backward_double = backward_log_softmax[float], backward_log_softmax[double]
describe(Descriptor("log_softmax", _attributes, reads="y"), &kernels)
