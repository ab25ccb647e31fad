"""Whole epochs in one call: a model's operations in a row, its loss and its optimizer's steps, without Python between them.

A lowering (fastdl/graph/lowering) lists what runs; a program holds the records, which do not change, and runs them in frames.
"""

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from fastdl._kernels.access cimport Access, enter, leave
from fastdl._kernels.array cimport Block, address, give_scratch, scratch_for, scratch_in, take_scratch
from fastdl._kernels.descriptor cimport Update
from fastdl._kernels.dispatch cimport dispatch_bint, dispatch_size, untyped
from fastdl._kernels.gemm cimport FEWEST_TAKEN
from fastdl._kernels.program.epoch cimport (
    PATIENCE, Epoch, Input, Output, load_input, load_output, now, run_steps, undo_batches,
)
from fastdl._kernels.program.operation cimport planning_memory
from fastdl._kernels.program.python_call cimport PythonCall
from fastdl._kernels.program.records cimport load_operation
from fastdl._kernels.program.sequence cimport (
    PYTHON, EntryList, Scratch, Sequence, find_scratch, first_not_finite_entry, run_sequence,
)
from fastdl._kernels.program.update cimport Updates
from fastdl._kernels.shuffle cimport shuffle_kernel
from fastdl._kernels.table cimport real, table
from fastdl._kernels.threads cimport FlushDenormals, follow_threads, hold_threads, threads_for
from fastdl._kernels.watch cimport Watch

cnp.import_array()

# Weights of so many elements may be stepped over alone, by the operation that they belong to.
FEWEST_ALONE = FEWEST_TAKEN  # type: int


cdef Py_ssize_t run_entries_of(
    const Sequence* s, Py_ssize_t first, Py_ssize_t last, const Batch* batch, real* scratch) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    return run_sequence(s, first, last, batch, scratch)


cdef class TrainOptions:
    """What a call of Program.train does.

    Args:
        inputs: all rows of inputs and targets, as the program numbers them.
        rows: how many of them an epoch takes: the first that `order` names, or of their own.
        batch_size: of a batch.
        accumulate: the batches of a step, whose gradients are averaged as if they were one.
        epochs: at most so many.
        order: the rows' order, int64; None for their own.
        seeds: one for each epoch, which begins with an order shuffled by it; None leaves `order` as it is.
        outputs: where the model's outputs of one epoch go, or an empty list.
        clip_value, clip_norm: the limits of gradients, 0 for none.
        sums: whether losses are sums, not means.
        seed, call: the stream and the number of its first draw.
        updates: the optimizer's.
        counts: the steps that its parameters have taken, which the call goes on from and counts.
        access: a turn to take steps.
        watch: whether the model is what was planned.
        goes_on: called after Python code has run amid an epoch, but at most fifty times a second where that are functions of the
            program; returns whether to go on, and may change the options of updates.
        ended: called after each epoch with the sum of its losses, what their mean divides it by, the sums of its terms, and its
            seconds; returns the number of the next epoch's first draw, or None to end the call, and may change the options of
            updates. None ends the call, too.
        after_backward: called between backward and each step, where the gradients may be changed in place; None takes steps
            without Python between them, and those of large weights within backward.
    """

    def __init__(
        self, *, list inputs not None, Py_ssize_t rows, Py_ssize_t batch_size, Py_ssize_t accumulate, Py_ssize_t epochs,
        cnp.ndarray order, cnp.ndarray seeds, list outputs not None, double clip_value, double clip_norm, bint sums,
        uint64_t seed, uint64_t call, Updates updates not None, list counts not None, Access access not None,
        Watch watch not None, goes_on: Callable[[], bool], ended: Callable[[float, float, list[float], float], int | None] | None,
        after_backward: Callable[[], object] | None,
    ):
        self.inputs, self.rows, self.batch_size, self.accumulate, self.epochs = inputs, rows, batch_size, accumulate, epochs
        self.order, self.seeds, self.outputs = order, seeds, outputs
        self.clip_value, self.clip_norm, self.sums, self.seed, self.call = clip_value, clip_norm, sums, seed, call
        self.updates, self.counts, self.access, self.watch = updates, counts, access, watch
        self.goes_on, self.ended, self.after_backward = goes_on, ended, after_backward

    def __reduce__(self):
        raise TypeError("TrainOptions: expected to stay in its process, for its turn and watch hold addresses; make it again")


