"""Linear: y = x W^T + b, gx = gy W, gW = gy^T x [+ gW], gb = the sum of gy's rows [+ gb]. Three products and a sum of rows."""

cimport numpy as cnp
from libc.string cimport memset

from fastdl._kernels.array cimport scratch_for
from fastdl._kernels.descriptor cimport (
    Batch, Descriptor, Gradients, Operation, OperationKernels, Update, describe, place,
)
from fastdl._kernels.dispatch cimport data, dispatch, floats, untyped
from fastdl._kernels.gemm cimport bands_scratch, bands_suit, gemm_kernel, gemm_scratch, product_by_bands
from fastdl._kernels.optim cimport take_part
from fastdl._kernels.table cimport entries, real, table
from fastdl._kernels.threads cimport FlushDenormals

cnp.import_array()


cdef Py_ssize_t linear_scratch(Py_ssize_t N, Py_ssize_t I, Py_ssize_t O) noexcept nogil:
    """The number of elements of scratch that each of the kernels needs at most."""
    return max(gemm_scratch(N, O, I), gemm_scratch(N, I, O), gemm_scratch(O, I, N), bands_scratch(O, I, N))


cdef void linear_forward_kernel(
    const real* x, const real* W, const real* b, Py_ssize_t N, Py_ssize_t I, Py_ssize_t O,
    int activation, double alpha, double beta, real* y, real* scratch) noexcept nogil:
    gemm_kernel(N, O, I, x, I, 1, W, 1, I, b, False, activation, alpha, beta, y, scratch)


cdef void linear_backward_input_kernel(
    const real* gy, const real* W, Py_ssize_t N, Py_ssize_t I, Py_ssize_t O, real* gx, real* scratch) noexcept nogil:
    cdef const real* no_bias = NULL
    gemm_kernel(N, I, O, gy, O, 1, W, I, 1, no_bias, False, 0, 0, 0, gx, scratch)


cdef void linear_backward_weight_kernel(
    const real* gy, const real* x, Py_ssize_t N, Py_ssize_t I, Py_ssize_t O, bint accumulate, real* gW, real* gb,
    real* scratch) noexcept nogil:
    cdef const real* no_bias = NULL
    if gW != NULL:
        gemm_kernel(O, I, N, gy, 1, O, x, I, 1, no_bias, accumulate, 0, 0, 0, gW, scratch)
    if gb != NULL:
        if not accumulate:
            memset(gb, 0, O * sizeof(real))
        sum_rows(gy, N, O, gb)


cdef void linear_backward_kernel(
    const real* gy, const real* x, const real* W, Py_ssize_t N, Py_ssize_t I, Py_ssize_t O, bint accumulate, real* gW, real* gb,
    real* gx, real* scratch) noexcept nogil:
    if N == 1:
        backward_of_row(gy, x, W, I, O, accumulate, gW, gb, gx)
        return
    if gW != NULL or gb != NULL:
        linear_backward_weight_kernel(gy, x, N, I, O, accumulate, gW, gb, scratch)
    if gx != NULL:
        linear_backward_input_kernel(gy, W, N, I, O, gx, scratch)


cdef bint step_suits(Py_ssize_t N, Py_ssize_t I, Py_ssize_t O) noexcept nogil:
    return N > 1 and bands_suit(O, I, N)


cdef void linear_backward_step_kernel(
    const real* gy, const real* x, Py_ssize_t N, Py_ssize_t I, Py_ssize_t O, Update* update, real* scratch) noexcept nogil:
    """Take the weights' step with their gradient, a band of rows at a time, while it is in cache."""
    update.taken = 1
    product_by_bands(O, I, N, gy, 1, O, x, I, 1, take_floats if real is float else take_doubles, update, scratch)


cdef void take_floats(void* update, Py_ssize_t start, Py_ssize_t n, const void* g) noexcept nogil:
    take_part(<Update*>update, start, n, <const float*>g)


cdef void take_doubles(void* update, Py_ssize_t start, Py_ssize_t n, const void* g) noexcept nogil:
    take_part(<Update*>update, start, n, <const double*>g)


cdef void backward_of_row(
    const real* gy, const real* x, const real* W, Py_ssize_t I, Py_ssize_t O, bint accumulate, real* gW, real* gb,
    real* gx) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    entries(table, gy).backward_of_row(gy, x, W, I, O, accumulate, gW, gb, gx)


