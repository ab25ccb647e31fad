# An epoch of training in a program; see epoch.pyx.
from libc.stdint cimport int64_t, uint64_t

from fastdl._kernels.program.blocks cimport Blocks
from fastdl._kernels.program.objective cimport Objective
from fastdl._kernels.program.operation cimport Batch, Operation
from fastdl._kernels.table cimport real
from fastdl._kernels.program.update cimport Update

# An epoch under way. Rows are counted in bytes; `order` may be NULL, and then batches are read where they lie. The mean of its losses
# is total / count; where they are sums, it is total.
cdef struct Epoch:
    Py_ssize_t rows, batch_size, done, steps
    int64_t* order
    const char* x
    const char* t
    char* input
    char* target
    char* outputs
    Py_ssize_t x_row, t_row, output_row
    double limit_of_values, limit_of_norm, total, count, loss
    bint sums
    uint64_t seed, call, draws

cdef double now() noexcept nogil
cdef Batch new_batch(Py_ssize_t N, const void* x, uint64_t seed, uint64_t call) noexcept nogil
cdef bint run_steps(
    const Operation* operations, Py_ssize_t count, const Blocks* blocks, const Objective* objective, Update* updates,
    Py_ssize_t runs, Epoch* e, real* scratch) noexcept nogil
