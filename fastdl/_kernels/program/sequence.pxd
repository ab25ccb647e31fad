# The program of a traced graph: entries in the order in which they run; see sequence.pyx.
from libc.stdint cimport uint64_t

from fastdl._kernels.descriptor cimport Batch, Objective, Operand, Operation
from fastdl._kernels.node cimport Extent, Node, View
from fastdl._kernels.program.blocks cimport Blocks
from fastdl._kernels.table cimport real

# What an entry runs: a layer's operation forward or backward, a node, a loss forward or backward, a function in Python.
cdef enum:
    FORWARD
    BACKWARD
    NODE
    LOSS
    LOSS_BACKWARD
    PYTHON
    # The next operations forward, backward, or forward, through the loss that is trained on and backward, in blocks of samples; the
    # gradients that the latter has left. Their entries follow, and are left out.
    BLOCKS_FORWARD
    BLOCKS_BACKWARD
    BLOCKS_THROUGH
    BLOCK_GRADIENTS

# Its number among those of its kind, how many of the next entries it stands for, and the samples that a layer or a loss finds in a
# batch; whether these are the batch's, or of no matter.
cdef struct Entry:
    Py_ssize_t what, number, covers
    bint whole
    Extent samples

# A loss and where its value goes, and the sum of losses and what it is divided by, as doubles.
cdef struct Criterion:
    Objective objective
    Operand y, exact

# `backward` is the number of the first entry that only gradients need; from `of_input` on only the gradient of the input needs them.
# `loss` is the value that is trained on; where it is that of `criterion` (else -1), batches count as this one counts. `terms` are
# values of forward whose means over an epoch are wanted. `backward_in_python`: whether a function in Python runs amid backward.
cdef struct Sequence:
    Entry* entries
    Node* nodes
    Criterion* criteria
    const Operation* operations
    Blocks* blocks
    Operand* terms
    Py_ssize_t count, backward, of_input, criterion, term_count, block_count
    bint backward_in_python
    Operand loss

# Elements of scratch that single entries ask for, and blocks, of which so many run at a time.
cdef struct Scratch:
    Py_ssize_t of_entry, of_block, blocks

cdef class EntryList:
    cdef Sequence sequence
    # The functions in Python, PythonCall.
    cdef list calls
    # What the records' addresses point into.
    cdef object records
    cdef View* views

# Entries from `first` to below `last`; the number of one that fails or is in Python, which ends the run, or -1.
cdef Py_ssize_t run_sequence(
    const Sequence* s, Py_ssize_t first, Py_ssize_t last, const Batch* batch, real* scratch) noexcept nogil
# Raise what is asked for to what a batch of N asks for, found with `memory`.
cdef void find_scratch(const Sequence* s, Py_ssize_t N, Py_ssize_t itemsize, void* memory, Scratch* scratch) noexcept nogil
# The number of the first forward entry, from `first` on, that yields what is not finite, fails or is in Python; else -1.
cdef Py_ssize_t first_not_finite_entry(
    const Sequence* s, Py_ssize_t first, const Batch* batch, real* scratch) noexcept nogil