cdef void sum_rows(const real* gy, Py_ssize_t N, Py_ssize_t O, real* gb) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    entries(table, gy).add_rows(gy, N, O, gb)


def linear_forward(cnp.ndarray x not None, cnp.ndarray W not None, cnp.ndarray b, cnp.ndarray y not None):
    """y = x W^T + b, over the last axis of x."""
    cdef Py_ssize_t O = W.shape[0], I = W.shape[1], N = cnp.PyArray_SIZE(x) // I
    cdef void* scratch = scratch_for(gemm_scratch(N, O, I) * cnp.PyArray_ITEMSIZE(x))
    dispatch(
        floats(x), linear_forward_kernel[float], linear_forward_kernel[double], data(x), data(W), data(b), N, I, O, 0, 0, 0,
        data(y), untyped(scratch))


def linear_backward(
    cnp.ndarray gy not None, cnp.ndarray x not None, cnp.ndarray W not None, bint accumulate, cnp.ndarray gx, cnp.ndarray gW,
    cnp.ndarray gb,
):
    """gx = gy W, gW = gy^T x [+ gW], gb = the sum of gy's rows [+ gb]; each may be None."""
    cdef Py_ssize_t O = W.shape[0], I = W.shape[1], N = cnp.PyArray_SIZE(x) // I
    cdef void* scratch = scratch_for(linear_scratch(N, I, O) * cnp.PyArray_ITEMSIZE(x))
    dispatch(
        floats(x), linear_backward_kernel[float], linear_backward_kernel[double], data(gy), data(x), data(W), N, I, O, accumulate,
        data(gW), data(gb), data(gx), untyped(scratch))


# Rows of a sample, inputs, outputs.
cdef struct LinearAttributes:
    Py_ssize_t rows, I, O


def _attributes(dict fields):
    cdef LinearAttributes attributes = fields
    return (<char*>&attributes)[:sizeof(attributes)]


cdef Py_ssize_t scratch_of(const Operation* op, Py_ssize_t N, Py_ssize_t itemsize, void* memory) noexcept nogil:
    cdef const LinearAttributes* a = <const LinearAttributes*>op.attributes
    return linear_scratch(a.rows * N, a.I, a.O)


cdef void forward(const Operation* op, const Batch* batch, real* scratch) noexcept nogil:
    cdef const LinearAttributes* a = <const LinearAttributes*>op.attributes
    linear_forward_kernel(
        <const real*>place(&op.x, batch), <const real*>place(op.parameters, batch), <const real*>place(op.parameters + 1, batch),
        a.rows * batch.N, a.I, a.O, <int>op.activation.code, op.activation.alpha, op.activation.beta,
        <real*>place(&op.y, batch), scratch)


cdef void backward(const Operation* op, const Batch* batch, const Gradients* g, real* scratch) noexcept nogil:
    cdef const LinearAttributes* a = <const LinearAttributes*>op.attributes
    cdef Py_ssize_t N = a.rows * batch.N
    cdef const real* gy = <const real*>g.gy
    cdef const real* x = <const real*>place(&op.x, batch)
    cdef real* gW = <real*>g.parameters[0]
    cdef Update* update = batch.updates[op.number] if batch.steps else NULL
    if update != NULL and step_suits(N, a.I, a.O):
        gW = NULL
    else:
        update = NULL
    linear_backward_kernel(
        gy, x, <const real*>place(op.parameters, batch), N, a.I, a.O, g.accumulate, gW, <real*>g.parameters[1], <real*>g.gx,
        scratch)
    if update != NULL:  # after gx, which is for the weights before
        linear_backward_step_kernel(gy, x, N, a.I, a.O, update, scratch)


cdef OperationKernels kernels
kernels.scratch, kernels.activates_forward = scratch_of, True
kernels.forward_float, kernels.forward_double = forward[float], forward[double]
kernels.backward_float, kernels.backward_double = backward[float], backward[double]
describe(
    Descriptor("linear", _attributes, parameters=("W", "b"), reads="x", in_blocks=True, multiplies=True, activates=True,
               batch_minor="batch_minor_linear", steps=True),
    &kernels)
