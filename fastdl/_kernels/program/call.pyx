"""A traced module's program, called from Python a batch at a time: as little as can be between the caller and the kernels.

A frame holds what a forward keeps, so each forward that backward may follow takes one that is idle, and gives it back when nobody
holds its record any more.
"""

cimport cython
cimport numpy as cnp
from libc.stdint cimport uint64_t
from libc.string cimport memset

from fastdl._kernels.access cimport Access, enter, leave
from fastdl._kernels.array cimport contiguous, is_plain
from fastdl._kernels.descriptor cimport Batch
from fastdl._kernels.program.frame cimport Frame, give_back
from fastdl._kernels.program.frame cimport Passed
from fastdl._kernels.program.program cimport Frames, Program
from fastdl._kernels.program.sequence cimport Sequence
from fastdl._kernels.turns cimport accumulates
from fastdl._kernels.watch cimport Read, Watch

cnp.import_array()

cdef extern from "numpy/arrayobject.h":
    bint PyArray_SAMESHAPE(cnp.ndarray one, cnp.ndarray other)


cdef cnp.ndarray like(given, cnp.ndarray output):
    """An array as kernels read it, where it is of an output's dtype and shape; else None."""
    if type(given) is not cnp.ndarray or cnp.PyArray_TYPE(given) != cnp.PyArray_TYPE(output):
        return None
    return contiguous(given) if PyArray_SAMESHAPE(given, output) else None


