"""Whole epochs in one call: a model's operations in a row, its loss and its optimizer's steps, without Python between them.

A plan (fastdl.plan) lists the operations with the addresses of parameters and of one arena of memory; here they run.
"""

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY, isfinite
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

import numpy as np

from fastdl._kernels.access cimport Access, enter, leave
from fastdl._kernels.array cimport Block, address, give_scratch, scratch_for, scratch_in, take_scratch
from fastdl._kernels.program.blocks cimport blocks_scratch
from fastdl._kernels.program.epoch cimport Epoch, new_batch, now, run_steps
from fastdl._kernels.gemm cimport FEWEST_TAKEN
from fastdl._kernels.program.objective cimport Objective
from fastdl._kernels.program.operation cimport (
    FROM_LANES, MOVE, Batch, Operation, backward_operation, forward_operation, operation_scratch, output_of, planning_memory,
)
from fastdl._kernels.shuffle cimport shuffle_kernel
from fastdl._kernels.table cimport real, table
from fastdl._kernels.threads cimport FlushDenormals, follow_threads, hold_threads, threads_for
from fastdl._kernels.program.update cimport Update
from fastdl._kernels.watch cimport Watch

cnp.import_array()

cdef Operation any_operation
cdef Objective any_objective
cdef Update any_update
# The records as NumPy writes them.
OPERATION = np.asarray(<Operation[:1]>&any_operation).dtype  # type: np.dtype[Any]
OBJECTIVE = np.asarray(<Objective[:1]>&any_objective).dtype  # type: np.dtype[Any]
UPDATE = np.asarray(<Update[:1]>&any_update).dtype  # type: np.dtype[Any]
# Weights of so many elements may be stepped over alone, by the operation that they belong to.
FEWEST_ALONE = FEWEST_TAKEN  # type: int


cdef void run_either(
    bint forward, const Operation* operations, Py_ssize_t count, const Batch* batch, real* scratch) noexcept nogil:
    """All operations forward, or from the last to the first backward."""
    cdef Py_ssize_t i
    cdef FlushDenormals flush
    flush.on()
    for i in range(count):
        if forward:
            forward_operation(operations + i, batch, scratch)
        elif operations[count - 1 - i].differentiated:
            backward_operation(operations + count - 1 - i, batch, scratch)


cdef Py_ssize_t first_wild(
    const Operation* operations, Py_ssize_t first, Py_ssize_t count, const Batch* batch, real* scratch) noexcept nogil:
    """The number of the first operation, from `first` to below `count`, that yields what is not finite; else `count`."""
    cdef Py_ssize_t i
    for i in range(first, count):
        forward_operation(operations + i, batch, scratch)
        if not finite_output(operations + i, batch, scratch):
            return i
    return count


cdef bint finite_output(const Operation* op, const Batch* batch, real* like) noexcept nogil:
    cdef const real* y = output_of(op, batch, like)
    cdef bint in_lanes = op.L and op.kind != FROM_LANES
    cdef Py_ssize_t i, j, N = batch.N, row = op.L if in_lanes else op.y_size
    if op.kind == MOVE:  # which writes a part
        return True
    for i in range(op.y_size if in_lanes else N):
        for j in range(N if in_lanes else op.y_size):
            if not isfinite(y[i * row + j]):
                return False
    return True


cdef cnp.ndarray array_of(parameter, bint gradient):
    """A parameter's values, or its gradient where it learns; None for none."""
    if parameter is None or gradient and not parameter._requires_grad:
        return None
    return parameter._grad if gradient else parameter._data


cdef bint accumulates(tuple parameters) except -1:
    """Whether the gradients of these are added to; as nn.parameter.accumulates, without running Python code."""
    cdef bint adds = False
    cdef cnp.ndarray grad
    for parameter in parameters:
        adds = adds or parameter._requires_grad and not parameter._forgotten
    for parameter in parameters:
        if parameter._requires_grad and parameter._forgotten:
            if adds:
                grad = parameter._grad
                memset(address(grad), 0, cnp.PyArray_NBYTES(grad))
            parameter._forgotten = False
    return adds


cdef int read_steps(Update* updates, Py_ssize_t runs, list counts, list members) except -1:
    """Go on from the steps that the optimizer's parameters have taken."""
    cdef Py_ssize_t run
    for run in range(runs):
        updates[run].step = counts[members[run].start]
    return 0


cdef int count_steps(const Update* updates, Py_ssize_t runs, list counts, list members) except -1:
    """Let the optimizer's parameters know how many steps they have taken."""
    cdef Py_ssize_t run
    for run in range(runs):
        counts[members[run]] = [updates[run].step] * (members[run].stop - members[run].start)
    return 0


