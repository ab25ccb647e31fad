"""Optimizer updates and gradient clipping: each one pass over a flat run of parameters.

A choice that holds for the whole run (which sign, decay inside the gradient or apart) becomes a factor here.
"""

cimport numpy as cnp
from libc.float cimport DBL_EPSILON, DBL_MAX, DBL_MIN, FLT_EPSILON, FLT_MIN
from libc.math cimport NAN, fabs, isinf, isnan, sqrt

from fastdl._kernels.array cimport address
from fastdl._kernels.descriptor cimport MOST_STATES, OptimizerDescriptor, OptimizerKernels, Update, describe_optimizer
from fastdl._kernels.dispatch cimport data, dispatch, dispatch_double, floats, untyped
from fastdl._kernels.table cimport AdamFactors, RMSpropFactors, SGDFactors, entries, real, table
from fastdl._kernels.threads cimport FlushDenormals, raise_flag, threads_for, workers

cnp.import_array()

# A run that one thread takes at a time.
cdef enum:
    CHUNK = 16384
    WORK_PER_ELEMENT = 4

# Options, named as those of a group of parameters; what an optimizer of fastdl.optim makes of them is written there.
cdef struct SGDOptions:
    double lr, momentum, dampening, weight_decay
    bint nesterov, maximize, decoupled_weight_decay

cdef struct RMSpropOptions:
    double lr, alpha, eps, weight_decay, momentum
    bint centered, maximize, eps_inside_sqrt, decoupled_weight_decay

cdef struct AdamOptions:
    double lr
    double[2] betas
    double eps, weight_decay
    bint amsgrad, maximize, eps_inside_sqrt, decoupled_weight_decay

# 2^-100 and 2^-1000: factors above are normal numbers of float and double.
cdef double TINY_FLOAT = 7.888609052210118e-31
cdef double TINY_DOUBLE = 9.332636185032189e-302


cdef inline Py_ssize_t chunks_of(Py_ssize_t n) noexcept nogil:
    return (n + CHUNK - 1) // CHUNK


cdef inline int threads_of(Py_ssize_t n) noexcept nogil:
    return threads_for(<double>n * WORK_PER_ELEMENT)


cdef inline real* after(real* p, Py_ssize_t start) noexcept nogil:
    return p + start if p != NULL else NULL


cdef bint sgd_step_kernel(
    const real* g, const void* options, Py_ssize_t step, Py_ssize_t n, real* p, real* const* states) noexcept nogil:
    cdef const SGDOptions* o = <const SGDOptions*>options
    cdef real* momentum_buffer = states[0]
    cdef SGDFactors[real] f
    cdef bint failed = False
    f.lr = <real>o.lr
    f.sign = -1 if o.maximize else 1
    f.decay = 0 if o.decoupled_weight_decay else <real>o.weight_decay
    f.shrink = <real>(1 - o.lr * o.weight_decay) if o.decoupled_weight_decay else 1
    f.keep = 0 if step == 1 else <real>o.momentum
    f.gain = 1 if step == 1 else <real>(1 - o.dampening)
    f.from_velocity = <real>o.momentum if o.nesterov else 1
    f.from_gradient = 1 if o.nesterov else 0
    workers.run(threads_of(n), chunks_of(n), sgd_run[real], g, &f, n, p, momentum_buffer, &failed)
    return not failed


cdef void sgd_run(
    Py_ssize_t task, const real* g, const SGDFactors[real]* f, Py_ssize_t n, real* p, real* velocity, bint* failed) noexcept nogil:
    cdef FlushDenormals flush
    cdef Py_ssize_t first = task * CHUNK
    flush.on()
    if not entries(table, g).sgd(g + first, f[0], p + first, after(velocity, first), min(<Py_ssize_t>CHUNK, n - first)):
        raise_flag(failed)


cdef bint rmsprop_step_kernel(
    const real* g, const void* options, Py_ssize_t step, Py_ssize_t n, real* p, real* const* states) noexcept nogil:
    cdef const RMSpropOptions* o = <const RMSpropOptions*>options
    cdef real* square_avg = states[0]
    cdef real* grad_avg = states[1]
    cdef real* momentum_buffer = states[2]
    cdef RMSpropFactors[real] f
    cdef bint failed = False
    f.lr = <real>o.lr
    f.sign = -1 if o.maximize else 1
    f.decay = 0 if o.decoupled_weight_decay else <real>o.weight_decay
    f.shrink = <real>(1 - o.lr * o.weight_decay) if o.decoupled_weight_decay else 1
    f.keep = <real>o.alpha
    f.gain = <real>(1 - o.alpha)
    f.inner_eps = <real>o.eps if o.eps_inside_sqrt else 0
    f.outer_eps = 0 if o.eps_inside_sqrt else <real>o.eps
    f.momentum = <real>o.momentum
    workers.run(
        threads_of(n), chunks_of(n), rmsprop_run[real], g, &f, n, p, square_avg, grad_avg, momentum_buffer, &failed)
    return not failed


