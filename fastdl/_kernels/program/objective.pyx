"""What a program strives for: the loss of its output, forward beside backward."""

from libc.math cimport NAN
from libc.stdint cimport int64_t, uint64_t

from fastdl._kernels.cross_entropy cimport (
    cross_entropy_backward_kernel, cross_entropy_forward_kernel, nll_backward_kernel, nll_forward_kernel,
)
from fastdl._kernels.loss cimport loss_backward_kernel, loss_sum_kernel
from fastdl._kernels.table cimport real

cdef extern from "once.hpp" namespace "fastdl" nogil:
    int64_t read_once(const int64_t* place)


cdef double objective_divisor(const Objective* o, const void* target, Py_ssize_t N, real* _) noexcept nogil:
    """What the sum of a batch's losses is divided by."""
    cdef const int64_t* k = <const int64_t*>target
    cdef const real* weight = <const real*>o.weight
    cdef Py_ssize_t i
    cdef int64_t target_class
    cdef double total = 0
    if o.batchmean:
        return N
    if not o.mean:
        return 1
    if o.kind == ELEMENTWISE:
        return max(<double>o.size * N, 1)
    if o.kind == CROSS_ENTROPY_OF_PROBABILITIES:
        return <double>o.D * N
    for i in range(o.D * N):
        target_class = read_once(k + i)
        if target_class != o.ignore_index and <uint64_t>target_class < <uint64_t>o.C:
            total += weight[target_class] if weight != NULL else 1
    return total


cdef double objective_count(const Objective* o, double divisor, Py_ssize_t N) noexcept nogil:
    return divisor if o.mean and o.kind != ELEMENTWISE else N


cdef double objective_forward(
    const Objective* o, const void* target, Py_ssize_t first, Py_ssize_t N, real* scratch) noexcept nogil:
    """The sum of the losses of N samples from `first` on; NaN where there is none."""
    cdef Py_ssize_t start = first * o.size, places = first * o.D, i, n = o.size * N
    cdef const real* x = <const real*>o.x + start
    cdef const real* weight = <const real*>o.weight
    cdef real* kept = <real*>o.kept + start
    cdef real* losses = <real*>o.losses + places
    cdef const int64_t* k = <const int64_t*>target + places
    cdef double total = 0
    if o.kind == ELEMENTWISE:
        if o.low < o.high:
            for i in range(n):
                if x[i] < o.low or x[i] > o.high:
                    return NAN
        return loss_sum_kernel(
            x, <const real*>target + start, weight, <const real*>o.pos_weight, o.code, o.delta, n)
    if o.kind == NLL:
        nll_forward_kernel(x, k, weight, o.ignore_index, N, o.C, o.D, losses)
    elif o.kind == CROSS_ENTROPY:
        cross_entropy_forward_kernel(
            x, k, <const real*>NULL, weight, o.ignore_index, o.label_smoothing, N, o.C, o.D, kept, losses, scratch)
    else:
        cross_entropy_forward_kernel(
            x, NULL, <const real*>target + start, weight, 0, o.label_smoothing, N, o.C, o.D, kept, losses, scratch)
    for i in range(o.D * N):
        total += losses[i]
    return total


cdef void objective_backward(
    const Objective* o, const void* target, Py_ssize_t first, Py_ssize_t N, double divisor, real* _) noexcept nogil:
    """The gradients of N samples from `first` on."""
    cdef Py_ssize_t start = first * o.size, places = first * o.D, i
    cdef const real* t = <const real*>target + start
    cdef const real* weight = <const real*>o.weight
    cdef const real* kept = <const real*>o.kept + start
    cdef const int64_t* k = <const int64_t*>target + places
    cdef real* gx = <real*>o.gx + start
    cdef real* gy = <real*>o.losses + places
    cdef double factor = 1 / divisor if divisor else 0
    if o.kind == ELEMENTWISE:
        loss_backward_kernel(
            <const real*>o.x + start, t, weight, <const real*>o.pos_weight, o.code, o.delta, factor, o.size * N, gx)
        return
    for i in range(o.D * N):
        gy[i] = <real>factor
    if o.kind == NLL:
        nll_backward_kernel(k, weight, o.ignore_index, <const real*>gy, N, o.C, o.D, gx)
    elif o.kind == CROSS_ENTROPY:
        cross_entropy_backward_kernel(
            kept, k, <const real*>NULL, weight, o.ignore_index, o.label_smoothing, <const real*>gy, N, o.C, o.D, gx)
    else:
        cross_entropy_backward_kernel(kept, NULL, t, weight, 0, o.label_smoothing, <const real*>gy, N, o.C, o.D, gx)
