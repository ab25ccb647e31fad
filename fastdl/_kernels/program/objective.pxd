# The loss at the end of a program and its gradient; see objective.pyx.
from fastdl._kernels.table cimport real

cdef enum LossKind:
    ELEMENTWISE
    NLL
    CROSS_ENTROPY
    CROSS_ENTROPY_OF_PROBABILITIES

# Addresses and sizes as in an Operation: `size` elements of x a sample, C classes at D places. The weights of elements are those of a
# sample, over and over.
cdef struct Objective:
    Py_ssize_t kind, code
    Py_ssize_t x, gx, kept, losses, weight, pos_weight
    Py_ssize_t size, C, D, ignore_index
    # "mean" divides by what counts, "sum" by one, "batchmean" by the samples.
    Py_ssize_t mean, batchmean
    double delta, label_smoothing, low, high

# What the sum of a batch's losses is divided by.
cdef double objective_divisor(const Objective* o, const void* target, Py_ssize_t N, real* _) noexcept nogil
# How much the loss of a batch counts among those of an epoch: what a mean over classes is divided by, else the samples.
cdef double objective_count(const Objective* o, double divisor, Py_ssize_t N) noexcept nogil
# The sum of the losses of N samples from `first` on, NaN where it cannot be taken (outputs outside of [low, high]); their gradients,
# each sum divided by the divisor.
cdef double objective_forward(
    const Objective* o, const void* target, Py_ssize_t first, Py_ssize_t N, real* scratch) noexcept nogil
cdef void objective_backward(
    const Objective* o, const void* target, Py_ssize_t first, Py_ssize_t N, double divisor, real* _) noexcept nogil
