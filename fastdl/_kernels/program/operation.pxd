# One operation of a program: what a layer computes forward and backward, with its arrays' addresses; see operation.pyx.
from fastdl._kernels.conv cimport Convolution
from fastdl._kernels.table cimport real

cdef enum Kind:
    LINEAR
    CONV
    ACTIVATION
    SOFTMAX
    LOG_SOFTMAX
    MAX_POOL
    AVG_POOL
    ADAPTIVE_AVG_POOL
    BATCH_NORM
    LAYER_NORM
    DROPOUT
    MOVE
    TO_LANES
    FROM_LANES
    LANES_LINEAR

# Addresses are numbers, so that Python can write them; 0 is none, but for x and y, where it is the batch's, as for gy.
# Sizes are those of one sample; a batch of N has N times as many elements.
cdef struct Operation:
    Py_ssize_t kind
    Py_ssize_t x, y, x_size, y_size
    # Backward: gy, gx (0 where nobody wants it, OUTSIDE for the batch's), and where gx is added to when x has another gradient
    # already. `before` is the gradient before the activation that follows: gy itself, where that may be written.
    Py_ssize_t differentiated, gy, gx, total, before
    # Which of x, y and gradients live within a block of samples: sums of the numbers below. Their addresses count from the block's
    # own memory.
    Py_ssize_t own
    # Parameters and gradients, which are stored or accumulated.
    Py_ssize_t W, b, gW, gb, accumulate
    # Where the gradients of a block of samples stand among such sums; see blocks.pyx.
    Py_ssize_t sums
    # The step of W, where one is for W alone: a batch that `steps` takes it in backward, and then gW is not written.
    Py_ssize_t update
    # The activation, or the one that follows in the same operation (0 for none); whether its derivative reads y.
    Py_ssize_t activation, keeps_output
    double alpha, beta
    # Linear: rows of a sample, inputs, outputs. Softmax: rows, I elements, O behind them. Normalization: rows or channels, elements.
    Py_ssize_t rows, I, O
    # One sample in each lane: the length of a row, where x and y are (features, L); else 0.
    Py_ssize_t L
    # Convolution and pooling.
    Convolution s
    Py_ssize_t count_padding, divisor, index
    # Normalization.
    Py_ssize_t training, mean, inverse, running_mean, running_var, batches
    double eps, momentum
    # Dropout: the probability, elements that drop together, the place among the program's draws.
    double p
    Py_ssize_t run, draw
    # Moving `I` elements of each sample: from x_start on in x's, to y_start on in y's; added or stored either way.
    Py_ssize_t x_start, y_start, adds, adds_back

cdef enum:
    OUTSIDE = 1

cdef enum:
    OWN_X = 1
    OWN_Y = 2
    OWN_GY = 4
    OWN_GX = 8
    OWN_TOTAL = 16
    OWN_BEFORE = 32

# What differs from batch to batch: its size, the arrays outside of the arena, and the words that dropout draws. One block of
# `blocks` begins with sample `first`; its gradients of parameters go to `sums`, what lives within it into its own `memory`.
cdef struct Batch:
    Py_ssize_t N, first, block, blocks
    void* sums
    char* memory
    const void* x
    void* y
    const void* gy
    void* gx
    unsigned long long seed, call
    bint steps

# Elements of scratch for a batch of N, and bytes of memory that finding this out takes.
cdef Py_ssize_t operation_scratch(const Operation* op, Py_ssize_t N, Py_ssize_t itemsize, void* memory) noexcept nogil
cdef Py_ssize_t planning_memory(const Operation* op) noexcept nogil
# Elements of the parameters of a product or convolution, 0 of others.
cdef Py_ssize_t size_of_W(const Operation* op) noexcept nogil
cdef Py_ssize_t size_of_b(const Operation* op) noexcept nogil
cdef real* output_of(const Operation* op, const Batch* batch, real* like) noexcept nogil
cdef void forward_operation(const Operation* op, const Batch* batch, real* scratch) noexcept nogil
cdef void backward_operation(const Operation* op, const Batch* batch, real* scratch) noexcept nogil
