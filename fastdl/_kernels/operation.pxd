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

# Addresses are numbers, so that Python can write them; 0 is none, as an x the batch itself, as a y the result.
# Sizes are those of one sample; a batch of N has N times as many elements.
cdef struct Operation:
    Py_ssize_t kind
    Py_ssize_t x, y, x_size, y_size
    # Backward: gy, gx (0 where nobody wants it), and where gx is added to, when x has another gradient already.
    Py_ssize_t differentiated, gy, gx, total
    # Parameters and gradients, which are stored or accumulated.
    Py_ssize_t W, b, gW, gb, accumulate
    # The activation, or the one that follows a product in the same operation (0 for none), and the array its derivative reads.
    Py_ssize_t activation, kept
    double alpha, beta
    # Linear: rows of a sample, inputs, outputs. Softmax: rows, I elements, O behind them. Normalization: rows or channels, elements.
    Py_ssize_t rows, I, O
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

# What differs from batch to batch: its size, its x, the result's place, and the words that dropout draws.
cdef struct Batch:
    Py_ssize_t N
    void* x
    void* y
    unsigned long long seed, call

# Elements of scratch for a batch of N, and bytes of memory that finding this out takes.
cdef Py_ssize_t operation_scratch(const Operation* op, Py_ssize_t N, Py_ssize_t itemsize, void* memory) noexcept nogil
cdef Py_ssize_t planning_memory(const Operation* op) noexcept nogil
cdef void forward_operation(const Operation* op, const Batch* batch, real* scratch) noexcept nogil
cdef void backward_operation(const Operation* op, const Batch* batch, real* scratch) noexcept nogil
