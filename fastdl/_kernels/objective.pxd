# The loss at the end of a program and its gradient; see objective.pyx.
from fastdl._kernels.table cimport real

cdef enum LossKind:
    ELEMENTWISE
    NLL
    CROSS_ENTROPY
    CROSS_ENTROPY_OF_PROBABILITIES

# Addresses and sizes as in an Operation: `size` elements of x a sample, C classes at D places.
cdef struct Objective:
    Py_ssize_t kind, code
    Py_ssize_t x, gx, kept, losses, weight, pos_weight
    Py_ssize_t size, C, D, ignore_index
    # "mean" divides by what counts, "sum" by one, "batchmean" by the samples.
    Py_ssize_t mean, batchmean
    double delta, label_smoothing, low, high

# The reduced loss; NaN where it cannot be taken (outputs outside of [low, high]).
cdef double objective_forward(const Objective* o, const void* target, Py_ssize_t N, real* scratch) noexcept nogil
cdef void objective_backward(const Objective* o, const void* target, Py_ssize_t N, real* scratch) noexcept nogil
