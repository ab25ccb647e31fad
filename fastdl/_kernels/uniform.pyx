"""Random numbers, uniform between 0 and 1: functions of (seed, call, place), so that they need not be stored.

Number i is (w + 1/2) 2^-23 of the upper 23 bits w of word i of the call's stream in float32, (w + 1/2) 2^-32 of the whole word in
float64: never 0 nor 1.
"""

cimport numpy as cnp
from libc.stdint cimport uint32_t, uint64_t

from fastdl._kernels.descriptor cimport Batch, Descriptor, Gradients, Operation, OperationKernels, describe, place
from fastdl._kernels.dispatch cimport data, dispatch, floats
from fastdl._kernels.table cimport real, table
from fastdl._kernels.threads cimport threads_for, workers

cnp.import_array()

# 2^-23 and 2^-32
cdef double OF_23_BITS = 1.1920928955078125e-07
cdef double OF_32_BITS = 2.3283064365386963e-10

cdef enum:
    CHUNK = 4096  # numbers that one thread takes at a time
    WORDS = 256  # at a time
    WORK_PER_ELEMENT = 8


cdef void uniform_kernel(uint64_t seed, uint64_t call, Py_ssize_t first, Py_ssize_t n, real* y) noexcept nogil:
    """Numbers from `first` on."""
    workers.run(
        threads_for(<double>n * WORK_PER_ELEMENT), (n + CHUNK - 1) // CHUNK, uniform_run[real], seed, call, first, n, y)


cdef void uniform_run(Py_ssize_t task, uint64_t seed, uint64_t call, Py_ssize_t first, Py_ssize_t n, real* y) noexcept nogil:
    cdef uint32_t words[WORDS + 4]
    cdef Py_ssize_t done = task * CHUNK, end = min((task + 1) * CHUNK, n), before, count, i
    while done < end:
        before = (first + done) % 4  # words come in groups of four
        count = min(<Py_ssize_t>WORDS, end - done)
        table.philox(seed, call, (first + done) // 4, words, before + count)
        for i in range(count):
            if sizeof(real) == sizeof(float):
                y[done + i] = <real>(((words[before + i] >> 9) + 0.5) * OF_23_BITS)
            else:
                y[done + i] = <real>((words[before + i] + 0.5) * OF_32_BITS)
        done += count


def uniform_forward(uint64_t seed, uint64_t call, cnp.ndarray y not None):
    """Fill y with numbers between 0 and 1."""
    dispatch(floats(y), uniform_kernel[float], uniform_kernel[double], seed, call, 0, cnp.PyArray_SIZE(y), data(y))


# The number among a forward's draws.
cdef struct UniformAttributes:
    Py_ssize_t draw


def _attributes(dict fields):
    cdef UniformAttributes attributes = fields
    return (<char*>&attributes)[:sizeof(attributes)]


cdef void forward(const Operation* op, const Batch* batch, real* scratch) noexcept nogil:
    cdef const UniformAttributes* a = <const UniformAttributes*>op.attributes
    uniform_kernel(
        batch.seed, batch.call + a.draw, batch.first * op.y_size, op.y_size * batch.N, <real*>place(&op.y, batch))


cdef void backward(const Operation* op, const Batch* batch, const Gradients* g, real* scratch) noexcept nogil:
    """Nothing depends on the input but the shape: its gradient is 0, and nobody asks for it."""
    cdef Py_ssize_t i
    for i in range(op.x_size * batch.N):
        (<real*>g.gx)[i] = 0


cdef OperationKernels kernels
kernels.forward_float, kernels.forward_double = forward[float], forward[double]
kernels.backward_float, kernels.backward_double = backward[float], backward[double]
describe(Descriptor("uniform", _attributes), &kernels)
