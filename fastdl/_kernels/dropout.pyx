"""Dropout: y = x mask / (1 - p), where the mask is a function of (seed, call, place) and so need not be stored.

Word i of the call's stream decides on the i-th run of elements: it is dropped where the word is below p 2^32.
"""

cimport numpy as cnp
from libc.math cimport floor
from libc.stdint cimport uint32_t, uint64_t

from fastdl._kernels.array cimport address
from fastdl._kernels.descriptor cimport Batch, Descriptor, Gradients, Operation, OperationKernels, describe, place
from fastdl._kernels.dispatch cimport data, dispatch, floats
from fastdl._kernels.table cimport entries, real, table
from fastdl._kernels.threads cimport FlushDenormals, threads_for, workers

cnp.import_array()

cdef enum:
    CHUNK = 8192  # elements that one thread takes at a time, at least
    WORK_PER_ELEMENT = 8


cdef void dropout_kernel(
    const real* x, double p, uint64_t seed, uint64_t call, Py_ssize_t run, Py_ssize_t first, Py_ssize_t n, real* y) noexcept nogil:
    cdef Py_ssize_t begin = first // (4 * run) if run > 0 else 0
    cdef Py_ssize_t words = n // run if run > 0 else 0, size = 4 * ((CHUNK // 4 + run - 1) // max(<Py_ssize_t>1, run))
    cdef double threshold = floor(p * 4294967296.0 + 0.5)
    cdef bint all_dropped = threshold > 4294967295.0
    cdef uint32_t least = 0 if all_dropped else <uint32_t>threshold
    cdef real scale = 0 if all_dropped else <real>(1 / (1 - p))
    workers.run(threads_for(<double>n * WORK_PER_ELEMENT), (words + size - 1) // size, dropout_run[real], size, x, seed, call, begin,
                least, scale, run, y, words)


cdef void dropout_run(
    Py_ssize_t task, Py_ssize_t size, const real* x, uint64_t seed, uint64_t call, uint64_t begin, uint32_t threshold, real scale,
    Py_ssize_t run, real* y, Py_ssize_t words) noexcept nogil:
    cdef FlushDenormals flush
    cdef Py_ssize_t first = task * size
    flush.on()
    entries(table, x).dropout(
        x + first * run, seed, call, begin + first // 4, threshold, scale, run, y + first * run, min(size, words - first))


def dropout_forward(cnp.ndarray x not None, double p, uint64_t seed, uint64_t call, Py_ssize_t run, cnp.ndarray y not None):
    """y = x mask / (1 - p), a word of the mask for each `run` of elements."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
    dispatch(floats(x), dropout_kernel[float], dropout_kernel[double], data(x), p, seed, call, run, 0, n, data(y))


def dropout_backward(cnp.ndarray gy not None, double p, uint64_t seed, uint64_t call, Py_ssize_t run, cnp.ndarray gx not None):
    """gx = gy mask / (1 - p), with the forward's mask."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(gy)
    dispatch(floats(gy), dropout_kernel[float], dropout_kernel[double], data(gy), p, seed, call, run, 0, n, data(gx))


def philox(uint64_t seed, uint64_t call, uint64_t first, cnp.ndarray words not None):
    """Fill the uint32 array with words 4 first, 4 first + 1, ... of the stream that (seed, call) names."""
    table.philox(seed, call, first, <uint32_t*>address(words), cnp.PyArray_SIZE(words))


# The probability, elements that drop together, the number among a forward's draws.
cdef struct DropoutAttributes:
    double p
    Py_ssize_t run, draw


def _attributes(dict fields):
    cdef DropoutAttributes attributes = fields
    return (<char*>&attributes)[:sizeof(attributes)]


cdef void forward(const Operation* op, const Batch* batch, real* scratch) noexcept nogil:
    mask(op, batch, <const real*>place(&op.x, batch), <real*>place(&op.y, batch))


cdef void backward(const Operation* op, const Batch* batch, const Gradients* g, real* scratch) noexcept nogil:
    mask(op, batch, <const real*>g.gy, <real*>g.gx)


cdef void mask(const Operation* op, const Batch* batch, const real* x, real* y) noexcept nogil:
    cdef const DropoutAttributes* a = <const DropoutAttributes*>op.attributes
    dropout_kernel(x, a.p, batch.seed, batch.call + a.draw, a.run, batch.first * op.x_size, op.x_size * batch.N, y)


cdef OperationKernels kernels
kernels.forward_float, kernels.forward_double = forward[float], forward[double]
kernels.backward_float, kernels.backward_double = backward[float], backward[double]
describe(Descriptor("dropout", _attributes, in_place=True, in_blocks=True), &kernels)
