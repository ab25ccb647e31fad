"""Moving a part of each sample: y[start + i] = x[start' + i], or added to what is there; the gradients go back the same way."""

from libc.string cimport memcpy

from fastdl._kernels.descriptor cimport Batch, Descriptor, Gradients, Operation, OperationKernels, describe, place
from fastdl._kernels.table cimport entries, real, table
from fastdl._kernels.threads cimport FlushDenormals


cdef void move_kernel(const real* x, bint adds, Py_ssize_t n, real* y) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    if adds:
        entries(table, x).add_rows(x, 1, n, y)
    else:
        memcpy(y, x, n * sizeof(real))


# `n` elements of each sample, from x_start on in x's to y_start on in y's; whether they are added there, and their gradients here.
cdef struct MoveAttributes:
    Py_ssize_t n, x_start, y_start
    bint adds, adds_back


def _attributes(dict fields):
    cdef MoveAttributes attributes = fields
    return (<char*>&attributes)[:sizeof(attributes)]


cdef void forward(const Operation* op, const Batch* batch, real* scratch) noexcept nogil:
    cdef const MoveAttributes* a = <const MoveAttributes*>op.attributes
    cdef const real* x = <const real*>place(&op.x, batch) + a.x_start
    cdef real* y = <real*>place(&op.y, batch) + a.y_start
    cdef Py_ssize_t i
    for i in range(batch.N):
        move_kernel(x + i * op.x_size, a.adds, a.n, y + i * op.y_size)


cdef void backward(const Operation* op, const Batch* batch, const Gradients* g, real* scratch) noexcept nogil:
    cdef const MoveAttributes* a = <const MoveAttributes*>op.attributes
    cdef const real* gy = <const real*>g.gy + a.y_start
    cdef real* gx = <real*>g.gx + a.x_start
    cdef Py_ssize_t i
    for i in range(batch.N):
        move_kernel(gy + i * op.y_size, a.adds_back, a.n, gx + i * op.x_size)


cdef OperationKernels kernels
kernels.partial = True
kernels.forward_float, kernels.forward_double = forward[float], forward[double]
kernels.backward_float, kernels.backward_double = backward[float], backward[double]
describe(Descriptor("move", _attributes, in_blocks=True), &kernels)
