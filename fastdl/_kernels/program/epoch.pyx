"""The steps of an epoch: a batch gathered, its operations forward, the loss, backward, clipping and the optimizer's step."""

from cython.parallel cimport prange
from libc.math cimport isfinite
from libc.string cimport memcpy
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from fastdl._kernels.descriptor cimport INPUT, TARGET, place
from fastdl._kernels.optim cimport take_step
from fastdl._kernels.program.blocks cimport add_gradients, run_blocks, run_through_blocks
from fastdl._kernels.program.objective cimport objective_backward, objective_count, objective_divisor, objective_forward
from fastdl._kernels.program.operation cimport backward_operation, forward_operation
from fastdl._kernels.program.update cimport clip_norm, clip_values
from fastdl._kernels.threads cimport FlushDenormals, threads_for

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


cdef bint run_steps(
    const Operation* operations, Py_ssize_t count, const Blocks* blocks, const Objective* objective, Update* updates,
    Py_ssize_t runs, Epoch* e, Batch* batch, real* scratch) noexcept nogil:
    """Steps until the epoch's end, the patience's end, a pause before a step, or what is not finite (False).

    The step of such a loss is not taken; that of such a gradient is, for it is found while stepping.
    """
    cdef double start = now()
    cdef Py_ssize_t look = 1, since = 0
    cdef FlushDenormals flush
    flush.on()  # so that kernels find it done
    while e.done < e.rows:
        if not e.pending:
            if not run_batch(operations, count, blocks, objective, e, batch, scratch):
                return False
            e.pending = True
            if e.pauses:
                return True
        e.pending = False
        if not finish_step(objective, updates, runs, e, scratch):
            return False
        since += 1
        if since >= look:  # reading the clock takes a while, compared with the smallest steps
            since = 0
            if now() - start > PATIENCE:
                return True
            look = min(2 * look, <Py_ssize_t>64)
    return True


cdef bint run_batch(
    const Operation* operations, Py_ssize_t count, const Blocks* blocks, const Objective* objective, Epoch* e, Batch* batch,
    real* scratch) noexcept nogil:
    """The next batch forward and backward; False, and only forward, where its loss is not finite."""
    cdef double total
    cdef Py_ssize_t i
    batch.N, batch.call = min(e.batch_size, e.rows - e.done), e.call
    batch.bases[INPUT] = <char*>e.x + e.done * e.x_row
    batch.bases[TARGET] = <char*>e.t + e.done * e.t_row
    # A call leaves the gradients of its last step to whoever asks for them.
    batch.steps = e.steps_in_backward and e.done + batch.N < e.rows
    if e.order != NULL:
        gather(e.x, e.x_row, e.order + e.done, batch.N, e.input)
        gather(e.t, e.t_row, e.order + e.done, batch.N, e.target)
        batch.bases[INPUT], batch.bases[TARGET] = e.input, e.target
    e.samples, e.divisor = batch.N, objective_divisor(objective, batch, scratch)
    if blocks.whole:
        total = run_through_blocks(blocks, operations, objective, e.divisor, batch, scratch)
    else:
        if blocks.count:
            run_blocks(blocks, True, operations, batch, scratch)
        for i in range(blocks.count, count):
            forward_operation(operations + i, batch, scratch)
        total = objective_forward(objective, batch, scratch)
    e.loss = total / e.divisor
    # The mean over nothing, where all targets are ignored, is NaN, but its gradient is 0.
    if not isfinite(e.loss) and not (total == 0 and e.divisor == 0):
        return False
    if e.outputs != NULL:
        memcpy(e.outputs + e.done * e.output_row, place(&objective.x, batch), batch.N * e.output_row)
    if not blocks.whole:
        objective_backward(objective, batch, e.divisor, scratch)
        for i in range(count - 1, blocks.count - 1, -1):
            if operations[i].differentiated:
                backward_operation(operations + i, batch, scratch)
        if blocks.count:
            run_blocks(blocks, False, operations, batch, scratch)
    add_gradients(blocks, operations, batch, scratch)
    return True


cdef bint finish_step(
    const Objective* objective, Update* updates, Py_ssize_t runs, Epoch* e, real* _) noexcept nogil:
    """Clip the gradients of a batch and step; whether they were finite."""
    cdef bint finite
    cdef double counted
    if e.limit_of_values > 0:
        clip_values(updates, runs, e.limit_of_values, _)
    if e.limit_of_norm > 0:
        clip_norm(updates, runs, e.limit_of_norm, _)
    finite = take_step(updates, runs, _)
    counted = objective_count(objective, e.divisor, e.samples)
    if counted != 0:
        e.total += e.loss if e.sums else e.loss * counted
        e.count += counted
    e.call += e.draws
    e.done += e.samples
    e.steps += 1
    return finite