cdef class Program:
    """A model's operations, resolved; made by a plan.

    Args:
        operations: records of a plan's operations.
        itemsize: 4 for float32, 8 for float64.
        nbytes: of a frame's arena.
        inputs: of each input and target its base and where in the arena a batch of it is gathered.
        outputs: the places of the model's outputs.
        draws: calls of dropout's stream that a forward takes.
        light: so many samples take less time than giving the GIL away and taking it again.
        entries: what runs in which order.
    """

    def __init__(
        self, list operations not None, Py_ssize_t itemsize, Py_ssize_t nbytes,
        list inputs not None, list outputs not None, Py_ssize_t draws, Py_ssize_t light,
        EntryList entries not None,
    ):
        cdef Py_ssize_t number
        if self.operations != NULL:
            raise TypeError("Program: expected to be made once; make another")
        self.operations = <Operation*>PyMem_Calloc(max(1, len(operations)), sizeof(Operation))
        if self.operations == NULL:
            raise MemoryError()
        self.count, self.records = len(operations), operations
        for number in range(self.count):
            load_operation(self.operations + number, number, operations[number])
        self.itemsize, self.nbytes, self.draws, self.light = itemsize, nbytes, draws, light
        self.inputs, self.outputs, self.entries = inputs, outputs, entries
        entries.sequence.operations = self.operations
        self.accumulates = bytes([record.accumulates for record in operations])

    def __dealloc__(self):
        PyMem_Free(self.operations)

    def __reduce__(self):
        raise TypeError("Program: expected to stay in its process, for it holds addresses; plan the model again")

    def frame(self, list sources not None) -> Frame:
        """Memory of its own for calls, with the arrays outside of it, see Frame."""
        cdef Frame frame = Frame(self.nbytes, sources, self.accumulates)
        frame.bind()
        return frame

    cdef Py_ssize_t scratch_size(self, Py_ssize_t N, Py_ssize_t last, Py_ssize_t* of_block) except -1:
        """Bytes of scratch memory for batches of N and for one of `last`; sets the elements that a block has of it."""
        cdef Py_ssize_t i, planning = 0
        cdef const Sequence* s = &self.entries.sequence
        cdef Scratch needed = Scratch(0, 0, 0)
        cdef void* memory
        for i in range(self.count):
            planning = max(planning, planning_memory(self.operations + i))
        memory = scratch_for(planning)
        find_scratch(s, N, self.itemsize, memory, &needed)
        find_scratch(s, last, self.itemsize, memory, &needed)
        of_block[0] = needed.of_block
        return max(needed.of_entry, needed.blocks * needed.of_block) * self.itemsize

    def train(
        self, Frame frame not None, TrainOptions o not None,
    ) -> tuple[bool, int, int, float, float, list[float], float, int, int]:
        """Take a step for each batch, epoch after epoch; see TrainOptions.

        Some fifty times a second Python code may run in the midst of an epoch, that of signal handlers and of other threads;
        steps are taken in turns. The call ends where the model is found changed, or `goes_on` or `ended` say so. The steps taken
        are counted also when an exception ends the call.

        Returns whether all losses and gradients were finite, the latest epoch's rows and steps done, its sum of losses and what
        that is divided by, the sums of its terms, the latest loss and draw, and the number of an entry that failed or -1; the step
        of a loss that is not finite, or of a batch that fails, is not taken.
        """
        cdef Epoch e
        cdef Batch batch
        cdef bint fine = True, stands = True, counted = True, resumes
        cdef Py_ssize_t N = min(o.batch_size, o.rows), i, ordered = 0 if o.order is None else cnp.PyArray_DIM(o.order, 0)
        cdef const Sequence* sequence = &self.entries.sequence
        cdef Update* update = o.updates.update
        cdef Py_ssize_t runs = o.updates.count, run, epoch = 0
        cdef const uint64_t* shuffles = <const uint64_t*>address(o.seeds)
        cdef Py_ssize_t size = 0, of_block = 0, before
        cdef int threads, planned = 0
        cdef double start, looked = now()
        cdef Block block
        cdef void* scratch
        cdef Update** updates = <Update**>PyMem_Calloc(max(1, self.count), sizeof(Update*))
        cdef Input* inputs = <Input*>PyMem_Calloc(len(o.inputs), sizeof(Input))
        cdef Output* outputs = <Output*>PyMem_Calloc(len(o.outputs) + 1, sizeof(Output))
        cdef Py_ssize_t terms = sequence.term_count
        cdef double* sums = <double*>PyMem_Calloc(3 * terms + 1, sizeof(double))
        memset(&e, 0, sizeof(e))
        try:
            if updates == NULL or inputs == NULL or outputs == NULL or sums == NULL:
                raise MemoryError()
            if len(o.inputs) != len(self.inputs) or len(o.outputs) not in (0, len(self.outputs)):
                raise ValueError(f"Program: expected {len(self.inputs)} inputs and targets, got {len(o.inputs)}")
            if o.accumulate > 1:
                o.updates.accumulate()
            for i in range(len(o.inputs)):
                load_input(inputs + i, o.inputs[i], self.inputs[i], frame)
            for i in range(len(o.outputs)):
                load_output(outputs + i, o.outputs[i], self.outputs[i])
        except BaseException:
            PyMem_Free(updates)
            PyMem_Free(inputs)
            PyMem_Free(outputs)
            PyMem_Free(sums)
            raise
        block = take_scratch()
        e.inputs, e.outputs, e.input_count, e.output_count, e.failed = inputs, outputs, len(o.inputs), len(o.outputs), -1
        e.rows, e.batch_size = o.rows, o.batch_size
        e.order = <int64_t*>address(o.order)
        e.limit_of_values, e.limit_of_norm, e.sums = o.clip_value, o.clip_norm, o.sums
        e.pauses = o.after_backward is not None
        e.batches, e.terms, e.term_count = o.accumulate, sums, terms
        # Amid a backward in Python other threads have their turns, and an error may end it: no weight may have moved by then.
        e.steps_in_backward = not (
            e.limit_of_values > 0 or e.limit_of_norm > 0 or e.pauses or e.batches > 1 or sequence.backward_in_python)
        e.seed, e.call, e.draws = o.seed, o.call, self.draws
        for run in range(runs):
            if update[run].operation >= 0:
                updates[update[run].operation] = update + run
        try:
            while stands and fine and epoch < o.epochs:
                start = now()
                e.done = e.steps = e.added = 0
                e.begun = False
                e.total = e.count = 0
                for i in range(terms):
                    sums[i] = 0
                if shuffles != NULL:
                    with nogil:
                        shuffle_kernel(shuffles[epoch], ordered, e.order)
                while e.done < e.rows or e.pending:
                    enter(o.access)
                    try:
                        if e.begun:  # no step has been taken since the turn before
                            o.access.entries.number -= 1
                        # From here on no Python code runs until the turn is over.
                        if not o.watch.unchanged():
                            stands = False
                            break
                        follow_threads()
                        threads = threads_for(INFINITY)
                        if threads != planned:
                            size, planned = self.scratch_size(N, e.rows % N or N, &of_block), threads
                        scratch = scratch_in(&block, size)
                        o.updates.read_steps(o.counts)
                        resumes = e.begun
                        if not resumes:
                            batch = frame.batch(0, e.seed, 0)
                            batch.updates = updates
                        batch.block_scratch = of_block
                        # Scratch is for so many threads: another Python thread may let the kernels use more meanwhile.
                        hold_threads(threads)
                        before, counted = e.done, False
                        with nogil:
                            fine = dispatch_bint(
                                self.itemsize == 4, run_steps[float], run_steps[double], sequence, update, runs, &e,
                                &batch, &frame.pace, untyped(scratch))
                        hold_threads(0)
                        if e.done > before and resumes:
                            o.access.entries.number += 1
                        o.updates.count_steps(o.counts)
                        counted = True  # and from here on they may be set
                    finally:
                        leave(o.access)
                    if not fine:
                        PyErr_CheckSignals()
                        break
                    if e.done < e.rows or e.pending:
                        if e.waits:
                            (<PythonCall>self.entries.calls[sequence.entries[e.at].number]).call(frame, &batch)
                            e.at += 1
                            if now() - looked < PATIENCE:
                                continue
                        elif e.pending:
                            o.after_backward()
                        PyErr_CheckSignals()
                        stands, looked = o.goes_on(), now()
                        if not stands:
                            break
                if not (stands and fine):
                    if fine and e.added:
                        undo_batches(&e)
                    break
                if o.ended is None:
                    break
                next_call = o.ended(e.total, e.count, [sums[i] for i in range(terms)], now() - start)
                PyErr_CheckSignals()
                if next_call is None:
                    break
                e.call = next_call
                epoch += 1
        finally:
            # Here, since Python code would let a second Ctrl-C in between.
            if not counted:
                o.updates.count_steps(o.counts)
            give_scratch(block)
            found = [sums[i] for i in range(terms)]
            PyMem_Free(updates)
            PyMem_Free(inputs)
            PyMem_Free(outputs)
            PyMem_Free(sums)
        return fine, e.done, e.steps, e.total, e.count, found, e.loss, e.call, e.failed

    def run(
        self, Frame frame not None, Py_ssize_t first, Py_ssize_t last, Py_ssize_t N, list arrays not None, uint64_t seed=0,
        uint64_t call=0,
    ) -> int:
        """Run entries from `first` to below `last` for a batch of N; return the number of one that failed or is in Python, or -1.

        `arrays` are the bases beside the frame's own and the arrays that they stand for.
        """
        cdef Batch batch = self.batch_of(frame, N, arrays, seed, call)
        if not 0 <= first <= last <= self.entries.sequence.count:
            raise IndexError(f"Program.run: expected entries of {self.entries.sequence.count}, got {first} to {last}")
        return self.run_batch(frame, first, last, &batch)

    def first_not_finite_entry(self, Frame frame not None, Py_ssize_t N, list arrays not None, uint64_t seed, uint64_t call) -> int:
        """Run the forward entries once more; return the number of the first that yields what is not finite, or -1."""
        cdef const Sequence* s = &self.entries.sequence
        cdef Batch batch = self.batch_of(frame, N, arrays, seed, call)
        cdef PythonCall function
        cdef Py_ssize_t found, first = 0, size = self.scratch_size(N, N, &batch.block_scratch)
        while True:
            found = dispatch_size(
                self.itemsize == 4, first_not_finite_entry[float], first_not_finite_entry[double], s, first,
                &batch, untyped(scratch_for(size)))
            if found < 0 or s.entries[found].what != PYTHON:
                return found
            function = self.entries.calls[s.entries[found].number]
            function.call(frame, &batch)
            if not function.finite(&batch):
                return found
            first = found + 1

    def calls(self, Py_ssize_t entry) -> bool:
        """Tell whether an entry is a function in Python, which `call` runs."""
        return entry >= 0 and self.entries.sequence.entries[entry].what == PYTHON

    def call(self, Frame frame not None, Py_ssize_t entry, Py_ssize_t N, list arrays not None):
        """Run a function in Python; see `run`."""
        cdef Batch batch = self.batch_of(frame, N, arrays, 0, 0)
        if not 0 <= entry < self.entries.sequence.count or not self.calls(entry):
            raise IndexError(f"Program.call: expected an entry that is a function in Python, got {entry}")
        (<PythonCall>self.entries.calls[self.entries.sequence.entries[entry].number]).call(frame, &batch)

    cdef Batch batch_of(self, Frame frame, Py_ssize_t N, list arrays, uint64_t seed, uint64_t call) except *:
        """A batch whose entries read and write these arrays."""
        cdef Batch batch = frame.batch(N, seed, call)
        cdef Py_ssize_t base
        cdef cnp.ndarray array
        for base, array in arrays:
            frame.give(base, array)
        return batch

    cdef bint keeps_gil(self, Py_ssize_t N) noexcept:
        return N <= self.light

    cdef Py_ssize_t run_batch(self, Frame frame, Py_ssize_t first, Py_ssize_t last, Batch* batch) except -2:
        cdef const Sequence* s = &self.entries.sequence
        cdef Py_ssize_t N = batch.N, failed
        cdef void* scratch
        cdef int threads
        follow_threads()
        threads = threads_for(INFINITY)
        if N != frame.latest_size or frame.latest_table != table or frame.latest_threads != threads:
            frame.latest_scratch = self.scratch_size(N, N, &frame.latest_of_block)
            frame.latest_size, frame.latest_table, frame.latest_threads = N, table, threads
        batch.block_scratch = frame.latest_of_block
        scratch = scratch_for(frame.latest_scratch)
        if self.keeps_gil(N):
            return dispatch_size(
                self.itemsize == 4, run_entries_of[float], run_entries_of[double], s, first, last, batch, untyped(scratch))
        hold_threads(threads)
        with nogil:
            failed = dispatch_size(
                self.itemsize == 4, run_entries_of[float], run_entries_of[double], s, first, last, batch, untyped(scratch))
        hold_threads(0)
        return failed


cdef class Frames:
    """A program's frames for one model, of which those that nobody uses are used again.

    Args:
        program: the program.
        sources: the model's arrays, see Frame.
    """

    def __init__(self, Program program not None, list sources not None):
        self.program, self.sources, self.idle = program, sources, [program.frame(sources)]

    def __reduce__(self):
        raise TypeError("Frames: expected to stay in its process, for they hold addresses; plan the model again")

    cpdef Frame take(self):
        """Memory for a call, as a rule that of one before."""
        return self.idle.pop() if self.idle else self.program.frame(self.sources)