cdef void rmsprop_run(
    Py_ssize_t task, const real* g, const RMSpropFactors[real]* f, Py_ssize_t n, real* p, real* square, real* mean, real* velocity,
    bint* failed) noexcept nogil:
    cdef FlushDenormals flush
    cdef Py_ssize_t first = task * CHUNK
    flush.on()
    if not entries(table, g).rmsprop(
            g + first, f[0], p + first, square + first, after(mean, first), after(velocity, first),
            min(<Py_ssize_t>CHUNK, n - first)):
        raise_flag(failed)


cdef bint adam_step_kernel(
    const real* g, const void* options, Py_ssize_t step, Py_ssize_t n, real* p, real* const* states) noexcept nogil:
    cdef const AdamOptions* o = <const AdamOptions*>options
    cdef real* exp_avg = states[0]
    cdef real* exp_avg_sq = states[1]
    cdef real* max_exp_avg_sq = states[2]
    cdef AdamFactors[real] f
    cdef bint failed = False
    f.sign = -1 if o.maximize else 1
    f.decay = 0 if o.decoupled_weight_decay else <real>o.weight_decay
    f.shrink = <real>(1 - o.lr * o.weight_decay) if o.decoupled_weight_decay else 1
    f.mean_gain = <real>(1 - o.betas[0])
    f.keep = <real>o.betas[1]
    f.gain = <real>(1 - o.betas[1])
    f.inner_eps = <real>o.eps if o.eps_inside_sqrt else 0
    f.outer_eps = 0 if o.eps_inside_sqrt else <real>o.eps
    f.step = <real>(o.lr / (1 - o.betas[0] ** step))
    f.unbias = <real>(1 / (1 - o.betas[1] ** step))
    workers.run(threads_of(n), chunks_of(n), adam_run[real], g, &f, n, p, exp_avg, exp_avg_sq, max_exp_avg_sq, &failed)
    return not failed


cdef void adam_run(
    Py_ssize_t task, const real* g, const AdamFactors[real]* f, Py_ssize_t n, real* p, real* mean, real* square,
    real* largest_square, bint* failed) noexcept nogil:
    cdef FlushDenormals flush
    cdef Py_ssize_t first = task * CHUNK
    flush.on()
    if not entries(table, g).adam(
            g + first, f[0], p + first, mean + first, square + first, after(largest_square, first),
            min(<Py_ssize_t>CHUNK, n - first)):
        raise_flag(failed)


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
    if limit > 0 and factor < least:
        entries(table, g).scale(<real>step, g, n)
        factor = limit / (norm * step)
    entries(table, g).scale(<real>factor, g, n)


cdef void clamp_kernel(double low, double high, Py_ssize_t n, real* g) noexcept nogil:
    entries(table, g).clamp(<real>low, <real>high, g, n)


cdef int take_one(
    OptimizerDescriptor optimizer, cnp.ndarray g, const void* options, Py_ssize_t step, cnp.ndarray p, cnp.ndarray first,
    cnp.ndarray second, cnp.ndarray third) except -1:
    """One step of a whole array; states that there are not are None."""
    cdef void* states[MOST_STATES]
    cdef Py_ssize_t n = cnp.PyArray_SIZE(g)
    states[0], states[1], states[2], states[3] = address(first), address(second), address(third), NULL
    dispatch(
        floats(g), optimizer.kernels.step_float, optimizer.kernels.step_double, data(g), options, step, n,
        data(p), untyped(states))
    return 0


def sgd_step(
    cnp.ndarray g not None, options: Mapping[str, Any], Py_ssize_t step, cnp.ndarray p not None, cnp.ndarray momentum_buffer,
):
    """One step of SGD, with the options of a group; see optim.SGD."""
    cdef SGDOptions o = options
    take_one(SGD, g, &o, step, p, momentum_buffer, None, None)


