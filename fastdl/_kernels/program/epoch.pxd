# An epoch of training in a program; see epoch.pyx.
from libc.stdint cimport int64_t, uint64_t

from fastdl._kernels.descriptor cimport Batch, Objective, Operation, Update
from fastdl._kernels.program.blocks cimport Blocks
from fastdl._kernels.table cimport real

# An epoch under way. Rows are counted in bytes; `order` may be NULL, and then batches are read where they lie. The mean of its losses
# is total / count; where they are sums, it is total. One that `pauses` does so between backward and each step, which is then
# `pending`.
cdef struct Epoch:
    Py_ssize_t rows, batch_size, done, steps, samples
    int64_t* order
    const char* x
    const char* t
    char* input
    char* target
    char* outputs
    Py_ssize_t x_row, t_row, output_row
    double limit_of_values, limit_of_norm, total, count, loss, divisor
    bint sums, steps_in_backward, pauses, pending
    uint64_t seed, call, draws

cdef double now() noexcept nogil
cdef bint run_steps(
    const Operation* operations, Py_ssize_t count, const Blocks* blocks, const Objective* objective, Update* updates,
    Py_ssize_t runs, Epoch* e, Batch* batch, real* scratch) noexcept nogil