# Where a step takes longer, in seconds, waiting for threads is a small part of it, and trying it by one thread is dear.
cdef double SHORT_STEP = 0.002
cdef enum:
    FIRST_TRIAL = 16
    RAREST_TRIAL = 1024


cdef bint by_one_thread(Pace* p, Py_ssize_t samples) noexcept nogil:
    """Whether the next steps are for one thread alone.

    Several threads wait for the slowest of them in each step, and where another process keeps one of the cores, that takes longer
    than the step. What is slower is tried again, more and more seldom; results do not depend on it.
    """
    cdef bint alone = p.one < p.all
    p.calls += 1
    if p.calls <= 2 or p.all * samples > SHORT_STEP:  # the first call is not like the others
        return False
    if p.one == 0:
        return True
    if p.calls >= p.next_trial:
        p.trials_apart = min(max(2 * p.trials_apart, <Py_ssize_t>FIRST_TRIAL), <Py_ssize_t>RAREST_TRIAL)
        p.next_trial = p.calls + p.trials_apart
        alone = not alone
    return alone


cdef void note_pace(Pace* p, bint alone, double seconds) noexcept nogil:
    """Take down the seconds a sample of the latest steps."""
    cdef bint before = p.one < p.all
    if alone:
        p.one = seconds
    else:
        p.all = seconds
    if p.one and before != (p.one < p.all):
        p.trials_apart = 0
        p.next_trial = p.calls + FIRST_TRIAL