def rmsprop_step(
    cnp.ndarray g not None, options: Mapping[str, Any], Py_ssize_t step, cnp.ndarray p not None, cnp.ndarray square_avg not None,
    cnp.ndarray grad_avg, cnp.ndarray momentum_buffer,
):
    """One step of RMSprop, with the options of a group; see optim.RMSprop."""
    cdef RMSpropOptions o = options
    take_one(RMSPROP, g, &o, step, p, square_avg, grad_avg, momentum_buffer)


def adam_step(
    cnp.ndarray g not None, options: Mapping[str, Any], Py_ssize_t step, cnp.ndarray p not None, cnp.ndarray exp_avg not None,
    cnp.ndarray exp_avg_sq not None, cnp.ndarray max_exp_avg_sq,
):
    """One step of Adam or, with decoupled decay, AdamW, with the options of a group; see optim.Adam."""
    cdef AdamOptions o = options
    take_one(ADAM, g, &o, step, p, exp_avg, exp_avg_sq, max_exp_avg_sq)


def norm(cnp.ndarray g not None) -> float:
    """The root of the sum of squares, as a Python float."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(g)
    return dispatch_double(floats(g), norm_kernel[float], norm_kernel[double], data(g), n)


def shrink(double limit, double norm, cnp.ndarray g not None):
    """g = g limit / (norm + 1e-6)"""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(g)
    dispatch(floats(g), shrink_kernel[float], shrink_kernel[double], limit, norm, n, data(g))


def clamp(double low, double high, cnp.ndarray g not None):
    """g = g held within [low, high]; a NaN stays."""
    dispatch(floats(g), clamp_kernel[float], clamp_kernel[double], low, high, cnp.PyArray_SIZE(g), data(g))


# A part is stepped in runs that one thread takes without asking for others.
cdef enum:
    RUN = 16384


cdef bint step_of(const Update* u, Py_ssize_t step, Py_ssize_t start, Py_ssize_t n, const real* g) noexcept nogil:
    """Step number `step` of n parameters from `start` on, whose gradients are g; whether these were finite."""
    cdef real* states[MOST_STATES]
    cdef Py_ssize_t i
    for i in range(MOST_STATES):
        states[i] = after(<real*>u.states[i], start)
    if real is float:
        return u.kernels.step_float(g, u.options, step, n, <real*>u.p + start, states)
    else:
        return u.kernels.step_double(g, u.options, step, n, <real*>u.p + start, states)


cdef bint take_step(Update* update, Py_ssize_t count, real* _) noexcept nogil:
    cdef Py_ssize_t i
    cdef Update* u
    cdef bint finite = True
    for i in range(count):
        u = update + i
        u.step += 1
        if u.taken:
            finite = finite and not u.failed
            u.taken = False
        else:
            finite = step_of(u, u.step, 0, u.n, <const real*>u.g) and finite
    return finite


cdef void take_part(Update* u, Py_ssize_t start, Py_ssize_t n, const real* g) noexcept nogil:
    cdef Py_ssize_t done = 0, run
    while done < n:
        run = min(n - done, <Py_ssize_t>RUN)
        if not step_of(u, u.step + 1, start + done, run, g + done):
            raise_flag(&u.failed)  # threads take parts of their own
        done += run


def _sgd_options(options: Mapping[str, Any]):
    cdef SGDOptions o = options
    return (<char*>&o)[:sizeof(o)]


def _rmsprop_options(options: Mapping[str, Any]):
    cdef RMSpropOptions o = options
    return (<char*>&o)[:sizeof(o)]


def _adam_options(options: Mapping[str, Any]):
    cdef AdamOptions o = options
    return (<char*>&o)[:sizeof(o)]


cdef OptimizerDescriptor SGD = OptimizerDescriptor("sgd", _sgd_options)
cdef OptimizerDescriptor RMSPROP = OptimizerDescriptor("rmsprop", _rmsprop_options)
cdef OptimizerDescriptor ADAM = OptimizerDescriptor("adam", _adam_options)
cdef OptimizerKernels kernels
kernels.step_float, kernels.step_double = sgd_step_kernel[float], sgd_step_kernel[double]
describe_optimizer(SGD, &kernels)
kernels.step_float, kernels.step_double = rmsprop_step_kernel[float], rmsprop_step_kernel[double]
describe_optimizer(RMSPROP, &kernels)
kernels.step_float, kernels.step_double = adam_step_kernel[float], adam_step_kernel[double]
describe_optimizer(ADAM, &kernels)
