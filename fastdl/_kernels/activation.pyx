"""Elementwise activations: y = f(x) and gx = gy f', where f' reads x or y, as the core's table of activations says."""

cimport numpy as cnp

from fastdl._kernels.descriptor cimport Batch, Descriptor, Gradients, Operation, OperationKernels, describe, place
from fastdl._kernels.dispatch cimport data, dispatch, floats
from fastdl._kernels.table cimport entries, real, table
from fastdl._kernels.threads cimport FlushDenormals, threads_for, workers

cnp.import_array()

# A run that one thread takes at a time.
cdef enum:
    CHUNK = 8192
    WORK_PER_ELEMENT = 4

# One name for each code.
cdef list NAMES = []
cdef int position = 0
while table.activation_names[position] != NULL:
    NAMES.append(table.activation_names[position].decode())
    position += 1
cdef dict CODES = {name: code for code, name in enumerate(NAMES)}


cdef int activation_code(str kind) except -1:
    return CODES[kind]


def activation_kinds() -> tuple[str, ...]:
    """Return the names of the activations."""
    return tuple(NAMES)


def keeps_output(str kind) -> bool:
    """Tell whether the derivative of this activation reads the output; else it reads the input."""
    return table.activation_keeps_output[activation_code(kind)]


cdef void activation_forward_kernel(
    const real* x, int code, double alpha, double beta, Py_ssize_t n, real* y) noexcept nogil:
    workers.run(threads_for(<double>n * WORK_PER_ELEMENT), (n + CHUNK - 1) // CHUNK, forward_run[real], x, code, alpha, beta, n, y)


cdef void forward_run(
    Py_ssize_t task, const real* x, int code, double alpha, double beta, Py_ssize_t n, real* y) noexcept nogil:
    cdef FlushDenormals flush
    cdef Py_ssize_t first = task * CHUNK
    flush.on()
    entries(table, x).activation_forward[code](x + first, <real>alpha, <real>beta, y + first, min(<Py_ssize_t>CHUNK, n - first))


cdef void activation_backward_kernel(
    const real* gy, const real* kept, int code, double alpha, double beta, Py_ssize_t n, real* gx) noexcept nogil:
    workers.run(threads_for(<double>n * WORK_PER_ELEMENT), (n + CHUNK - 1) // CHUNK, backward_run[real], gy, kept, code, alpha,
                beta, n, gx)


cdef void backward_run(
    Py_ssize_t task, const real* gy, const real* kept, int code, double alpha, double beta, Py_ssize_t n, real* gx) noexcept nogil:
    cdef FlushDenormals flush
    cdef Py_ssize_t first = task * CHUNK
    flush.on()
    entries(table, gy).activation_backward[code](
        gy + first, kept + first, <real>alpha, <real>beta, gx + first, min(<Py_ssize_t>CHUNK, n - first))


def activation_forward(cnp.ndarray x not None, str kind not None, double alpha, double beta, cnp.ndarray y not None):
    """y = f(x)"""
    cdef int code = activation_code(kind)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
    dispatch(
        floats(x), activation_forward_kernel[float], activation_forward_kernel[double], data(x), code, alpha, beta, n, data(y))


def activation_backward(
    cnp.ndarray gy not None, cnp.ndarray x, cnp.ndarray y, str kind not None, double alpha, double beta, cnp.ndarray gx not None,
):
    """gx = gy f'; the derivative reads x or y, the other may be None."""
    cdef int code = activation_code(kind)
    cdef cnp.ndarray kept = y if table.activation_keeps_output[code] else x
    cdef Py_ssize_t n = cnp.PyArray_SIZE(gy)
    dispatch(
        floats(gy), activation_backward_kernel[float], activation_backward_kernel[double], data(gy), data(kept), code, alpha,
        beta, n, data(gx))


def _attributes(dict fields):
    return b""


cdef inline Py_ssize_t elements(const Operation* op, const Batch* batch) noexcept nogil:
    return op.x_size * (op.x_length if op.x_length else batch.N)


cdef void forward(const Operation* op, const Batch* batch, real* scratch) noexcept nogil:
    activation_forward_kernel(
        <const real*>place(&op.x, batch), <int>op.activation.code, op.activation.alpha, op.activation.beta, elements(op, batch),
        <real*>place(&op.y, batch))


cdef void backward(const Operation* op, const Batch* batch, const Gradients* g, real* scratch) noexcept nogil:
    activation_backward_kernel(
        <const real*>g.gy, <const real*>place(&op.y if op.activation.keeps_output else &op.x, batch), <int>op.activation.code,
        op.activation.alpha, op.activation.beta, elements(op, batch), <real*>g.gx)


cdef OperationKernels kernels
kernels.activates_forward = kernels.activates_backward = True
kernels.forward_float, kernels.forward_double = forward[float], forward[double]
kernels.backward_float, kernels.backward_double = backward[float], backward[double]
describe(Descriptor("activation", _attributes, in_place=True, in_blocks=True, batch_minor="activation"), &kernels)
