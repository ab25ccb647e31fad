"""The steps of an epoch: a batch gathered, its operations forward, the loss, backward, clipping and the optimizer's step."""

from cython.parallel cimport prange
from libc.math cimport isfinite
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from fastdl._kernels.program.blocks cimport add_gradients, run_blocks, run_through_blocks
from fastdl._kernels.program.objective cimport objective_backward, objective_count, objective_divisor, objective_forward
from fastdl._kernels.program.operation cimport backward_operation, forward_operation
from fastdl._kernels.threads cimport FlushDenormals, threads_for
from fastdl._kernels.program.update cimport clip_norm, clip_values, take_step

# Python looks for Ctrl-C this often, in seconds.
cdef double PATIENCE = 0.02


cdef double now() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return t.tv_sec + 1e-9 * t.tv_nsec


cdef void gather(const char* rows, Py_ssize_t size, const int64_t* order, Py_ssize_t count, char* to) noexcept nogil:
    """The rows of these numbers, one behind the other."""
    cdef Py_ssize_t i, j
    if size == 8:
        for i in range(count):  # two float32 need not lie as one int64 would
            memcpy(to + 8 * i, rows + 8 * order[i], 8)
    elif size <= 64 and size % 4 == 0:
        for i in range(count):
            for j in range(size // 4):
                (<float*>(to + i * size))[j] = (<const float*>(rows + order[i] * size))[j]
    else:
        for i in prange(count, num_threads=threads_for(<double>count * size), schedule="static"):
            memcpy(to + i * size, rows + order[i] * size, size)


cdef Batch new_batch(Py_ssize_t N, const void* x, uint64_t seed, uint64_t call) noexcept nogil:
    """A whole batch, of which no other array is outside of the arena."""
    cdef Batch batch
    memset(&batch, 0, sizeof(batch))
    batch.N, batch.x, batch.seed, batch.call = N, x, seed, call
    return batch


cdef bint run_steps(
    const Operation* operations, Py_ssize_t count, const Blocks* blocks, const Objective* objective, Update* updates,
    Py_ssize_t runs, Epoch* e, real* scratch) noexcept nogil:
    """Steps until the epoch's end, the patience's end, or what is not finite (False).

    The step of such a loss is not taken; that of such a gradient is, for it is found while stepping.
    """
    cdef double start = now(), divisor, total, counted
    cdef Py_ssize_t i, look = 1, since = 0
    cdef bint finite, clips = e.limit_of_values > 0 or e.limit_of_norm > 0
    cdef const char* t
    cdef Batch batch = new_batch(0, NULL, e.seed, 0)
    cdef FlushDenormals flush
    flush.on()  # so that kernels find it done
    while e.done < e.rows:
        batch.N, batch.call = min(e.batch_size, e.rows - e.done), e.call
        batch.x = e.x + e.done * e.x_row
        # A call leaves the gradients of its last step to whoever asks for them.
        batch.steps = not clips and e.done + batch.N < e.rows
        t = e.t + e.done * e.t_row
        if e.order != NULL:
            gather(e.x, e.x_row, e.order + e.done, batch.N, e.input)
            gather(e.t, e.t_row, e.order + e.done, batch.N, e.target)
            batch.x = e.input
            t = e.target
        divisor = objective_divisor(objective, t, batch.N, scratch)
        if blocks.whole:
            total = run_through_blocks(blocks, operations, objective, t, divisor, &batch, scratch)
        else:
            if blocks.count:
                run_blocks(blocks, True, operations, &batch, scratch)
            for i in range(blocks.count, count):
                forward_operation(operations + i, &batch, scratch)
            total = objective_forward(objective, t, 0, batch.N, scratch)
        e.loss = total / divisor
        # The mean over nothing, where all targets are ignored, is NaN, but its gradient is 0.
        if not isfinite(e.loss) and not (total == 0 and divisor == 0):
            return False
        if e.outputs != NULL:
            memcpy(e.outputs + e.done * e.output_row, <void*>objective.x, batch.N * e.output_row)
        if not blocks.whole:
            objective_backward(objective, t, 0, batch.N, divisor, scratch)
            for i in range(count - 1, blocks.count - 1, -1):
                if operations[i].differentiated:
                    backward_operation(operations + i, &batch, scratch)
            if blocks.count:
                run_blocks(blocks, False, operations, &batch, scratch)
        add_gradients(blocks, operations, &batch, scratch)
        if e.limit_of_values > 0:
            clip_values(updates, runs, e.limit_of_values, scratch)
        if e.limit_of_norm > 0:
            clip_norm(updates, runs, e.limit_of_norm, scratch)
        finite = take_step(updates, runs, scratch)
        counted = objective_count(objective, divisor, batch.N)
        if counted != 0:
            e.total += e.loss if e.sums else e.loss * counted
            e.count += counted
        e.call += e.draws
        e.done += batch.N
        e.steps += 1
        if not finite:
            return False
        since += 1
        if since >= look:  # reading the clock takes a while, compared with the smallest steps
            since = 0
            if now() - start > PATIENCE:
                return True
            look = min(2 * look, <Py_ssize_t>64)
    return True