cdef class Program:
    """A model's operations, resolved; made by a plan.

    Args:
        operations: records of OPERATION.
        objective: a record of OBJECTIVE, or None for a program that only predicts.
        itemsize: 4 for float32, 8 for float64.
        input, target: addresses where a batch and its targets are gathered.
        draws: calls of dropout's stream that a forward takes.
        light: so many samples take less time than giving the GIL away and taking it again.
        kept: whatever the addresses point into.
        blocks: how a batch in training is cut: the fields of Blocks but the last.
    """

    def __init__(
        self, operations: Array, objective: Array | None, Py_ssize_t itemsize, Py_ssize_t input, Py_ssize_t target,
        Py_ssize_t draws, Py_ssize_t light, kept: object, blocks: tuple[int, ...],
    ):
        self.operations = np.ascontiguousarray(operations, OPERATION)
        self.objective = None if objective is None else np.ascontiguousarray(objective, OBJECTIVE)
        self.count, self.itemsize, self.draws = len(operations), itemsize, draws
        self.input, self.target, self.kept = <char*>input, <char*>target, kept
        self.latest_size, self.light = -1, light
        self.blocks.count, self.blocks.size, self.blocks.lone, self.blocks.whole, self.blocks.sums, self.blocks.memory = blocks
        self.blocks.own = 0
        self.pace.one = self.pace.all = 0
        self.pace.calls = self.pace.trials_apart = 0
        self.pace.next_trial = FIRST_TRIAL

    def __reduce__(self):
        raise TypeError("Program: expected to stay in its process, for it holds addresses; plan the model again")

    cdef Py_ssize_t scratch_size(self, Py_ssize_t N, Py_ssize_t last) except -1:
        """Bytes of scratch memory for batches of N and for one of `last`."""
        cdef const Operation* operation = <const Operation*>address(self.operations)
        cdef const Objective* objective
        cdef Py_ssize_t i, most = 0, planning = 0
        cdef void* memory
        for i in range(self.count):
            planning = max(planning, planning_memory(operation + i))
        memory = scratch_for(planning)
        for i in range(self.count):
            most = max(most, operation_scratch(operation + i, N, self.itemsize, memory))
            most = max(most, operation_scratch(operation + i, last, self.itemsize, memory))
        if self.objective is not None:
            objective = <const Objective*>address(self.objective)
            most = max(most, 2 * objective.C, blocks_scratch(&self.blocks, operation, objective, N, last, self.itemsize, memory))
        return most * self.itemsize

    def train(
        self, cnp.ndarray x not None, cnp.ndarray t not None, cnp.ndarray order, Py_ssize_t rows, cnp.ndarray seeds,
        Py_ssize_t epochs, Py_ssize_t batch_size, cnp.ndarray updates not None, double limit_of_values, double limit_of_norm,
        bint sums, uint64_t seed, uint64_t call, cnp.ndarray outputs, list counts not None, list members not None,
        Access access not None, Watch watch not None, goes_on not None, ended not None,
    ) -> tuple[bool, int, int, float, float, float, int]:
        """Take a step for each batch of the first `rows` rows of x and t that `order` names, or of their own, epoch after epoch.

        Each epoch begins with an order shuffled by its one of `seeds`; without these `order` is left as it is. The model's
        outputs, of one epoch, go to `outputs`. The steps taken are counted in `counts`, at the `members` of each update, also
        when an exception ends the call. After each epoch `ended` is called with the sum of its losses, what their mean divides it
        by, and its seconds; it returns the number of the next epoch's first draw, or None to end the call, and may change the
        records of `updates`.

        Some fifty times a second Python code may run in the midst of an epoch, that of signal handlers and of other threads;
        steps are taken in turns of `access`. The call ends where `watch` finds the model changed, or `goes_on`, which may
        change the records of `updates`, says that it is to.

        Returns whether all losses and gradients were finite, the latest epoch's rows and steps done, its sum of losses and what
        that is divided by, the latest loss and draw; the step of a loss that is not finite is not taken.
        """
        cdef Epoch e
        cdef bint fine = True, stands = True, counted = True, alone
        cdef Py_ssize_t all_rows = cnp.PyArray_DIM(x, 0), N = min(batch_size, rows)
        cdef Operation* operations = <Operation*>address(self.operations)
        cdef const Objective* objective = <const Objective*>address(self.objective)
        cdef Update* update = <Update*>address(updates)
        cdef Py_ssize_t runs = cnp.PyArray_SIZE(updates), count = self.count, run, epoch = 0
        cdef const uint64_t* shuffles = <const uint64_t*>address(seeds)
        cdef Py_ssize_t size = 0, before
        cdef int threads, planned = 0
        cdef double start, began
        cdef Block block = take_scratch()
        cdef void* scratch
        e.rows, e.batch_size, e.done, e.steps = rows, batch_size, 0, 0
        e.order = <int64_t*>address(order)
        e.x, e.t, e.outputs = <char*>address(x), <char*>address(t), <char*>address(outputs)
        e.x_row, e.t_row = cnp.PyArray_NBYTES(x) // all_rows, cnp.PyArray_NBYTES(t) // all_rows
        e.output_row = 0 if outputs is None else cnp.PyArray_NBYTES(outputs) // e.rows
        e.input, e.target = self.input, self.target
        e.limit_of_values, e.limit_of_norm, e.sums = limit_of_values, limit_of_norm, sums
        e.total = e.count = e.loss = 0
        e.seed, e.call, e.draws = seed, call, self.draws
        for run in range(runs):
            if update[run].operation >= 0:
                operations[update[run].operation].update = <Py_ssize_t>(update + run)
        try:
            while stands and fine and epoch < epochs:
                start = now()
                e.done = e.steps = 0
                e.total = e.count = 0
                if shuffles != NULL:
                    with nogil:
                        shuffle_kernel(shuffles[epoch], all_rows, e.order)
                while e.done < e.rows:
                    enter(access)
                    try:
                        # From here on no Python code runs until the turn is over.
                        if not watch.unchanged():
                            stands = False
                            break
                        follow_threads()
                        threads = threads_for(INFINITY)
                        alone = threads > 1 and by_one_thread(&self.pace, N)
                        if threads != planned:
                            size, planned = self.scratch_size(N, e.rows % N or N), threads
                        scratch = scratch_in(&block, size)
                        read_steps(update, runs, counts, members)
                        # Scratch is for so many threads: another Python thread may let the kernels use more meanwhile.
                        hold_threads(1 if alone else threads)
                        began, before, counted = now(), e.done, False
                        with nogil:
                            if self.itemsize == 4:
                                fine = run_steps(operations, count, &self.blocks, objective, update, runs, &e, <float*>scratch)
                            else:
                                fine = run_steps(operations, count, &self.blocks, objective, update, runs, &e, <double*>scratch)
                        hold_threads(0)
                        if e.done > before:
                            note_pace(&self.pace, alone, (now() - began) / (e.done - before))
                        count_steps(update, runs, counts, members)
                        counted = True  # and from here on they may be set
                    finally:
                        leave(access)
                    if not fine:
                        PyErr_CheckSignals()
                        break
                    if e.done < e.rows:
                        PyErr_CheckSignals()
                        stands = goes_on()
                        if not stands:
                            break
                if not (stands and fine):
                    break
                next_call = ended(e.total, e.count, now() - start)
                PyErr_CheckSignals()
                if next_call is None:
                    break
                e.call = next_call
                epoch += 1
        finally:
            # Here, since Python code would let a second Ctrl-C in between.
            if not counted:
                count_steps(update, runs, counts, members)
            for run in range(runs):
                if update[run].operation >= 0:
                    operations[update[run].operation].update = 0
            give_scratch(block)
        return fine, e.done, e.steps, e.total, e.count, e.loss, e.call

    def first_not_finite(self, cnp.ndarray x not None, uint64_t seed, uint64_t call) -> int:
        """Send a batch through once more; return the number of the first operation that yields what is not finite, or -1."""
        cdef Py_ssize_t N = cnp.PyArray_DIM(x, 0), in_blocks = self.blocks.count, size = self.blocks.size if in_blocks else N
        cdef Py_ssize_t count = self.count, found = in_blocks
        cdef Batch batch = new_batch(N, address(x), seed, call)
        batch.memory = <char*>scratch_for(self.scratch_size(N, N))
        for batch.first in range(0, N if in_blocks else 0, size):
            batch.N = min(size, N - batch.first)
            found = min(found, self.first_wild_of(0, in_blocks, &batch))
        if found == in_blocks:
            batch.first, batch.N = 0, N
            found = self.first_wild_of(in_blocks, count, &batch)
        return found if found < count else -1

    cdef Py_ssize_t first_wild_of(self, Py_ssize_t first, Py_ssize_t count, const Batch* batch) noexcept:
        cdef const Operation* operations = <const Operation*>address(self.operations)
        cdef char* scratch = batch.memory + self.blocks.memory
        if self.itemsize == 4:
            return first_wild(operations, first, count, batch, <float*>scratch)
        return first_wild(operations, first, count, batch, <double*>scratch)

    cdef int forward(self, cnp.ndarray x, cnp.ndarray y, uint64_t seed, uint64_t call) except -1:
        cdef Batch batch = new_batch(cnp.PyArray_DIM(x, 0), address(x), seed, call)
        batch.y = address(y)
        return self.run_batch(&batch, True)

    cdef int backward(
        self, cnp.ndarray x, cnp.ndarray y, cnp.ndarray gy, cnp.ndarray gx, list gradients, uint64_t seed, uint64_t call) except -1:
        cdef Batch batch = new_batch(cnp.PyArray_DIM(x, 0), address(x), seed, call)
        cdef Operation* operations = <Operation*>address(self.operations)
        cdef tuple entry
        for entry in gradients:
            operations[<Py_ssize_t>entry[0]].accumulate = accumulates(<tuple>entry[1])
        batch.y, batch.gy, batch.gx = address(y), address(gy), address(gx)
        return self.run_batch(&batch, False)

    cdef int bind(self, list parameters, object moves) except -1:
        """Let operations read and write the arrays that parameters live in now: (number, W, b) for each that has some."""
        cdef Operation* operations = <Operation*>address(self.operations)
        cdef Operation* op
        cdef tuple entry
        cdef cnp.ndarray W, gW, b, gb
        cdef list arrays = []
        for entry in parameters:
            op = operations + <Py_ssize_t>entry[0]
            W, gW, b, gb = (array_of(entry[1], False), array_of(entry[1], True), array_of(entry[2], False), array_of(entry[2], True))
            op.W, op.gW, op.b, op.gb = (
                <Py_ssize_t>address(W), <Py_ssize_t>address(gW), <Py_ssize_t>address(b), <Py_ssize_t>address(gb))
            arrays.append((W, gW, b, gb))
        # A parameter may move to others while these are in use.
        self.bound, self.arrays = moves, arrays
        return 0

    cdef bint keeps_gil(self, Py_ssize_t N) noexcept:
        return N <= self.light

    cdef int run_batch(self, const Batch* batch, bint forward) except -1:
        cdef const Operation* operations = <const Operation*>address(self.operations)
        cdef Py_ssize_t count = self.count
        cdef void* scratch
        cdef int threads
        follow_threads()
        threads = threads_for(INFINITY)
        if batch.N != self.latest_size or self.latest_table != table or self.latest_threads != threads:
            self.latest_scratch = self.scratch_size(batch.N, batch.N)
            self.latest_size, self.latest_table, self.latest_threads = batch.N, table, threads
        scratch = scratch_for(self.latest_scratch)
        if self.keeps_gil(batch.N):
            if self.itemsize == 4:
                run_either(forward, operations, count, batch, <float*>scratch)
            else:
                run_either(forward, operations, count, batch, <double*>scratch)
            return 0
        hold_threads(threads)
        with nogil:
            if self.itemsize == 4:
                run_either(forward, operations, count, batch, <float*>scratch)
            else:
                run_either(forward, operations, count, batch, <double*>scratch)
        hold_threads(0)
        return 0
