"""Losses over classes: the negative log-likelihood of a target class, and the cross entropy of scores with a distribution.

Scores x are (N, C, D), targets (N, D) class indices or (N, C, D) probabilities; each kernel works sample by sample.

Targets may change while they are read (another process may write to a mapped file), so each kernel checks an index where it uses it:
the loss of an index that is neither a class nor ignored is NaN, and its gradient 0.
"""

cimport numpy as cnp
from libc.math cimport NAN
from libc.stdint cimport int64_t, uint64_t

from fastdl._kernels.array cimport address, scratch_for
from fastdl._kernels.descriptor cimport Batch, LossDescriptor, LossKernels, Objective, describe_loss, place
from fastdl._kernels.dispatch cimport data, dispatch, floats, untyped
from fastdl._kernels.softmax cimport gather, scatter
from fastdl._kernels.table cimport entries, real, table
from fastdl._kernels.threads cimport FlushDenormals, threads_for, workers

cnp.import_array()

cdef extern from "once.hpp" namespace "fastdl" nogil:
    int64_t read_once(const int64_t* place)

# Samples of a task, whose logarithms are taken together, and what a score costs: an exponential and its share of a row's ends.
cdef enum:
    RUN = 64
    WORK_PER_SCORE = 100


cdef inline bint is_class(int64_t k, Py_ssize_t C) noexcept nogil:
    return <uint64_t>k < <uint64_t>C


cdef void nll_forward_kernel(
    const real* x, const int64_t* target, const real* weight, int64_t ignore_index, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D,
    real* y) noexcept nogil:
    cdef Py_ssize_t n, d
    cdef int64_t k
    for n in range(N):
        for d in range(D):
            k = read_once(target + n * D + d)
            if k == ignore_index:
                y[n * D + d] = 0
            elif is_class(k, C):
                y[n * D + d] = -(weight[k] if weight != NULL else 1) * x[(n * C + k) * D + d]
            else:
                y[n * D + d] = NAN


cdef void nll_backward_kernel(
    const int64_t* target, const real* weight, int64_t ignore_index, const real* gy, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D,
    real* gx) noexcept nogil:
    cdef Py_ssize_t n, d, i
    cdef int64_t k
    for i in range(N * C * D):
        gx[i] = 0
    for n in range(N):
        for d in range(D):
            k = read_once(target + n * D + d)
            if k != ignore_index and is_class(k, C):
                gx[(n * C + k) * D + d] = -(weight[k] if weight != NULL else 1) * gy[n * D + d]


# The probability of a class in the smoothed target: q, or with indices 1 at class k.
cdef inline double smoothed(double q, double label_smoothing, Py_ssize_t C) noexcept nogil:
    return (1 - label_smoothing) * q + label_smoothing / C


cdef inline double loss_of_row(
    const real* x, real top, real log_sum, int64_t k, const real* t, const real* weight, int64_t ignore_index,
    double label_smoothing, Py_ssize_t C, Py_ssize_t D) noexcept nogil:
    """- sum of weight q log p, log p = (x - top) - log_sum; the probabilities in t lie D apart."""
    cdef Py_ssize_t c
    cdef double q, total = 0
    if t == NULL and k == ignore_index:
        return 0
    if t == NULL and not is_class(k, C):
        return NAN
    if t == NULL and label_smoothing == 0:
        return (weight[k] if weight != NULL else 1) * (log_sum - (x[k] - top))
    for c in range(C):
        q = smoothed(t[c * D] if t != NULL else c == k, label_smoothing, C)
        if t != NULL or q != 0:
            total += (weight[c] if weight != NULL else 1) * q * (log_sum - (x[c] - top))
    return total


