"""A batch cut into blocks of samples that go through several operations before the next block comes.

What a block leaves stays in a cache until the next operation reads it, and threads meet once, not at every operation. That is
possible where samples do not meet either: products of rows, convolutions, pooling, activations, dropout. The cut depends on the plan
only; each block sums its own gradients of the parameters, and these are added up in the blocks' order: threads do not change a bit.

Scratch: for each thread what lives within a block, and an operation's. The gradients of all blocks are in the arena: for each
parameter those of block 0, 1, ...
"""

from libc.math cimport INFINITY, isfinite
from libc.string cimport memset

from fastdl._kernels.descriptor cimport BLOCK, MOST_PARAMETERS, place
from fastdl._kernels.program.objective cimport objective_backward, objective_forward, objective_scratch
from fastdl._kernels.program.operation cimport (
    backward_operation, finite_output, forward_operation, operation_scratch,
)
from fastdl._kernels.round_up cimport round_up
from fastdl._kernels.table cimport entries, table
from fastdl._kernels.threads cimport FlushDenormals, hold_threads, threads_for, workers

# A line of cache between what two threads write.
cdef enum:
    LINE = 16


cdef Py_ssize_t blocks_of(const Blocks* blocks, Py_ssize_t N) noexcept nogil:
    return (N + blocks.size - 1) // blocks.size


cdef int at_once(const Blocks* blocks, Py_ssize_t N) noexcept nogil:
    """How many blocks go at a time, each by one thread; one, by all threads, where more of them than blocks may share it."""
    cdef int threads = threads_for(INFINITY)
    cdef Py_ssize_t count = blocks_of(blocks, N)
    return <int>min(<Py_ssize_t>threads, count) if threads <= count or blocks.lone else 1


cdef Py_ssize_t block_scratch(
    const Blocks* blocks, const Operation* operations, const Objective* objective, Py_ssize_t N, Py_ssize_t itemsize,
    void* memory) noexcept nogil:
    cdef int threads = hold_threads(1 if at_once(blocks, N) > 1 else threads_for(INFINITY))
    cdef Py_ssize_t i, most = 0
    for i in range(blocks.count):
        most = max(most, operation_scratch(operations + i, min(blocks.size, N), itemsize, memory))
        most = max(most, operation_scratch(operations + i, N % blocks.size, itemsize, memory))
    hold_threads(threads)
    if blocks.criterion >= 0:
        most = max(most, objective_scratch(objective))
    # Whole cache lines, and one between them and the next.
    return blocks.memory // itemsize + round_up(most + LINE, LINE)


cdef void run_blocks(
    const Blocks* blocks, bint forward, const Operation* operations, const Batch* batch, real* scratch) noexcept nogil:
    cdef Py_ssize_t block
    cdef int many = at_once(blocks, batch.N)
    if many > 1 or blocks.lone:
        workers.run_numbered(
            many, blocks_of(blocks, batch.N), block_by_one_thread[real], blocks, forward, operations, batch, scratch)
    else:
        for block in range(blocks_of(blocks, batch.N)):
            run_block(block, blocks, forward, operations, batch, scratch)


cdef void block_by_one_thread(
    Py_ssize_t block, int thread, const Blocks* blocks, bint forward, const Operation* operations, const Batch* batch,
    real* scratch) noexcept nogil:
    cdef int threads = hold_threads(1)
    run_block(block, blocks, forward, operations, batch, scratch + thread * batch.block_scratch)
    hold_threads(threads)


cdef void run_block(
    Py_ssize_t block, const Blocks* blocks, bint forward, const Operation* operations, const Batch* batch,
    real* scratch) noexcept nogil:
    cdef FlushDenormals flush
    cdef Batch own = part_of(block, blocks, batch, scratch)
    cdef Py_ssize_t i
    flush.on()
    own.sums, own.block, own.blocks = place(&blocks.gradients, batch), block, blocks_of(blocks, batch.N)
    scratch += blocks.memory // <Py_ssize_t>sizeof(real)
    for i in range(blocks.count):
        if forward:
            forward_operation(operations + i, &own, scratch)
        elif operations[blocks.count - 1 - i].differentiated:
            backward_operation(operations + blocks.count - 1 - i, &own, scratch)


cdef inline Batch part_of(Py_ssize_t block, const Blocks* blocks, const Batch* batch, real* memory) noexcept nogil:
    """The samples of one block, and the memory of what lives within it."""
    cdef Batch own = batch[0]
    own.first, own.N = block * blocks.size, min(blocks.size, batch.N - block * blocks.size)
    own.bases[BLOCK] = <char*>memory
    return own


cdef Py_ssize_t first_not_finite_in_blocks(
    const Blocks* blocks, const Operation* operations, const Batch* batch, real* scratch) noexcept nogil:
    cdef Py_ssize_t block, i, found = blocks.count
    cdef Batch own
    for block in range(blocks_of(blocks, batch.N)):
        own = part_of(block, blocks, batch, scratch)
        for i in range(found):
            forward_operation(operations + i, &own, scratch + blocks.memory // <Py_ssize_t>sizeof(real))
            if not finite_output(operations + i, &own, scratch):
                found = i
                break
    return found


cdef double run_through_blocks(
    const Blocks* blocks, const Operation* operations, const Objective* objective, double divisor, const Batch* batch,
    real* scratch) noexcept nogil:
    cdef Py_ssize_t count = blocks_of(blocks, batch.N), block
    cdef double* losses = <double*>place(&blocks.losses, batch)
    cdef double total = 0
    workers.run_numbered(
        at_once(blocks, batch.N), count, block_through[real], blocks, operations, objective, divisor, batch, scratch, losses)
    for block in range(count):
        total = total + losses[block]
    return total


cdef void block_through(
    Py_ssize_t block, int thread, const Blocks* blocks, const Operation* operations, const Objective* objective, double divisor,
    const Batch* batch, real* all_scratch, double* losses) noexcept nogil:
    """One thread takes a block forward, through the loss and, where this is finite, backward."""
    cdef real* scratch = all_scratch + thread * batch.block_scratch
    cdef Batch own = part_of(block, blocks, batch, scratch)
    cdef real* beyond = scratch + blocks.memory // <Py_ssize_t>sizeof(real)
    cdef int threads = hold_threads(1)
    run_block(block, blocks, True, operations, batch, scratch)
    losses[block] = objective_forward(objective, &own, beyond)
    if isfinite(losses[block]):
        objective_backward(objective, &own, divisor, beyond)
        run_block(block, blocks, False, operations, batch, scratch)
    hold_threads(threads)


cdef void add_gradients(const Blocks* blocks, const Operation* operations, const Batch* batch, real* _) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(blocks.count - 1, -1, -1):
        add_sums(operations + i, blocks_of(blocks, batch.N), batch, <real*>place(&blocks.gradients, batch))


cdef void add_sums(const Operation* op, Py_ssize_t count, const Batch* batch, const real* sums) noexcept nogil:
    """The gradients of one operation's parameters, from those of the blocks."""
    cdef const real* own = sums + op.sums * count
    cdef real* gradient
    cdef Py_ssize_t i
    for i in range(MOST_PARAMETERS):
        gradient = <real*>place(op.gradients + i, batch)
        if gradient != NULL:
            add_rows(own, count, op.sizes[i], batch.accumulates[op.number], gradient)
        own += count * op.sizes[i]


cdef void add_rows(const real* rows, Py_ssize_t count, Py_ssize_t n, bint accumulate, real* total) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    if not accumulate:
        memset(total, 0, n * sizeof(real))
    entries(table, rows).add_rows(rows, count, n, total)
