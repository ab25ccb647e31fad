# An epoch of training in a program; see epoch.pyx.
cimport numpy as cnp
from libc.stdint cimport int64_t, uint64_t

from fastdl._kernels.descriptor cimport Batch, Operand, Update
from fastdl._kernels.program.frame cimport Frame, Pace
from fastdl._kernels.program.sequence cimport Sequence
from fastdl._kernels.table cimport real

# All rows of an input or a target, each of so many bytes: the base by which a batch's are found, and where these are gathered.
cdef struct Input:
    const char* rows
    char* gathered
    Py_ssize_t row, base

# Where a model's output of all rows goes, each of so many bytes.
cdef struct Output:
    char* rows
    Py_ssize_t row
    Operand place

# An epoch under way. `order` may be NULL, and then batches are read where they lie. The mean of its losses is total / count; where
# they are sums, it is total. One that `pauses` does so between backward and each step, which is then `pending`. A batch that has
# `begun` goes on from the entry `at`, which is a function in Python where it `waits`; its loss may be `known`. `failed` is the number
# of an entry that failed, else -1. A step is of `batches`, of which so many have been added up (`added`), with the sum of their
# `weights`, losses (`step_total`) and counts; the step's first one began with `first_done` and `first_call`.
# `terms` are `term_count` sums over the epoch, behind them those over the step, and the batch's values.
cdef struct Epoch:
    Py_ssize_t rows, batch_size, done, steps, samples, failed, at, batches, added, first_done
    int64_t* order
    Input* inputs
    Output* outputs
    double* terms
    Py_ssize_t input_count, output_count, term_count
    double limit_of_values, limit_of_norm, total, count, loss, counts_as, weights, step_total, step_count
    bint sums, steps_in_backward, pauses, pending, begun, waits, known
    uint64_t seed, call, draws, first_call

# `given` is the base of an input and where in the frame's arena a batch of it is gathered, or the place of an output.
cdef int load_input(Input* to, cnp.ndarray array, tuple given, Frame frame) except -1
cdef int load_output(Output* to, cnp.ndarray array, tuple given) except -1

# Python looks for Ctrl-C this often, in seconds.
cdef double PATIENCE

cdef double now() noexcept nogil
# Go back to where the step's first batch began.
cdef void undo_batches(Epoch* e) noexcept nogil
cdef bint run_steps(
    const Sequence* sequence, Update* updates, Py_ssize_t runs, Epoch* e, Batch* batch, Pace* pace,
    real* scratch) noexcept nogil
