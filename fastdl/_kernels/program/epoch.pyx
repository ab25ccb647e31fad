"""The steps of an epoch: a batch gathered, its operations forward, the loss, backward, clipping and the optimizer's step."""

from libc.math cimport INFINITY, isfinite
from libc.string cimport memcpy
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from fastdl._kernels.array cimport address
from fastdl._kernels.descriptor cimport ARRAYS, place
from fastdl._kernels.optim cimport take_step
from fastdl._kernels.program.frame cimport note_pace
from fastdl._kernels.program.objective cimport objective_count
from fastdl._kernels.program.records cimport load_operand
from fastdl._kernels.program.sequence cimport PYTHON, run_sequence
from fastdl._kernels.program.update cimport add_batch, clip_norm, clip_values, take_mean
from fastdl._kernels.threads cimport FlushDenormals, hold_threads, threads_for, workers

cnp.import_array()

PATIENCE = 0.02
# Seconds between two looks at the clock, about.
cdef double WINDOW = 0.0005


cdef double now() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return t.tv_sec + 1e-9 * t.tv_nsec


cdef int load_input(Input* to, cnp.ndarray array, tuple given, Frame frame) except -1:
    cdef Py_ssize_t offset
    to.base, offset = given
    to.rows, to.row = <char*>address(array), cnp.PyArray_NBYTES(array) // max(1, cnp.PyArray_DIM(array, 0))
    to.gathered = <char*>address(frame.arena) + offset
    return 0


cdef int load_output(Output* to, cnp.ndarray array, tuple given) except -1:
    to.rows, to.row = <char*>address(array), cnp.PyArray_NBYTES(array) // max(1, cnp.PyArray_DIM(array, 0))
    load_operand(&to.place, given)
    return 0


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
        workers.run(threads_for(<double>count * size), count, copy_row, rows, size, order, to)


cdef void copy_row(Py_ssize_t i, const char* rows, Py_ssize_t size, const int64_t* order, char* to) noexcept nogil:
    memcpy(to + i * size, rows + order[i] * size, size)


cdef bint run_steps(
    const Sequence* sequence, Update* updates, Py_ssize_t runs, Epoch* e, Batch* batch, Pace* pace,
    real* scratch) noexcept nogil:
    """Steps until the epoch's end, the patience's end, a pause before a step or for Python, or what is not finite (False).

    The step of such a loss is not taken; that of such a gradient is, for it is found while stepping.
    """
    cdef double start = now(), last = start, at
    cdef Py_ssize_t look = 1, since = 0, done = e.done
    cdef int threads = threads_for(INFINITY)
    cdef FlushDenormals flush
    flush.on()  # so that kernels find it done
    hold_threads(1 if pace.alone else threads)
    while e.done < e.rows or e.pending:
        if not e.pending:
            if not e.begun:
                find_batch(e, batch)
                e.begun, e.known, e.at = True, False, 0
            if not run_entries(sequence, e, batch, scratch):
                return False
            if e.waits:
                return True
            e.begun = False
            e.pending = e.batches == 1 or add_to_step(updates, runs, e, scratch)
            if e.pending and e.pauses:
                return True
        if e.pending:
            e.pending = False
            if not finish_step(updates, runs, e, scratch):
                return False
        since += 1
        if since >= look:  # reading the clock takes a while, compared with the smallest steps
            since = 0
            at = now()
            if threads > 1 and e.done > done:
                note_pace(pace, threads, e.done - done, batch.N, at - last)
                hold_threads(1 if pace.alone else threads)
            done = e.done
            if at - start > PATIENCE:
                return True
            # As many steps as take half a millisecond, but no more than that.
            if at - last < WINDOW and look < 64:
                look *= 2
            elif at - last > 2 * WINDOW and look > 1:
                look //= 2
            last = at
    return True


cdef void find_batch(Epoch* e, Batch* batch) noexcept nogil:
    """Let a batch name its rows, gathered where they have an order."""
    cdef Py_ssize_t i
    cdef char* at
    batch.N, batch.call = min(e.batch_size, e.rows - e.done), e.call
    # A call leaves the gradients of its last step to whoever asks for them.
    batch.steps = e.steps_in_backward and e.done + batch.N < e.rows
    for i in range(e.input_count):
        at = <char*>e.inputs[i].rows + e.done * e.inputs[i].row
        if e.order != NULL:
            at = e.inputs[i].gathered
            gather(e.inputs[i].rows, e.inputs[i].row, e.order + e.done, batch.N, at)
        (<char**>batch.arrays)[e.inputs[i].base - ARRAYS] = at
    e.samples, e.counts_as = batch.N, batch.N


