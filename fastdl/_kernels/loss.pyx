"""Elementwise losses of x against a target t of the same shape, from the core's table of losses."""

cimport numpy as cnp
from libc.math cimport NAN

from fastdl._kernels.descriptor cimport Batch, LossDescriptor, LossKernels, Objective, describe_loss, place
from fastdl._kernels.dispatch cimport data, dispatch, dispatch_double, floats
from fastdl._kernels.table cimport entries, real, table
from fastdl._kernels.threads cimport FlushDenormals

cnp.import_array()

# Sums are taken run by run, and the runs' sums added in double precision in ascending order. Where a run's sum is infinite, it is taken
# in double precision altogether, so many elements at a time.
cdef enum:
    CHUNK = 4096
    WIDENED = 128

cdef list NAMES = []
cdef int position = 0
while table.loss_names[position] != NULL:
    NAMES.append(table.loss_names[position].decode())
    position += 1
cdef dict CODES = {name: code for code, name in enumerate(NAMES)}


def loss_kinds() -> tuple[str, ...]:
    """Return the names of the elementwise losses."""
    return tuple(NAMES)


cdef int loss_code(str kind) except -1:
    return CODES[kind]


cdef void loss_forward_kernel(
    const real* x, const real* t, const real* weight, const real* pos_weight, int code, double delta, Py_ssize_t n,
    real* y) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    entries(table, x).loss_forward[code](x, t, weight, pos_weight, <real>delta, y, n)


cdef double loss_sum_kernel(
    const real* x, const real* t, const real* weight, const real* pos_weight, int code, double delta, Py_ssize_t n) noexcept nogil:
    cdef FlushDenormals flush
    cdef double total = 0, part
    cdef Py_ssize_t chunk, start, size
    cdef const real* w = NULL
    cdef const real* p = NULL
    flush.on()
    for chunk in range((n + CHUNK - 1) // CHUNK):
        start = chunk * CHUNK
        size = min(n - start, <Py_ssize_t>CHUNK)
        if weight != NULL:
            w = weight + start
        if pos_weight != NULL:
            p = pos_weight + start
        part = entries(table, x).loss_sum[code](x + start, t + start, w, p, <real>delta, size)
        if sizeof(real) == 4 and part - part != 0:
            part = sum_widened(x + start, t + start, w, p, code, delta, size)
        total += part
    return total


cdef double sum_widened(
    const real* x, const real* t, const real* weight, const real* pos_weight, int code, double delta, Py_ssize_t n) noexcept nogil:
    cdef double[4 * WIDENED] memory
    cdef double total = 0
    cdef double* wide_x = memory
    cdef double* wide_t = wide_x + WIDENED
    cdef double* wide_weight = wide_t + WIDENED if weight != NULL else NULL
    cdef double* wide_pos_weight = wide_t + 2 * WIDENED if pos_weight != NULL else NULL
    cdef Py_ssize_t start = 0, i, size
    while start < n:
        size = min(n - start, <Py_ssize_t>WIDENED)
        for i in range(size):
            wide_x[i] = x[start + i]
            wide_t[i] = t[start + i]
            if weight != NULL:
                wide_weight[i] = weight[start + i]
            if pos_weight != NULL:
                wide_pos_weight[i] = pos_weight[start + i]
        total += entries(table, wide_x).loss_sum[code](wide_x, wide_t, wide_weight, wide_pos_weight, delta, size)
        start += size
    return total


cdef void loss_backward_kernel(
    const real* x, const real* t, const real* weight, const real* pos_weight, int code, double delta, double scale, Py_ssize_t n,
    real* gx) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    entries(table, x).loss_backward[code](x, t, weight, pos_weight, <real>delta, <real>scale, gx, n)


def loss_forward(
    cnp.ndarray x not None, cnp.ndarray t not None, cnp.ndarray weight, cnp.ndarray pos_weight, str kind not None, double delta,
    cnp.ndarray y not None,
):
    """y = weight times the loss of each element."""
    cdef int code = loss_code(kind)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
    dispatch(
        floats(x), loss_forward_kernel[float], loss_forward_kernel[double], data(x), data(t), data(weight), data(pos_weight),
        code, delta, n, data(y))


def loss_sum(
    cnp.ndarray x not None, cnp.ndarray t not None, cnp.ndarray weight, cnp.ndarray pos_weight, str kind not None, double delta,
) -> float:
    """The sum of weight times the loss of each element, as a Python float."""
    cdef int code = loss_code(kind)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
    return dispatch_double(
        floats(x), loss_sum_kernel[float], loss_sum_kernel[double], data(x), data(t), data(weight), data(pos_weight), code,
        delta, n)


def loss_backward(
    cnp.ndarray x not None, cnp.ndarray t not None, cnp.ndarray weight, cnp.ndarray pos_weight, str kind not None, double delta,
    double scale, cnp.ndarray gx not None,
):
    """gx = scale times weight times the derivative of the loss with respect to x."""
    cdef int code = loss_code(kind)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
    dispatch(
        floats(x), loss_backward_kernel[float], loss_backward_kernel[double], data(x), data(t), data(weight), data(pos_weight),
        code, delta, scale, n, data(gx))


# Elements of a sample, the loss by its code; where low < high, outputs beyond them have none.
cdef struct ElementwiseAttributes:
    Py_ssize_t size, code
    double delta, low, high


def _attributes(dict fields):
    cdef ElementwiseAttributes attributes = fields
    return (<char*>&attributes)[:sizeof(attributes)]


cdef double divisor(const Objective* o, const Batch* batch, real* _) noexcept nogil:
    return max(<double>(<const ElementwiseAttributes*>o.attributes).size * batch.N, 1)


cdef double forward(const Objective* o, const Batch* batch, real* scratch) noexcept nogil:
    cdef const ElementwiseAttributes* a = <const ElementwiseAttributes*>o.attributes
    cdef const real* x = <const real*>place(&o.x, batch)
    cdef Py_ssize_t i, n = a.size * batch.N
    if a.low < a.high:
        for i in range(n):
            if x[i] < a.low or x[i] > a.high:
                return NAN
    return loss_sum_kernel(
        x, <const real*>place(&o.target, batch), <const real*>place(&o.weight, batch), <const real*>place(&o.pos_weight, batch),
        <int>a.code, a.delta, n)


cdef void backward(const Objective* o, const Batch* batch, double factor, real* scratch) noexcept nogil:
    cdef const ElementwiseAttributes* a = <const ElementwiseAttributes*>o.attributes
    loss_backward_kernel(
        <const real*>place(&o.x, batch), <const real*>place(&o.target, batch), <const real*>place(&o.weight, batch),
        <const real*>place(&o.pos_weight, batch), <int>a.code, a.delta, factor, a.size * batch.N, <real*>place(&o.gx, batch))


cdef LossKernels kernels
kernels.forward_float, kernels.forward_double = forward[float], forward[double]
kernels.backward_float, kernels.backward_double = backward[float], backward[double]
kernels.divisor_float, kernels.divisor_double = divisor[float], divisor[double]
describe_loss(LossDescriptor("elementwise", _attributes), &kernels)