@cython.final
cdef class Run:
    """A program with a model's arrays: forwards in frames, and the gradients of each.

    Args:
        frames: those of the model in its program.
        traced: the TracedProgram, which does what takes Python.
        kind: the parameters' class, which counts their moves.
        kinds: see Frame.bind_arrays.
        stream: gives the stream that dropout draws from.
        inputs, seeds, results: the bases of inputs and of gradients with respect to outputs that the program reads, and of those
            with respect to inputs that it writes, each with the number of the input or output.
        outputs: Passed; `structure` makes of them what forward returns, None where that is the only one.
        gradients: makes of the gradients with respect to a module's inputs what backward returns, None where that is the only one.
        differentiating: the numbers of operations that add or store gradients, in their order, with the parameters of each.
        added: the parameters whose gradients are added to what is there.
        checked: what a backward must find as its forward has.
        forward, backward: what each reads and writes.
        keeps: whether backward may follow.
        in_python: whether some of its entries are functions in Python.
    """

    cdef readonly Frames frames
    cdef Program program
    cdef readonly object traced
    cdef object kind, stream, structure, gradients
    cdef dict kinds
    cdef list inputs, seeds, results, outputs, differentiating, added, checked
    cdef Access forward_access, backward_access
    cdef bint keeps, in_python

    def __init__(
        self, Frames frames not None, *, traced, kind, dict kinds not None, stream: Callable[[], Any], list inputs not None,
        list seeds not None, list results not None, list outputs not None, structure: Callable[[list[Any]], Any] | None,
        gradients: Callable[[Any, list[Any]], Any] | None, list differentiating not None, list added not None, list checked not None,
        Access forward not None, Access backward not None, bint keeps, bint in_python,
    ):
        self.frames, self.program, self.traced, self.kind, self.kinds = frames, frames.program, traced, kind, kinds
        self.stream, self.inputs, self.seeds, self.results, self.outputs = stream, inputs, seeds, results, outputs
        self.structure, self.gradients, self.differentiating, self.added = structure, gradients, differentiating, added
        self.checked = checked
        self.forward_access, self.backward_access, self.keeps, self.in_python = forward, backward, keeps, in_python

    def __reduce__(self):
        raise TypeError("Run: expected to stay in its process, for its frames hold addresses; plan the model again")

    cdef bint bind(self, Frame frame) except -1:
        """Let the frame name the arrays that parameters live in now; False where they do not suit the program.

        No Python code runs after the last look: to make tuples may collect garbage, whose finalizers may move parameters.
        """
        while frame.moves is not self.kind.changes:
            if not frame.bind_arrays(self.kinds, self.kind.changes, {}):
                return False
        return True

    cdef bint bind_gradients(self, Frame frame, bint parameters) except -1:
        """As bind. Gradients of parameters that are frozen by now, or not asked for, go where nobody looks."""
        if not parameters:
            return frame.bind_arrays(self.kinds, None, self.traced.aside(True))
        while frame.moves is not self.kind.changes:
            if not frame.bind_arrays(self.kinds, self.kind.changes, self.traced.aside(False)):
                return False
        return True

    def forward(self, list arrays not None, Py_ssize_t N) -> Any:
        """Return the output for arrays as the program reads them, or the record of the forward; None where it does not suit."""
        cdef uint64_t seed = 0, draw = 0
        cdef Batch batch
        cdef Frame frame = None
        cdef tuple given
        cdef Py_ssize_t failed = -1
        cdef list versions = None
        if self.in_python:
            return self.traced.forward_in_python(arrays, N)
        if self.program.draws:
            seed, draw = self.stream().take(self.program.draws)
        frame = self.frames.take()
        enter(self.forward_access)
        try:
            if not self.bind(frame):
                return None
            for given in self.inputs:
                frame.give(<Py_ssize_t>given[0], <cnp.ndarray>arrays[<Py_ssize_t>given[1]])
            batch = frame.batch(N, seed, draw)
            failed = self.program.run_batch(frame, 0, self.program.entries.sequence.backward, &batch)
            if self.checked:
                versions = self.versions()
        finally:
            leave(self.forward_access)
        if failed >= 0:
            self.traced.refuse(failed)
        return self.result(frame, arrays, &batch, versions)

    cpdef list versions(self):
        """Return the versions of what a backward must find as its forward has."""
        return [leaf.version for leaf in self.checked] if self.checked else None

    def left(self, Frame frame not None, list arrays not None, Py_ssize_t N, uint64_t seed, uint64_t draw, list versions) -> Any:
        """Return the output of a forward that has run in a frame, or what it has left for its pulls."""
        cdef Batch batch = frame.batch(N, seed, draw)
        return self.result(frame, arrays, &batch, versions)

    cdef object result(self, Frame frame, list arrays, const Batch* batch, list versions):
        cdef Record record
        output = (<Passed>self.outputs[0]).of(batch) if self.structure is None else self.structure(
            [(<Passed>each).of(batch) for each in self.outputs])
        if not self.keeps:
            give_back(frame, self.frames.idle)
            return output
        record = Record.__new__(Record)
        record.run, record.frame, record.idle, record.arrays, record.N = self, frame, self.frames.idle, arrays, batch.N
        record.output, record.seed, record.draw, record.versions = output, batch.seed, batch.call, versions
        return record

    def binds(self, Frame frame not None) -> bool:
        """Tell whether the parameters suit the program; within a turn, the frame names their arrays then."""
        return self.bind(frame)

    def given(self, list arrays not None) -> list[tuple[int, Array]]:
        """Return the arrays by the bases that stand for them."""
        return [(base, arrays[number]) for base, number in self.inputs]

    cdef list seeds_of(self, module, grad_output, Record record):
        """The gradients with respect to the outputs, as the program reads them."""
        cdef tuple outputs, given
        cdef Py_ssize_t number
        cdef list found = []
        cdef cnp.ndarray array
        if self.structure is None:
            outputs, given = (record.output,), (grad_output,)
        elif type(record.output) is tuple and type(grad_output) is tuple and len(grad_output) == len(record.output):
            outputs, given = record.output, grad_output
        else:
            return self.traced.seeds_of(module, grad_output, record.N)
        if len(self.seeds) == len(outputs):  # all of them have a gradient that the program reads
            for number in range(len(outputs)):
                array = like(given[number], outputs[number])
                if array is None:
                    break
                found.append(array)
            else:
                return found
        return self.traced.seeds_of(module, grad_output, record.N)

    cdef object backward(self, module, Record record, Frame frame, list seeds, bint parameters, bint with_inputs):
        """The gradients with respect to the inputs, if they are asked for, as forward takes these."""
        cdef tuple given
        cdef list found = None
        cdef cnp.ndarray like
        cdef Py_ssize_t failed
        if with_inputs:
            found = []
            for given in self.results:
                like = record.arrays[<Py_ssize_t>given[1]]
                found.append(cnp.PyArray_EMPTY(cnp.PyArray_NDIM(like), cnp.PyArray_DIMS(like), cnp.PyArray_TYPE(like), 0))
        if self.in_python:
            self.traced.backward_in_python(module, record, frame, seeds, found, parameters)
        else:
            enter(self.backward_access)
            try:
                failed = self.run_backward(module, record, frame, seeds, found, parameters, -1)
            finally:
                leave(self.backward_access)
            if failed >= 0:
                self.traced.refuse(failed)
        if found is None:
            return None
        return found[0] if self.gradients is None else self.gradients(module, found)

    def go_on_backward(
        self, module, Record record not None, Frame frame not None, list seeds not None, list found, bint parameters,
        Py_ssize_t done,
    ) -> int:
        """Within a turn, run the backward entries behind one in Python that is done, or with -1 all of them.

        Returns the number of one that failed or is in Python, or -1.
        """
        return self.run_backward(module, record, frame, seeds, found, parameters, done)

    cdef Py_ssize_t run_backward(
        self, module, Record record, Frame frame, list seeds, list found, bint parameters, Py_ssize_t done) except -2:
        """See go_on_backward."""
        cdef const Sequence* s = &self.program.entries.sequence
        cdef Py_ssize_t number, last = s.of_input if found is None else s.count
        cdef Batch batch
        cdef tuple given, entry
        cdef cnp.ndarray gradient
        if self.checked and done < 0:
            for number in range(len(self.checked)):
                if self.checked[number].version != record.versions[number]:
                    self.traced.refuse_changed(module)
        if not self.bind_gradients(frame, parameters):
            self.traced.refuse_kind(module)
        if parameters and done < 0:
            for parameter in self.added:
                if parameter._forgotten and parameter._requires_grad:
                    gradient = parameter._grad
                    memset(cnp.PyArray_DATA(gradient), 0, cnp.PyArray_NBYTES(gradient))
                    parameter._forgotten = False
            for entry in self.differentiating:
                frame.accumulates[<Py_ssize_t>entry[0]] = accumulates(<tuple>entry[1])
        for given in self.inputs:
            frame.give(<Py_ssize_t>given[0], <cnp.ndarray>record.arrays[<Py_ssize_t>given[1]])
        for given in self.seeds:
            frame.give(<Py_ssize_t>given[0], <cnp.ndarray>seeds[<Py_ssize_t>given[1]])
        for number in range(len(self.results)):
            frame.give(
                <Py_ssize_t>(<tuple>self.results[number])[0], None if found is None else <cnp.ndarray>found[number])
        batch = frame.batch(record.N, record.seed, record.draw)
        return self.program.run_batch(frame, s.backward if done < 0 else done + 1, last, &batch)