cdef void keep_outputs(const Epoch* e, const Batch* batch) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(e.output_count):
        memcpy(e.outputs[i].rows + e.done * e.outputs[i].row, place(&e.outputs[i].place, batch), batch.N * e.outputs[i].row)


cdef bint run_entries(
    const Sequence* s, Epoch* e, Batch* batch, real* scratch) noexcept nogil:
    """The batch forward and backward, from e.at on; False, and only forward, where its loss is not finite, or an entry fails.

    It stops before an entry in Python, for which e then waits.
    """
    if not e.known:
        if not run_part(s, e, s.backward, batch, scratch) or e.waits:
            return e.failed < 0
        if not take_loss(s, e, batch, scratch):
            return False
        keep_outputs(e, batch)
        e.known = True
    return run_part(s, e, s.count, batch, scratch)


cdef bint run_part(
    const Sequence* s, Epoch* e, Py_ssize_t last, const Batch* batch, real* scratch) noexcept nogil:
    """Entries from e.at to below `last`; whether none failed."""
    cdef Py_ssize_t stopped = run_sequence(s, e.at, last, batch, scratch)
    e.waits = stopped >= 0 and s.entries[stopped].what == PYTHON
    e.failed = -1 if e.waits else stopped
    e.at = last if stopped < 0 else stopped
    return e.failed < 0


cdef bint take_loss(const Sequence* s, Epoch* e, const Batch* batch, real* scratch) noexcept nogil:
    """Take down the loss; whether it is finite."""
    cdef const double* exact
    cdef double total = 0, divisor = 1
    cdef Py_ssize_t i
    e.loss = (<real*>place(&s.loss, batch))[0]
    for i in range(e.term_count):
        e.terms[2 * e.term_count + i] = (<real*>place(s.terms + i, batch))[0]
    if s.criterion >= 0:
        exact = <const double*>place(&s.criteria[s.criterion].exact, batch)
        total, divisor = exact[0], exact[1]
        e.loss = total / divisor
        e.counts_as = objective_count(&s.criteria[s.criterion].objective, divisor, batch.N)
    if not isfinite(e.loss):
        if total != 0 or divisor != 0:
            return False
        e.loss = 0  # the mean over nothing
    return True


cdef bint finish_step(Update* updates, Py_ssize_t runs, Epoch* e, real* _) noexcept nogil:
    """Clip the gradients of a batch and step; whether they were finite."""
    cdef bint finite
    cdef Py_ssize_t i
    if e.limit_of_values > 0:
        clip_values(updates, runs, e.limit_of_values, _)
    if e.limit_of_norm > 0:
        clip_norm(updates, runs, e.limit_of_norm, _)
    finite = take_step(updates, runs, _)
    if e.batches == 1:
        begin_step(e)
        count_batch(e)
    # Step by step, so that it makes no difference whether each is a call of its own.
    e.total += e.step_total
    e.count += e.step_count
    for i in range(e.term_count):
        e.terms[i] += e.terms[e.term_count + i]
    e.steps += 1
    e.added = 0
    return finite


cdef void begin_step(Epoch* e) noexcept nogil:
    cdef Py_ssize_t i
    e.first_done, e.first_call = e.done, e.call
    e.step_total = e.step_count = e.weights = 0
    for i in range(e.term_count):
        e.terms[e.term_count + i] = 0


cdef void count_batch(Epoch* e) noexcept nogil:
    """Let the step's loss count a batch's."""
    cdef Py_ssize_t i
    if e.counts_as != 0:
        for i in range(e.term_count):
            e.terms[e.term_count + i] += e.terms[2 * e.term_count + i] * e.counts_as
        e.step_total += e.loss if e.sums else e.loss * e.counts_as
        e.step_count += e.counts_as
    e.call += e.draws
    e.done += e.samples


cdef bint add_to_step(const Update* updates, Py_ssize_t runs, Epoch* e, real* _) noexcept nogil:
    """Add a batch's gradients to those of its step; whether they are its last ones, and then the gradients are their mean."""
    cdef double weight = 1 if e.sums else e.counts_as
    if e.added == 0:
        begin_step(e)
    add_batch(updates, runs, weight, e.added == 0, _)
    e.weights += weight
    e.added += 1
    count_batch(e)
    if e.added < e.batches and e.done < e.rows:
        return False
    take_mean(updates, runs, 1 if e.sums else e.weights, _)
    return True


cdef void undo_batches(Epoch* e) noexcept nogil:
    e.done, e.call, e.added = e.first_done, e.first_call, 0
