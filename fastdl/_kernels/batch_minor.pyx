"""Linear for small layers, with batch-minor x and y (a row for each feature): y (O, L) = W x (I, L) + b.

The first N <= L samples count. L is a multiple of a register's lanes, see `batch_minor_length`. Behind the last sample stand zeros in
x, as far as its register reaches, and in gradients.
"""

cimport numpy as cnp
from libc.string cimport memset

from fastdl._kernels.array cimport scratch_for
from fastdl._kernels.descriptor cimport Batch, Descriptor, Gradients, Operation, OperationKernels, describe, place
from fastdl._kernels.dispatch cimport data, dispatch, floats, untyped
from fastdl._kernels.round_up cimport round_up
from fastdl._kernels.table cimport entries, real, table
from fastdl._kernels.threads cimport FlushDenormals, threads_for, workers

cnp.import_array()

cdef enum:
    CHUNK = 2048  # samples that one thread takes at a time: a multiple of any register's lanes
    WIDEST_REGISTER = 16


def batch_minor_length(Py_ssize_t N) -> int:
    """Return a row's length for up to N samples: so many registers that rows do not share a place in the cache."""
    return ((N + WIDEST_REGISTER - 1) // WIDEST_REGISTER | 1) * WIDEST_REGISTER


cdef inline Py_ssize_t chunks_of(Py_ssize_t N) noexcept nogil:
    return (N + CHUNK - 1) // CHUNK


cdef void to_batch_minor_kernel(const real* x, Py_ssize_t N, Py_ssize_t I, Py_ssize_t L, real* y) noexcept nogil:
    entries(table, x).to_batch_minor(x, N, I, y, L)


cdef void from_batch_minor_kernel(const real* x, Py_ssize_t N, Py_ssize_t I, Py_ssize_t L, real* y) noexcept nogil:
    entries(table, x).turn(x, L, I, N, False, y, I)


cdef void batch_minor_forward_kernel(
    const real* x, const real* W, const real* b, Py_ssize_t N, Py_ssize_t L, Py_ssize_t I, Py_ssize_t O, real* y,
    real* scratch) noexcept nogil:
    if N == 1:
        forward_of_sample(x, W, b, L, I, O, y, scratch)
        return
    workers.run(threads_for(2.0 * N * I * O), chunks_of(N), product[real], x, W, I, 1, b, N, L, O, I, y)


cdef void forward_of_sample(
    const real* x, const real* W, const real* b, Py_ssize_t L, Py_ssize_t I, Py_ssize_t O, real* y, real* scratch) noexcept nogil:
    """A sample alone is multiplied as linear_forward_kernel multiplies it, whose dot products sum in another order."""
    cdef FlushDenormals flush
    flush.on()
    from_batch_minor_kernel(x, 1, I, L, scratch)
    entries(table, x).multiply_vector(W, I, O, I, scratch, False, b, scratch + I)
    to_batch_minor_kernel(scratch + I, 1, O, L, y)


cdef void batch_minor_backward_input_kernel(
    const real* gy, const real* W, Py_ssize_t N, Py_ssize_t L, Py_ssize_t I, Py_ssize_t O, real* gx) noexcept nogil:
    workers.run(threads_for(2.0 * N * I * O), chunks_of(N), product[real], gy, W, 1, I, NULL, N, L, I, O, gx)


cdef void product(
    Py_ssize_t task, const real* x, const real* a, Py_ssize_t a_row, Py_ssize_t a_column, const real* bias, Py_ssize_t N,
    Py_ssize_t L, Py_ssize_t m, Py_ssize_t k, real* y) noexcept nogil:
    """y (m, N) = a (m, k) x (k, N) + bias, in whole registers."""
    cdef FlushDenormals flush
    cdef Py_ssize_t first = task * CHUNK, count = min(<Py_ssize_t>CHUNK, N - first)
    flush.on()
    entries(table, x).multiply(m, round_up(count, entries(table, x).lanes), k, a, a_row, a_column, False, x + first, L, False, bias,
                               bias != NULL, y + first, L)


cdef Py_ssize_t batch_minor_scratch(Py_ssize_t N, Py_ssize_t I, Py_ssize_t O) noexcept nogil:
    """The number of elements of scratch that each of the kernels needs at most."""
    return max(I + O, chunks_of(N) * O * (I + 1) if N > CHUNK else 0)


cdef void batch_minor_backward_weight_kernel(
    const real* gy, const real* x, Py_ssize_t N, Py_ssize_t L, Py_ssize_t I, Py_ssize_t O, bint accumulate, real* gW, real* gb,
    real* scratch) noexcept nogil:
    """Each chunk sums its samples' shares; then the chunks are added, in their order."""
    cdef Py_ssize_t chunks = chunks_of(N)
    cdef real* biases = scratch + chunks * O * I
    if N <= CHUNK:
        sums(0, gy, x, N, L, I, O, accumulate, gW, gb)
        return
    workers.run(threads_for(2.0 * N * I * O), chunks, sums[real], gy, x, N, L, I, O, False, scratch if gW != NULL else NULL,
                biases if gb != NULL else NULL)
    add_chunks(scratch, chunks, O * I, accumulate, gW)
    add_chunks(biases, chunks, O, accumulate, gb)


cdef void sums(
    Py_ssize_t task, const real* gy, const real* x, Py_ssize_t N, Py_ssize_t L, Py_ssize_t I, Py_ssize_t O, bint accumulate,
    real* gW, real* gb) noexcept nogil:
    cdef FlushDenormals flush
    cdef Py_ssize_t first = task * CHUNK, n = round_up(min(<Py_ssize_t>CHUNK, N - first), entries(table, x).lanes)
    flush.on()
    if gW != NULL:
        entries(table, x).correlate_batch_minor(O, I, n, gy + first, L, x + first, L, accumulate, gW + task * O * I)
    if gb != NULL:
        entries(table, x).sum_batch_minor(O, n, gy + first, L, accumulate, gb + task * O)


cdef void add_chunks(const real* parts, Py_ssize_t chunks, Py_ssize_t n, bint accumulate, real* gradient) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    if gradient != NULL:
        if not accumulate:
            memset(gradient, 0, n * sizeof(real))
        entries(table, gradient).add_rows(parts, chunks, n, gradient)


def to_batch_minor(cnp.ndarray x not None, cnp.ndarray y not None):
    """y (I, L) = the transpose of x (N, I), with zeros to the end of the last sample's register."""
    cdef Py_ssize_t N = x.shape[0], I = x.shape[1], L = y.shape[1]
    dispatch(floats(x), to_batch_minor_kernel[float], to_batch_minor_kernel[double], data(x), N, I, L, data(y))


def from_batch_minor(cnp.ndarray x not None, cnp.ndarray y not None):
    """y (N, I) = the samples of x (I, L) that there is room for."""
    cdef Py_ssize_t N = y.shape[0], I = y.shape[1], L = x.shape[1]
    dispatch(floats(x), from_batch_minor_kernel[float], from_batch_minor_kernel[double], data(x), N, I, L, data(y))


def batch_minor_forward(cnp.ndarray x not None, cnp.ndarray W not None, cnp.ndarray b, Py_ssize_t N, cnp.ndarray y not None):
    """y = W x + b for the first N samples."""
    cdef Py_ssize_t O = W.shape[0], I = W.shape[1], L = x.shape[1]
    cdef void* scratch = scratch_for(batch_minor_scratch(N, I, O) * cnp.PyArray_ITEMSIZE(x))
    dispatch(
        floats(x), batch_minor_forward_kernel[float], batch_minor_forward_kernel[double], data(x), data(W), data(b), N, L, I, O,
        data(y), untyped(scratch))


def batch_minor_backward_input(cnp.ndarray gy not None, cnp.ndarray W not None, Py_ssize_t N, cnp.ndarray gx not None):
    """gx = W^T gy for the first N samples."""
    cdef Py_ssize_t O = W.shape[0], I = W.shape[1], L = gy.shape[1]
    dispatch(
        floats(gy), batch_minor_backward_input_kernel[float], batch_minor_backward_input_kernel[double], data(gy), data(W), N, L, I, O,
        data(gx))


def batch_minor_backward_weight(
    cnp.ndarray gy not None, cnp.ndarray x not None, Py_ssize_t N, bint accumulate, cnp.ndarray gW, cnp.ndarray gb,
):
    """gW = gy x^T [+ gW] and gb = the sum of each row of gy [+ gb], over the first N samples; either may be None."""
    cdef Py_ssize_t O = gy.shape[0], I = x.shape[0], L = gy.shape[1]
    cdef void* scratch = scratch_for(batch_minor_scratch(N, I, O) * cnp.PyArray_ITEMSIZE(gy))
    dispatch(
        floats(gy), batch_minor_backward_weight_kernel[float], batch_minor_backward_weight_kernel[double], data(gy), data(x), N, L, I,
        O, accumulate, data(gW), data(gb), untyped(scratch))


# Inputs and outputs of a layer; 0 where x and y only change their layout.
cdef struct BatchMinorAttributes:
    Py_ssize_t I, O


def _linear_attributes(dict fields):
    cdef BatchMinorAttributes attributes = fields
    return (<char*>&attributes)[:sizeof(attributes)]


def _no_attributes(dict fields):
    return b""


cdef Py_ssize_t scratch_of(const Operation* op, Py_ssize_t N, Py_ssize_t itemsize, void* memory) noexcept nogil:
    cdef const BatchMinorAttributes* a = <const BatchMinorAttributes*>op.attributes
    return batch_minor_scratch(N, a.I, a.O)


cdef void forward_to_batch_minor(const Operation* op, const Batch* batch, real* scratch) noexcept nogil:
    to_batch_minor_kernel(<const real*>place(&op.x, batch), batch.N, op.x_size, op.y_length, <real*>place(&op.y, batch))


cdef void backward_to_batch_minor(const Operation* op, const Batch* batch, const Gradients* g, real* scratch) noexcept nogil:
    from_batch_minor_kernel(<const real*>g.gy, batch.N, op.x_size, op.y_length, <real*>g.gx)


cdef void forward_from_batch_minor(const Operation* op, const Batch* batch, real* scratch) noexcept nogil:
    from_batch_minor_kernel(<const real*>place(&op.x, batch), batch.N, op.x_size, op.x_length, <real*>place(&op.y, batch))


cdef void backward_from_batch_minor(const Operation* op, const Batch* batch, const Gradients* g, real* scratch) noexcept nogil:
    to_batch_minor_kernel(<const real*>g.gy, batch.N, op.x_size, op.x_length, <real*>g.gx)


cdef void forward_linear(const Operation* op, const Batch* batch, real* scratch) noexcept nogil:
    cdef const BatchMinorAttributes* a = <const BatchMinorAttributes*>op.attributes
    batch_minor_forward_kernel(
        <const real*>place(&op.x, batch), <const real*>place(op.parameters, batch), <const real*>place(op.parameters + 1, batch),
        batch.N, op.x_length, a.I, a.O, <real*>place(&op.y, batch), scratch)


cdef void backward_linear(const Operation* op, const Batch* batch, const Gradients* g, real* scratch) noexcept nogil:
    cdef const BatchMinorAttributes* a = <const BatchMinorAttributes*>op.attributes
    cdef const real* gy = <const real*>g.gy
    if g.parameters[0] != NULL or g.parameters[1] != NULL:
        batch_minor_backward_weight_kernel(
            gy, <const real*>place(&op.x, batch), batch.N, op.x_length, a.I, a.O, g.accumulate, <real*>g.parameters[0],
            <real*>g.parameters[1], scratch)
    if g.gx != NULL:
        batch_minor_backward_input_kernel(
            gy, <const real*>place(op.parameters, batch), batch.N, op.x_length, a.I, a.O, <real*>g.gx)


cdef OperationKernels kernels
kernels.forward_float, kernels.forward_double = forward_to_batch_minor[float], forward_to_batch_minor[double]
kernels.backward_float, kernels.backward_double = backward_to_batch_minor[float], backward_to_batch_minor[double]
describe(Descriptor("to_batch_minor", _no_attributes), &kernels)
kernels.forward_float, kernels.forward_double = forward_from_batch_minor[float], forward_from_batch_minor[double]
kernels.backward_float, kernels.backward_double = backward_from_batch_minor[float], backward_from_batch_minor[double]
describe(Descriptor("from_batch_minor", _no_attributes), &kernels)
kernels.scratch = scratch_of
kernels.forward_float, kernels.forward_double = forward_linear[float], forward_linear[double]
kernels.backward_float, kernels.backward_double = backward_linear[float], backward_linear[double]
describe(Descriptor("batch_minor_linear", _linear_attributes, parameters=("W", "b"), reads="x"), &kernels)