cdef void forward_of_samples(
    Py_ssize_t task, Py_ssize_t N, const real* x, const int64_t* target, const real* t, const real* weight, int64_t ignore_index,
    double label_smoothing, Py_ssize_t C, real* p, real* y) noexcept nogil:
    """Samples at one place each."""
    cdef FlushDenormals flush
    cdef real top[RUN]
    cdef real log_sum[RUN]
    cdef Py_ssize_t n = task * RUN, rows = min(N - n, <Py_ssize_t>RUN), i
    flush.on()
    entries(table, x).softmax(x + n * C, p + n * C, top, log_sum, rows, C)
    for i in range(rows):
        y[n + i] = <real>loss_of_row(
            x + (n + i) * C, top[i], log_sum[i], read_once(target + n + i) if t == NULL else 0,
            t + (n + i) * C if t != NULL else NULL, weight, ignore_index, label_smoothing, C, 1)


cdef void forward_of_places(
    const real* x, const int64_t* target, const real* t, const real* weight, int64_t ignore_index, double label_smoothing,
    Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, real* p, real* y, real* scratch) noexcept nogil:
    """Samples at several places, whose scores are brought together in scratch."""
    cdef FlushDenormals flush
    cdef Py_ssize_t n, d
    cdef real top, log_sum
    flush.on()
    for n in range(N):
        for d in range(D):
            gather(x + n * C * D + d, C, D, scratch)
            entries(table, x).softmax(scratch, scratch + C, &top, &log_sum, 1, C)
            y[n * D + d] = <real>loss_of_row(
                scratch, top, log_sum, read_once(target + n * D + d) if t == NULL else 0, t + n * C * D + d if t != NULL else NULL,
                weight, ignore_index, label_smoothing, C, D)
            scatter(scratch + C, C, D, p + n * C * D + d)


cdef void cross_entropy_forward_kernel(
    const real* x, const int64_t* target, const real* t, const real* weight, int64_t ignore_index, double label_smoothing,
    Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, real* p, real* y, real* scratch) noexcept nogil:
    """p = softmax(x); y = - sum of weight q log p. `target` or `t` is NULL."""
    if D != 1:
        forward_of_places(x, target, t, weight, ignore_index, label_smoothing, N, C, D, p, y, scratch)
    else:
        workers.run(threads_for(<double>N * C * WORK_PER_SCORE), (N + RUN - 1) // RUN, forward_of_samples[real], N, x, target, t,
                    weight, ignore_index, label_smoothing, C, p, y)


cdef inline void scaled(const real* p, real factor, Py_ssize_t n, real* y) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = factor * p[i]


cdef real less_others(const real* gx, int64_t k, Py_ssize_t C, Py_ssize_t D) noexcept nogil:
    """Minus what the classes but k add to: (p - 1) gy for a p near 1, of which p - 1 would leave few digits."""
    cdef real total = 0
    cdef Py_ssize_t c
    if D == 1:
        return -(entries(table, gx).sum(gx, k) + entries(table, gx).sum(gx + k + 1, C - k - 1))
    for c in range(C):
        if c != k:
            total += gx[c * D]
    return -total


cdef void backward_of_samples(
    Py_ssize_t task, Py_ssize_t N, const real* p, const int64_t* target, const real* t, const real* weight, int64_t ignore_index,
    double label_smoothing, const real* gy, Py_ssize_t C, Py_ssize_t D, real* gx) noexcept nogil:
    cdef FlushDenormals flush
    cdef Py_ssize_t n, d, c, at
    cdef int64_t k = 0
    cdef double total, g, q
    cdef real factor
    flush.on()
    for n in range(task * RUN, min((task + 1) * RUN, N)):
        for d in range(D):
            if t == NULL:
                k = read_once(target + n * D + d)
            g = gy[n * D + d]
            if t == NULL and (k == ignore_index or not is_class(k, C)):
                for c in range(C):
                    gx[(n * C + c) * D + d] = 0
                continue
            if t == NULL and label_smoothing == 0:
                factor = <real>(g * (weight[k] if weight != NULL else 1))
                if D == 1:
                    scaled(p + n * C, factor, C, gx + n * C)
                else:
                    for c in range(C):
                        gx[(n * C + c) * D + d] = factor * p[(n * C + c) * D + d]
                gx[(n * C + k) * D + d] -= factor
                if p[(n * C + k) * D + d] > 0.5:
                    gx[(n * C + k) * D + d] = less_others(gx + n * C * D + d, k, C, D)
                continue
            total = 0
            for c in range(C):
                at = (n * C + c) * D + d
                q = smoothed(t[at] if t != NULL else c == k, label_smoothing, C) * (weight[c] if weight != NULL else 1)
                total += q
            for c in range(C):
                at = (n * C + c) * D + d
                q = smoothed(t[at] if t != NULL else c == k, label_smoothing, C) * (weight[c] if weight != NULL else 1)
                gx[at] = <real>(g * (p[at] * total - q))


