# A batch cut into blocks of samples that go through the first operations one block after the other; see blocks.pyx.
from fastdl._kernels.descriptor cimport Batch, Objective, Operation
from fastdl._kernels.table cimport real

# The operations that go in blocks: how many, the number of the first, samples of a block, whether it is for one thread only, whether
# these are all and a block goes through the loss and backward too before the next comes, elements of their parameters' gradients,
# bytes of memory for what lives within a block, the number of that loss or -1, and elements of scratch for one block at a time.
cdef struct Blocks:
    Py_ssize_t count, first, size, lone, whole, sums, memory, criterion, own

# The number of the first of these operations that yields what is not finite, or how many they are.
cdef Py_ssize_t first_not_finite_in_blocks(
    const Blocks* blocks, const Operation* operations, const Batch* batch, real* scratch) noexcept nogil
# Elements of scratch for batches of N and a `last` one of no more; sets `own` to what these ask for.
cdef Py_ssize_t blocks_scratch(
    Blocks* blocks, const Operation* operations, const Objective* objective, Py_ssize_t N, Py_ssize_t last, Py_ssize_t itemsize,
    void* memory) noexcept nogil
# All blocks forward, or backward; or forward, through the loss and backward, which returns the sum of the losses.
cdef void run_blocks(
    const Blocks* blocks, bint forward, const Operation* operations, const Batch* batch, real* scratch) noexcept nogil
cdef double run_through_blocks(
    const Blocks* blocks, const Operation* operations, const Objective* objective, double divisor, const Batch* batch,
    real* scratch) noexcept nogil
# After backward: the gradients of parameters, from those of the blocks.
cdef void add_gradients(
    const Blocks* blocks, const Operation* operations, const Batch* batch, real* scratch) noexcept nogil