@cython.final
cdef class Record:
    """What a forward has left: its output, and the frame that holds what backward reads; backward may run again."""

    cdef readonly Run run
    cdef readonly Frame frame
    cdef readonly list arrays, versions
    cdef readonly object output
    cdef readonly Py_ssize_t N
    cdef readonly uint64_t seed, draw
    cdef list idle
    cdef bint busy

    def __dealloc__(self):
        give_back(self.frame, self.idle)

    def __reduce__(self):
        raise TypeError("Record: expected to stay in its process, for its frame holds addresses; call the model again")

    def pull(self, module, grad_output, bint parameters=True, bint with_inputs=True) -> Any:
        """Return the gradients with respect to the inputs, unless they are not asked for; add those of parameters to theirs."""
        cdef list seeds = self.run.seeds_of(module, grad_output, self)
        if self.busy:  # by another thread, or by what a signal handler has interrupted
            return self.run.backward(module, self, self.run.traced.copy_of(self.frame), seeds, parameters, with_inputs)
        self.busy = True
        try:
            return self.run.backward(module, self, self.frame, seeds, parameters, with_inputs)
        finally:
            self.busy = False


@cython.final
cdef class Form:
    """The dtype and the shape of the samples of an array."""

    def __init__(self, cnp.ndarray array not None):
        self.kind, self.shape = cnp.PyArray_TYPE(array), (<object>array).shape[1:]

    cdef cnp.ndarray read(self, x, Py_ssize_t least, Py_ssize_t most):
        cdef cnp.ndarray array
        cdef int axis
        if not is_plain(x) or cnp.PyArray_TYPE(x) != self.kind:
            return None
        array = contiguous(x)  # another thread may run meanwhile: what it does to the model and to x is found out next
        if cnp.PyArray_NDIM(array) != len(self.shape) + 1 or not least <= cnp.PyArray_DIM(array, 0) <= most:
            return None
        for axis in range(len(self.shape)):
            if cnp.PyArray_DIM(array, axis + 1) != <Py_ssize_t>self.shape[axis]:
                return None
        return array


