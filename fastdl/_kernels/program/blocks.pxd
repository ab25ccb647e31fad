# A batch cut into blocks of samples that go through a row of operations one block after the other; see blocks.pyx.
from fastdl._kernels.descriptor cimport Batch, Objective, Operand, Operation
from fastdl._kernels.table cimport real

# Operations that go in blocks: how many, the number of the first, samples of a block, whether it is for one thread only, the number
# of the loss that a block goes through, and backward, before the next comes (-1 for none), elements of their parameters' gradients,
# bytes of memory for what lives within a block; where the gradients and the losses of all blocks are.
cdef struct Blocks:
    Py_ssize_t count, first, size, lone, criterion, sums, memory
    Operand gradients, losses

# The number of the first of these operations that yields what is not finite, or how many they are.
cdef Py_ssize_t first_not_finite_in_blocks(
    const Blocks* blocks, const Operation* operations, const Batch* batch, real* scratch) noexcept nogil
# Elements of scratch for one block of a batch of N at a time, and how many blocks go at a time.
cdef Py_ssize_t block_scratch(
    const Blocks* blocks, const Operation* operations, const Objective* objective, Py_ssize_t N, Py_ssize_t itemsize,
    void* memory) noexcept nogil
cdef int at_once(const Blocks* blocks, Py_ssize_t N) noexcept nogil
# All blocks forward, or backward; or forward, through the loss and backward, which returns the sum of the losses.
cdef void run_blocks(
    const Blocks* blocks, bint forward, const Operation* operations, const Batch* batch, real* scratch) noexcept nogil
cdef double run_through_blocks(
    const Blocks* blocks, const Operation* operations, const Objective* objective, double divisor, const Batch* batch,
    real* scratch) noexcept nogil
# After backward: the gradients of parameters, from those of the blocks.
cdef void add_gradients(const Blocks* blocks, const Operation* operations, const Batch* batch, real* _) noexcept nogil
