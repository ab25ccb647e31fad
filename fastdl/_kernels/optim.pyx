"""Optimizer updates and gradient clipping: each one pass over a flat run of parameters.

A choice that holds for the whole run (which sign, decay inside the gradient or apart) becomes a factor here.
"""

cimport numpy as cnp
from cython.parallel cimport prange
from libc.float cimport DBL_EPSILON, DBL_MAX, DBL_MIN, FLT_EPSILON, FLT_MIN
from libc.math cimport NAN, fabs, isinf, isnan, sqrt

from fastdl._kernels.array cimport address
from fastdl._kernels.table cimport AdamFactors, RMSpropFactors, SGDFactors, entries, real, table
from fastdl._kernels.threads cimport FlushDenormals, threads_for

cnp.import_array()

# A run that one thread takes at a time.
cdef enum:
    CHUNK = 16384
    WORK_PER_ELEMENT = 4

# 2^-100 and 2^-1000: factors above are normal numbers of float and double.
cdef double TINY_FLOAT = 7.888609052210118e-31
cdef double TINY_DOUBLE = 9.332636185032189e-302


cdef inline real* after(real* p, Py_ssize_t start) noexcept nogil:
    return p + start if p != NULL else NULL


cdef bint sgd_step_kernel(
    const real* g, double lr, double momentum, double dampening, double weight_decay, bint nesterov, bint decoupled, bint maximize,
    bint first, Py_ssize_t n, real* p, real* momentum_buffer) noexcept nogil:
    cdef SGDFactors[real] f
    cdef Py_ssize_t chunk, failed = 0
    f.lr = <real>lr
    f.sign = -1 if maximize else 1
    f.decay = 0 if decoupled else <real>weight_decay
    f.shrink = <real>(1 - lr * weight_decay) if decoupled else 1
    f.keep = 0 if first else <real>momentum
    f.gain = 1 if first else <real>(1 - dampening)
    f.from_velocity = <real>momentum if nesterov else 1
    f.from_gradient = 1 if nesterov else 0
    if n <= CHUNK:  # starting a team of one takes longer than the step
        return sgd_run(g, f, n, p, momentum_buffer)
    for chunk in prange((n + CHUNK - 1) // CHUNK, num_threads=threads_for(<double>n * WORK_PER_ELEMENT), schedule="static"):
        failed += not sgd_run(
            g + chunk * CHUNK, f, min(<Py_ssize_t>CHUNK, n - chunk * CHUNK), p + chunk * CHUNK,
            after(momentum_buffer, chunk * CHUNK))
    return failed == 0


cdef bint sgd_run(const real* g, SGDFactors[real] f, Py_ssize_t n, real* p, real* velocity) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    return entries(table, g).sgd(g, f, p, velocity, n)


cdef bint rmsprop_step_kernel(
    const real* g, double lr, double alpha, double eps, double weight_decay, bint decoupled, double momentum, bint maximize,
    bint eps_inside_sqrt, Py_ssize_t n, real* p, real* square_avg, real* grad_avg, real* momentum_buffer) noexcept nogil:
    cdef RMSpropFactors[real] f
    cdef Py_ssize_t chunk, failed = 0
    f.lr = <real>lr
    f.sign = -1 if maximize else 1
    f.decay = 0 if decoupled else <real>weight_decay
    f.shrink = <real>(1 - lr * weight_decay) if decoupled else 1
    f.keep = <real>alpha
    f.gain = <real>(1 - alpha)
    f.inner_eps = <real>eps if eps_inside_sqrt else 0
    f.outer_eps = 0 if eps_inside_sqrt else <real>eps
    f.momentum = <real>momentum
    if n <= CHUNK:
        return rmsprop_run(g, f, n, p, square_avg, grad_avg, momentum_buffer)
    for chunk in prange((n + CHUNK - 1) // CHUNK, num_threads=threads_for(<double>n * WORK_PER_ELEMENT), schedule="static"):
        failed += not rmsprop_run(
            g + chunk * CHUNK, f, min(<Py_ssize_t>CHUNK, n - chunk * CHUNK), p + chunk * CHUNK, square_avg + chunk * CHUNK,
            after(grad_avg, chunk * CHUNK), after(momentum_buffer, chunk * CHUNK))
    return failed == 0


cdef bint rmsprop_run(
    const real* g, RMSpropFactors[real] f, Py_ssize_t n, real* p, real* square, real* mean, real* velocity) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    return entries(table, g).rmsprop(g, f, p, square, mean, velocity, n)


cdef bint adam_step_kernel(
    const real* g, double lr, double beta1, double beta2, double eps, double weight_decay, bint decoupled, bint maximize,
    bint eps_inside_sqrt, Py_ssize_t step, Py_ssize_t n, real* p, real* exp_avg, real* exp_avg_sq,
    real* max_exp_avg_sq) noexcept nogil:
    cdef AdamFactors[real] f
    cdef Py_ssize_t chunk, failed = 0
    f.sign = -1 if maximize else 1
    f.decay = 0 if decoupled else <real>weight_decay
    f.shrink = <real>(1 - lr * weight_decay) if decoupled else 1
    f.mean_gain = <real>(1 - beta1)
    f.keep = <real>beta2
    f.gain = <real>(1 - beta2)
    f.inner_eps = <real>eps if eps_inside_sqrt else 0
    f.outer_eps = 0 if eps_inside_sqrt else <real>eps
    f.step = <real>(lr / (1 - beta1 ** step))
    f.unbias = <real>(1 / (1 - beta2 ** step))
    if n <= CHUNK:
        return adam_run(g, f, n, p, exp_avg, exp_avg_sq, max_exp_avg_sq)
    for chunk in prange((n + CHUNK - 1) // CHUNK, num_threads=threads_for(<double>n * WORK_PER_ELEMENT), schedule="static"):
        failed += not adam_run(
            g + chunk * CHUNK, f, min(<Py_ssize_t>CHUNK, n - chunk * CHUNK), p + chunk * CHUNK, exp_avg + chunk * CHUNK,
            exp_avg_sq + chunk * CHUNK, after(max_exp_avg_sq, chunk * CHUNK))
    return failed == 0


cdef bint adam_run(
    const real* g, AdamFactors[real] f, Py_ssize_t n, real* p, real* mean, real* square, real* largest_square) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    return entries(table, g).adam(g, f, p, mean, square, largest_square, n)


cdef double sum_of_squares(const real* g, Py_ssize_t n) noexcept nogil:
    cdef FlushDenormals flush
    cdef double total = 0
    cdef Py_ssize_t chunk
    flush.on()
    for chunk in range((n + CHUNK - 1) // CHUNK):
        total += entries(table, g).dot(g + chunk * CHUNK, g + chunk * CHUNK, min(<Py_ssize_t>CHUNK, n - chunk * CHUNK))
    return total


cdef double scaled_norm(const real* g, Py_ssize_t n) noexcept nogil:
    """The largest magnitude times the norm of what is divided by it."""
    cdef double largest = 0, total = 0, part
    cdef Py_ssize_t i
    for i in range(n):
        part = fabs(<double>g[i])
        if isnan(part):
            return NAN
        largest = max(largest, part)
    if largest == 0 or isinf(largest):
        return largest
    for i in range(n):
        part = <double>g[i] / largest
        total += part * part
    return largest * sqrt(total)


cdef double norm_kernel(const real* g, Py_ssize_t n) noexcept nogil:
    """The root of the sum of squares, also where these overflow or underflow in their own type."""
    cdef double total = sum_of_squares(g, n)
    # A square that underflows is less than the smallest normal number: beside this total, n of them are rounding.
    cdef double least = n * (<double>FLT_MIN / FLT_EPSILON if sizeof(real) == sizeof(float) else DBL_MIN / DBL_EPSILON)
    if least <= total <= DBL_MAX:
        return sqrt(total)
    return scaled_norm(g, n)


cdef void shrink_kernel(double limit, double norm, Py_ssize_t n, real* g) noexcept nogil:
    """g = g limit / (norm + 1e-6), in two steps where that factor may underflow."""
    cdef double least = TINY_FLOAT if sizeof(real) == sizeof(float) else TINY_DOUBLE
    cdef double factor = limit / (norm + 1e-6), step = sqrt(least)
    if 0 < factor < least:
        entries(table, g).scale(<real>step, g, n)
        factor = limit / (norm * step)
    entries(table, g).scale(<real>factor, g, n)


def sgd_step(
    cnp.ndarray g not None, double lr, double momentum, double dampening, double weight_decay, bint nesterov, bint decoupled,
    bint maximize, bint first, cnp.ndarray p not None, cnp.ndarray momentum_buffer,
):
    """One step of SGD; see optim.SGD."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(g)
    if cnp.PyArray_TYPE(g) == cnp.NPY_FLOAT32:
        sgd_step_kernel(<float*>address(g), lr, momentum, dampening, weight_decay, nesterov, decoupled, maximize, first, n,
                        <float*>address(p), <float*>address(momentum_buffer))
    else:
        sgd_step_kernel(<double*>address(g), lr, momentum, dampening, weight_decay, nesterov, decoupled, maximize, first, n,
                        <double*>address(p), <double*>address(momentum_buffer))


def rmsprop_step(
    cnp.ndarray g not None, double lr, double alpha, double eps, double weight_decay, bint decoupled, double momentum,
    bint maximize, bint eps_inside_sqrt, cnp.ndarray p not None, cnp.ndarray square_avg not None, cnp.ndarray grad_avg,
    cnp.ndarray momentum_buffer,
):
    """One step of RMSprop; see optim.RMSprop."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(g)
    if cnp.PyArray_TYPE(g) == cnp.NPY_FLOAT32:
        rmsprop_step_kernel(<float*>address(g), lr, alpha, eps, weight_decay, decoupled, momentum, maximize, eps_inside_sqrt, n,
                            <float*>address(p), <float*>address(square_avg), <float*>address(grad_avg),
                            <float*>address(momentum_buffer))
    else:
        rmsprop_step_kernel(<double*>address(g), lr, alpha, eps, weight_decay, decoupled, momentum, maximize, eps_inside_sqrt, n,
                            <double*>address(p), <double*>address(square_avg), <double*>address(grad_avg),
                            <double*>address(momentum_buffer))


def adam_step(
    cnp.ndarray g not None, double lr, double beta1, double beta2, double eps, double weight_decay, bint decoupled, bint maximize,
    bint eps_inside_sqrt, Py_ssize_t step, cnp.ndarray p not None, cnp.ndarray exp_avg not None,
    cnp.ndarray exp_avg_sq not None, cnp.ndarray max_exp_avg_sq,
):
    """One step of Adam or, with decoupled decay, AdamW; see optim.Adam."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(g)
    if cnp.PyArray_TYPE(g) == cnp.NPY_FLOAT32:
        adam_step_kernel(<float*>address(g), lr, beta1, beta2, eps, weight_decay, decoupled, maximize, eps_inside_sqrt, step, n,
                         <float*>address(p), <float*>address(exp_avg), <float*>address(exp_avg_sq),
                         <float*>address(max_exp_avg_sq))
    else:
        adam_step_kernel(<double*>address(g), lr, beta1, beta2, eps, weight_decay, decoupled, maximize, eps_inside_sqrt, step, n,
                         <double*>address(p), <double*>address(exp_avg), <double*>address(exp_avg_sq),
                         <double*>address(max_exp_avg_sq))


def norm(cnp.ndarray g not None) -> float:
    """The root of the sum of squares, as a Python float."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(g)
    if cnp.PyArray_TYPE(g) == cnp.NPY_FLOAT32:
        return norm_kernel(<float*>address(g), n)
    return norm_kernel(<double*>address(g), n)


def shrink(double limit, double norm, cnp.ndarray g not None):
    """g = g limit / (norm + 1e-6)"""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(g)
    if cnp.PyArray_TYPE(g) == cnp.NPY_FLOAT32:
        shrink_kernel(limit, norm, n, <float*>address(g))
    else:
        shrink_kernel(limit, norm, n, <double*>address(g))


def clamp(double low, double high, cnp.ndarray g not None):
    """g = g held within [low, high]; a NaN stays."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(g)
    if cnp.PyArray_TYPE(g) == cnp.NPY_FLOAT32:
        entries(table, <float*>address(g)).clamp(<float>low, <float>high, <float*>address(g), n)
    else:
        entries(table, <double*>address(g)).clamp(low, high, <double*>address(g), n)