@cython.final
cdef class Call:
    """A program for arrays like some, of `least` up to `most` samples, while a module is as it was.

    Args:
        run: the program's.
        watch: whether it still stands for the module.
        surroundings: whether what forward reads of globals and closures is as it was; None where that is nothing.
        least, most: the samples of a batch.
        arrays: those of a call, by place and then by name.
        names: the names.
    """

    cdef readonly Run run
    cdef readonly Watch watch
    cdef Read surroundings
    cdef list forms
    cdef tuple names
    cdef Py_ssize_t least, most

    def __init__(
        self, Run run not None, Watch watch not None, surroundings: Read | None, Py_ssize_t least, Py_ssize_t most,
        list arrays not None, tuple names not None,
    ):
        self.run, self.watch, self.surroundings, self.least, self.most = run, watch, surroundings, least, most
        self.forms, self.names = [Form(array) for array in arrays], names

    def __reduce__(self):
        raise TypeError("Call: expected to stay in its process, for its frames hold addresses; plan the model again")

    def forward(self, tuple inputs not None, dict named not None, bint keeps) -> Any:
        """Return the output, or if it `keeps` the record of the forward; None where the program does not suit."""
        cdef Py_ssize_t number, places = len(inputs)
        cdef list arrays = []
        cdef cnp.ndarray array
        if keeps != self.run.keeps or places + len(self.names) != len(self.forms) or len(named) != len(self.names):
            return None
        if self.surroundings is not None and not (self.surroundings.same() or self.surroundings.stand()):
            return None
        for number in range(len(self.forms)):
            array = (<Form>self.forms[number]).read(
                inputs[number] if number < places else named.get(self.names[number - places]), self.least, self.most)
            if array is None or (arrays and cnp.PyArray_DIM(array, 0) != cnp.PyArray_DIM(<cnp.ndarray>arrays[0], 0)):
                return None
            arrays.append(array)
        if not self.watch.unchanged():
            return None
        return self.run.forward(arrays, cnp.PyArray_DIM(<cnp.ndarray>arrays[0], 0))

    def forward_of_one(self, owner, x, bint keeps) -> Any:
        """As forward, for one array by place; the owner lets go of what it has kept before."""
        cdef cnp.ndarray array
        if keeps != self.run.keeps or len(self.forms) != 1 or self.names:
            return None
        array = (<Form>self.forms[0]).read(x, self.least, self.most)
        if array is None or not self.watch.unchanged():
            return None
        if keeps:
            owner._kept = None
        return self.run.forward([array], cnp.PyArray_DIM(array, 0))
