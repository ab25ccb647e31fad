"""What a program strives for: the loss of its output, forward beside backward."""

from libc.math cimport NAN
from libc.stdint cimport int64_t

from fastdl._kernels.cross_entropy cimport (
    cross_entropy_backward_kernel, cross_entropy_forward_kernel, nll_backward_kernel, nll_forward_kernel,
)
from fastdl._kernels.loss cimport loss_backward_kernel, loss_sum_kernel
from fastdl._kernels.table cimport real


cdef double divisor(const Objective* o, const int64_t* target, Py_ssize_t N, const real* weight) noexcept nogil:
    """What the sum of a batch's losses is divided by."""
    cdef Py_ssize_t i
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
        if target[i] != o.ignore_index:
            total += weight[target[i]] if weight != NULL else 1
    return total


cdef double objective_forward(const Objective* o, const void* target, Py_ssize_t N, real* scratch) noexcept nogil:
    cdef const real* x = <const real*>o.x
    cdef const real* t = <const real*>target
    cdef const real* weight = <const real*>o.weight
    cdef const int64_t* k = <const int64_t*>target
    cdef real* losses = <real*>o.losses
    cdef Py_ssize_t i, n = o.size * N
    cdef double total = 0
    if o.kind == ELEMENTWISE:
        if o.low < o.high:
            for i in range(n):
                if x[i] < o.low or x[i] > o.high:
                    return NAN
        total = loss_sum_kernel(x, t, weight, <const real*>o.pos_weight, o.code, o.delta, n)
    else:
        if o.kind == NLL:
            nll_forward_kernel(x, k, weight, o.ignore_index, N, o.C, o.D, losses)
        elif o.kind == CROSS_ENTROPY:
            cross_entropy_forward_kernel(
                x, k, <const real*>NULL, weight, o.ignore_index, o.label_smoothing, N, o.C, o.D, <real*>o.kept, losses, scratch)
        else:
            cross_entropy_forward_kernel(
                x, NULL, t, weight, 0, o.label_smoothing, N, o.C, o.D, <real*>o.kept, losses, scratch)
        for i in range(o.D * N):
            total += losses[i]
    return total / divisor(o, k, N, weight)


cdef void objective_backward(const Objective* o, const void* target, Py_ssize_t N, real* scratch) noexcept nogil:
    cdef const real* t = <const real*>target
    cdef const real* weight = <const real*>o.weight
    cdef const real* kept = <const real*>o.kept
    cdef const int64_t* k = <const int64_t*>target
    cdef real* gx = <real*>o.gx
    cdef real* gy = <real*>o.losses
    cdef double below = divisor(o, k, N, weight), factor = 1 / below if below else 0
    cdef Py_ssize_t i
    if o.kind == ELEMENTWISE:
        loss_backward_kernel(<const real*>o.x, t, weight, <const real*>o.pos_weight, o.code, o.delta, factor, o.size * N, gx)
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