cdef void cross_entropy_backward_kernel(
    const real* p, const int64_t* target, const real* t, const real* weight, int64_t ignore_index, double label_smoothing,
    const real* gy, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, real* gx) noexcept nogil:
    """gx = gy (p sum of weight q - weight q), 0 where the target is ignored. `target` or `t` is NULL."""
    workers.run(threads_for(<double>N * C * D * WORK_PER_SCORE), (N + RUN - 1) // RUN, backward_of_samples[real], N, p, target, t,
                weight, ignore_index, label_smoothing, gy, C, D, gx)


def nll_forward(
    cnp.ndarray x not None, cnp.ndarray target not None, cnp.ndarray weight, int64_t ignore_index, cnp.ndarray y not None,
):
    """y = -weight[target] x[target], 0 where the target is ignore_index."""
    cdef Py_ssize_t N = x.shape[0], C = x.shape[1], D = x.shape[2]
    cdef const int64_t* k = <int64_t*>address(target)
    dispatch(
        floats(x), nll_forward_kernel[float], nll_forward_kernel[double], data(x), k, data(weight), ignore_index, N, C, D,
        data(y))


def nll_backward(
    cnp.ndarray target not None, cnp.ndarray weight, int64_t ignore_index, cnp.ndarray gy not None, cnp.ndarray gx not None,
):
    """gx = -weight[target] gy at the target class, 0 elsewhere and where the target is ignore_index."""
    cdef Py_ssize_t N = gx.shape[0], C = gx.shape[1], D = gx.shape[2]
    cdef const int64_t* k = <int64_t*>address(target)
    dispatch(
        floats(gx), nll_backward_kernel[float], nll_backward_kernel[double], k, data(weight), ignore_index, data(gy), N, C, D,
        data(gx))


cdef int forward_door(
    cnp.ndarray x, cnp.ndarray target, cnp.ndarray t, cnp.ndarray weight, int64_t ignore_index, double label_smoothing,
    cnp.ndarray p, cnp.ndarray y) except -1:
    cdef Py_ssize_t N = x.shape[0], C = x.shape[1], D = x.shape[2]
    cdef void* scratch = scratch_for(2 * C * cnp.PyArray_ITEMSIZE(x))
    dispatch(
        floats(x), cross_entropy_forward_kernel[float], cross_entropy_forward_kernel[double], data(x),
        <int64_t*>address(target), data(t), data(weight), ignore_index, label_smoothing, N, C, D, data(p), data(y),
        untyped(scratch))
    return 0


cdef int backward_door(
    cnp.ndarray p, cnp.ndarray target, cnp.ndarray t, cnp.ndarray weight, int64_t ignore_index, double label_smoothing,
    cnp.ndarray gy, cnp.ndarray gx) except -1:
    cdef Py_ssize_t N = p.shape[0], C = p.shape[1], D = p.shape[2]
    dispatch(
        floats(p), cross_entropy_backward_kernel[float], cross_entropy_backward_kernel[double], data(p),
        <int64_t*>address(target), data(t), data(weight), ignore_index, label_smoothing, data(gy), N, C, D, data(gx))
    return 0


