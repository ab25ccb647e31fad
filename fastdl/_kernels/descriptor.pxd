# What an operation, a loss and an optimizer are to a program: the descriptors that their kernels' files state, and the records that
# a plan makes of them. Records are not written after planning; what varies by call is in a Batch.
from libc.stdint cimport uint64_t

from fastdl._kernels.table cimport real

# What an operand's place is counted from. ARRAYS and above number the arrays outside of the program's memory: parameters, their
# gradients, buffers, constants, and what each run is given.
cdef enum:
    NONE
    ARENA
    BLOCK
    ARRAYS

# Bytes from a base; each sample of a batch is `stride` bytes after the one before.
cdef struct Operand:
    Py_ssize_t base, offset, stride

# The most that an operation has of each.
cdef enum:
    MOST_PARAMETERS = 4
    MOST_SAVED = 4
    MOST_BUFFERS = 4

# An activation by its code (0 for none), and whether its derivative reads y.
cdef struct Activation:
    Py_ssize_t code, keeps_output
    double alpha, beta

cdef struct Operation
cdef struct Batch
cdef struct Gradients
cdef struct Objective
cdef struct Update

ctypedef Py_ssize_t (*Elements)(const Operation* op, Py_ssize_t N, Py_ssize_t itemsize, void* memory) noexcept nogil
ctypedef Py_ssize_t (*Bytes)(const Operation* op) noexcept nogil
ctypedef void (*ForwardFloat)(const Operation* op, const Batch* batch, float* scratch) noexcept nogil
ctypedef void (*ForwardDouble)(const Operation* op, const Batch* batch, double* scratch) noexcept nogil
ctypedef void (*BackwardFloat)(const Operation* op, const Batch* batch, const Gradients* g, float* scratch) noexcept nogil
ctypedef void (*BackwardDouble)(const Operation* op, const Batch* batch, const Gradients* g, double* scratch) noexcept nogil

# An operation's C functions. `scratch` is the elements that forward or backward needs for a batch of N, which it finds with
# `memory` of so many bytes; both may be NULL. Some apply the activation that follows themselves.
cdef struct OperationKernels:
    ForwardFloat forward_float
    ForwardDouble forward_double
    BackwardFloat backward_float
    BackwardDouble backward_double
    Elements scratch
    Bytes memory
    bint activates_forward, activates_backward

cdef struct Operation:
    const OperationKernels* kernels
    const void* attributes
    Py_ssize_t number
    # Elements of a sample.
    Py_ssize_t x_size, y_size
    # The length of a row where x or y is batch-minor, (features, length); else 0.
    Py_ssize_t x_length, y_length
    Operand x, y
    # Gradients with respect to y and x, and to y before the activation that follows.
    Operand gy, gx, before
    bint differentiated
    Operand parameters[MOST_PARAMETERS]
    Operand gradients[MOST_PARAMETERS]
    Py_ssize_t sizes[MOST_PARAMETERS]
    Operand saved[MOST_SAVED]
    Operand buffers[MOST_BUFFERS]
    Activation activation
    # Where the gradients of a block of samples stand among such sums; see program/blocks.pyx.
    Py_ssize_t sums

# What differs from batch to batch. One block of `blocks` begins with sample `first`; its gradients of parameters go to `sums`, and
# it has so many elements of scratch.
cdef struct Batch:
    Py_ssize_t N, first, block, blocks, block_scratch
    void* sums
    char* bases[ARRAYS]
    char* const* arrays
    uint64_t seed, call
    # By operation: whether gradients of its parameters are added to, and the step that its backward may take in their place.
    const char* accumulates
    Update** updates
    bint steps

# What a backward reads and writes; NULL where a gradient is not wanted.
cdef struct Gradients:
    const void* gy
    void* gx
    void* parameters[MOST_PARAMETERS]
    bint accumulate

cdef inline char* place(const Operand* operand, const Batch* batch) noexcept nogil:
    """Where an operand stands for a batch or block; NULL where there is none."""
    cdef char* base = batch.bases[operand.base] if operand.base < ARRAYS else batch.arrays[operand.base - ARRAYS]
    return base + operand.offset + batch.first * operand.stride if base != NULL else <char*>NULL

cdef class Descriptor:
    cdef OperationKernels kernels
    cdef readonly str name
    cdef readonly tuple parameters, saved, buffers
    cdef readonly frozenset reads
    cdef readonly bint in_place, in_blocks, convolves, multiplies, activates, omits, maxima, steps
    cdef readonly str batch_minor
    cdef readonly object attributes

cdef int describe(Descriptor descriptor, const OperationKernels* kernels) except -1


ctypedef double (*LossFloat)(const Objective* o, const Batch* batch, float* scratch) noexcept nogil
ctypedef double (*LossDouble)(const Objective* o, const Batch* batch, double* scratch) noexcept nogil
ctypedef void (*LossBackwardFloat)(const Objective* o, const Batch* batch, double factor, float* scratch) noexcept nogil
ctypedef void (*LossBackwardDouble)(const Objective* o, const Batch* batch, double factor, double* scratch) noexcept nogil
ctypedef Py_ssize_t (*LossElements)(const Objective* o) noexcept nogil

# A loss's C functions: the sum of the losses of a batch or block, NaN where it cannot be taken; the gradients of that sum times
# `factor`; what a mean divides by; the elements of scratch.
cdef struct LossKernels:
    LossFloat forward_float
    LossDouble forward_double
    LossBackwardFloat backward_float
    LossBackwardDouble backward_double
    LossFloat divisor_float
    LossDouble divisor_double
    LossElements scratch
    # Whether a batch counts by its divisor, not by its samples, in the mean over several.
    bint counts_by_divisor

# The loss at the end of a program. `saved` is what forward leaves for backward, `losses` those of each sample and place.
cdef struct Objective:
    const LossKernels* kernels
    const void* attributes
    Operand x, gx, target, saved, losses, weight, pos_weight
    # "mean" divides by what counts, "sum" by one, "batchmean" by the samples.
    bint mean, batchmean

cdef class LossDescriptor:
    cdef LossKernels kernels
    cdef readonly str name
    cdef readonly object attributes

cdef int describe_loss(LossDescriptor descriptor, const LossKernels* kernels) except -1


ctypedef bint (*StepFloat)(
    const float* g, const void* options, Py_ssize_t step, Py_ssize_t n, float* p, float* const* states) noexcept nogil
ctypedef bint (*StepDouble)(
    const double* g, const void* options, Py_ssize_t step, Py_ssize_t n, double* p, double* const* states) noexcept nogil

# An optimizer's C functions: one step of n parameters p with gradients g, the number `step` from 1 on; whether all gradients were
# finite.
cdef struct OptimizerKernels:
    StepFloat step_float
    StepDouble step_double

cdef enum:
    MOST_STATES = 4

# A stretch of parameters p with gradient g that one step covers. Where they are the weights of one operation (its number, else -1),
# its backward may take the step part by part, with gradients that are never stored: whether it has `taken` it, and whether any part
# `failed`.
cdef struct Update:
    const OptimizerKernels* kernels
    const void* options
    Py_ssize_t n, step
    char* p
    const char* g
    char* sum
    char* states[MOST_STATES]
    Py_ssize_t operation
    bint taken, failed

cdef class OptimizerDescriptor:
    cdef OptimizerKernels kernels
    cdef readonly str name
    cdef readonly object options

cdef int describe_optimizer(OptimizerDescriptor descriptor, const OptimizerKernels* kernels) except -1
