# A batch cut into blocks of samples that go through the first operations one block after the other; see blocks.pyx.
from fastdl._kernels.operation cimport Batch, Operation
from fastdl._kernels.table cimport real

# The operations that go in blocks: how many, samples of a block, whether it is for one thread only, elements of their parameters'
# gradients, bytes of memory for what lives within a block, and elements of scratch for one block at a time.
cdef struct Blocks:
    Py_ssize_t count, size, lone, sums, memory, own

# Elements of scratch for batches of N and a `last` one of no more; sets `own` to what these ask for.
cdef Py_ssize_t blocks_scratch(
    Blocks* blocks, const Operation* operations, Py_ssize_t N, Py_ssize_t last, Py_ssize_t itemsize, void* memory) noexcept nogil
cdef void run_blocks(
    const Blocks* blocks, bint forward, const Operation* operations, const Batch* batch, real* scratch) noexcept nogil