def cross_entropy_forward(
    cnp.ndarray x not None, cnp.ndarray target not None, cnp.ndarray weight, int64_t ignore_index, double label_smoothing,
    cnp.ndarray p not None, cnp.ndarray y not None,
):
    """p = softmax(x); y = - sum of weight q log p, q the target class smoothed; 0 where the target is ignore_index."""
    forward_door(x, target, None, weight, ignore_index, label_smoothing, p, y)


def cross_entropy_backward(
    cnp.ndarray p not None, cnp.ndarray target not None, cnp.ndarray weight, int64_t ignore_index, double label_smoothing,
    cnp.ndarray gy not None, cnp.ndarray gx not None,
):
    """gx = gy (p sum of weight q - weight q), 0 where the target is ignore_index."""
    backward_door(p, target, None, weight, ignore_index, label_smoothing, gy, gx)


def cross_entropy_probabilities_forward(
    cnp.ndarray x not None, cnp.ndarray t not None, cnp.ndarray weight, double label_smoothing, cnp.ndarray p not None,
    cnp.ndarray y not None,
):
    """p = softmax(x); y = - sum of weight q log p, q the probabilities t smoothed."""
    forward_door(x, None, t, weight, 0, label_smoothing, p, y)


def cross_entropy_probabilities_backward(
    cnp.ndarray p not None, cnp.ndarray t not None, cnp.ndarray weight, double label_smoothing, cnp.ndarray gy not None,
    cnp.ndarray gx not None,
):
    """gx = gy (p sum of weight q - weight q)."""
    backward_door(p, None, t, weight, 0, label_smoothing, gy, gx)


# C classes at D places of a sample.
cdef struct ClassLossAttributes:
    Py_ssize_t C, D, ignore_index
    double label_smoothing


def _attributes(dict fields):
    cdef ClassLossAttributes attributes = fields
    return (<char*>&attributes)[:sizeof(attributes)]


cdef Py_ssize_t scratch_of(const Objective* o) noexcept nogil:
    return 2 * (<const ClassLossAttributes*>o.attributes).C


cdef double divisor_of_classes(const Objective* o, const Batch* batch, real* _) noexcept nogil:
    cdef const ClassLossAttributes* a = <const ClassLossAttributes*>o.attributes
    cdef const int64_t* target = <const int64_t*>place(&o.target, batch)
    cdef const real* weight = <const real*>place(&o.weight, batch)
    cdef Py_ssize_t i
    cdef int64_t k
    cdef double total = 0
    for i in range(a.D * batch.N):
        k = read_once(target + i)
        if k != a.ignore_index and is_class(k, a.C):
            total += weight[k] if weight != NULL else 1
    return total


cdef double divisor_of_probabilities(const Objective* o, const Batch* batch, real* _) noexcept nogil:
    return <double>(<const ClassLossAttributes*>o.attributes).D * batch.N


cdef double sum_of(const Objective* o, const Batch* batch, real* _) noexcept nogil:
    cdef const real* losses = <const real*>place(&o.losses, batch)
    cdef Py_ssize_t i
    cdef double total = 0
    for i in range((<const ClassLossAttributes*>o.attributes).D * batch.N):
        total += losses[i]
    return total


cdef real* weights_of_losses(const Objective* o, const Batch* batch, double factor, real* _) noexcept nogil:
    """The gradient with respect to each loss, where the losses stood."""
    cdef real* gy = <real*>place(&o.losses, batch)
    cdef Py_ssize_t i
    for i in range((<const ClassLossAttributes*>o.attributes).D * batch.N):
        gy[i] = <real>factor
    return gy


cdef double nll_forward_of(const Objective* o, const Batch* batch, real* scratch) noexcept nogil:
    cdef const ClassLossAttributes* a = <const ClassLossAttributes*>o.attributes
    nll_forward_kernel(
        <const real*>place(&o.x, batch), <const int64_t*>place(&o.target, batch), <const real*>place(&o.weight, batch),
        a.ignore_index, batch.N, a.C, a.D, <real*>place(&o.losses, batch))
    return sum_of(o, batch, scratch)


cdef void nll_backward_of(const Objective* o, const Batch* batch, double factor, real* scratch) noexcept nogil:
    cdef const ClassLossAttributes* a = <const ClassLossAttributes*>o.attributes
    nll_backward_kernel(
        <const int64_t*>place(&o.target, batch), <const real*>place(&o.weight, batch), a.ignore_index,
        <const real*>weights_of_losses(o, batch, factor, scratch), batch.N, a.C, a.D, <real*>place(&o.gx, batch))


cdef double forward_of_classes(const Objective* o, const Batch* batch, real* scratch) noexcept nogil:
    cdef const ClassLossAttributes* a = <const ClassLossAttributes*>o.attributes
    cross_entropy_forward_kernel(
        <const real*>place(&o.x, batch), <const int64_t*>place(&o.target, batch), <const real*>NULL,
        <const real*>place(&o.weight, batch), a.ignore_index, a.label_smoothing, batch.N, a.C, a.D,
        <real*>place(&o.saved, batch), <real*>place(&o.losses, batch), scratch)
    return sum_of(o, batch, scratch)


cdef void backward_of_classes(const Objective* o, const Batch* batch, double factor, real* scratch) noexcept nogil:
    cdef const ClassLossAttributes* a = <const ClassLossAttributes*>o.attributes
    cross_entropy_backward_kernel(
        <const real*>place(&o.saved, batch), <const int64_t*>place(&o.target, batch), <const real*>NULL,
        <const real*>place(&o.weight, batch), a.ignore_index, a.label_smoothing,
        <const real*>weights_of_losses(o, batch, factor, scratch), batch.N, a.C, a.D, <real*>place(&o.gx, batch))


cdef double forward_of_probabilities(const Objective* o, const Batch* batch, real* scratch) noexcept nogil:
    cdef const ClassLossAttributes* a = <const ClassLossAttributes*>o.attributes
    cross_entropy_forward_kernel(
        <const real*>place(&o.x, batch), NULL, <const real*>place(&o.target, batch), <const real*>place(&o.weight, batch), 0,
        a.label_smoothing, batch.N, a.C, a.D, <real*>place(&o.saved, batch), <real*>place(&o.losses, batch), scratch)
    return sum_of(o, batch, scratch)


cdef void backward_of_probabilities(const Objective* o, const Batch* batch, double factor, real* scratch) noexcept nogil:
    cdef const ClassLossAttributes* a = <const ClassLossAttributes*>o.attributes
    cross_entropy_backward_kernel(
        <const real*>place(&o.saved, batch), NULL, <const real*>place(&o.target, batch), <const real*>place(&o.weight, batch), 0,
        a.label_smoothing, <const real*>weights_of_losses(o, batch, factor, scratch), batch.N, a.C, a.D,
        <real*>place(&o.gx, batch))


cdef LossKernels kernels
kernels.scratch, kernels.counts_by_divisor = scratch_of, True
kernels.divisor_float, kernels.divisor_double = divisor_of_classes[float], divisor_of_classes[double]
kernels.forward_float, kernels.forward_double = nll_forward_of[float], nll_forward_of[double]
kernels.backward_float, kernels.backward_double = nll_backward_of[float], nll_backward_of[double]
describe_loss(LossDescriptor("nll", _attributes), &kernels)
kernels.forward_float, kernels.forward_double = forward_of_classes[float], forward_of_classes[double]
kernels.backward_float, kernels.backward_double = backward_of_classes[float], backward_of_classes[double]
describe_loss(LossDescriptor("cross_entropy", _attributes), &kernels)
kernels.divisor_float, kernels.divisor_double = divisor_of_probabilities[float], divisor_of_probabilities[double]
kernels.forward_float, kernels.forward_double = forward_of_probabilities[float], forward_of_probabilities[double]
kernels.backward_float, kernels.backward_double = backward_of_probabilities[float], backward_of_probabilities[double]
describe_loss(LossDescriptor("cross_entropy_probabilities", _attributes), &kernels)
