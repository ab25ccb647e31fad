"""A container's program, called from Python a batch at a time: as little as can be between the caller and the kernels.

A frame holds what a forward keeps, so each forward that backward may follow takes one that is idle, and gives it back when nobody
holds what it kept any more.
"""

cimport cython
cimport numpy as cnp
from libc.stdint cimport uint64_t

from fastdl._kernels.access cimport Access, enter, leave
from fastdl._kernels.array cimport contiguous, is_plain
from fastdl._kernels.program.frame cimport Frame, give_back
from fastdl._kernels.program.program cimport Frames, Program
from fastdl._kernels.watch cimport Watch

cnp.import_array()

cdef class Call:
    """A program for batches of `least` up to `most` samples.

    Args:
        frames: those of the model in its program.
        watch: tells whether it still stands for the model.
        least, most: the samples of a batch.
        stream: gives the stream that dropout draws from.
        forward: what it reads and writes.
    """

    cdef readonly Frames frames
    cdef Program program
    cdef object stream
    cdef readonly Watch watch
    cdef Py_ssize_t least, most
    cdef Access forward_access

    def __init__(
        self, Frames frames not None, Watch watch not None, Py_ssize_t least, Py_ssize_t most, stream: Callable[[], Any],
        Access forward not None,
    ):
        self.frames, self.program, self.watch, self.stream = frames, frames.program, watch, stream
        self.least, self.most, self.forward_access = least, most, forward

    def __reduce__(self):
        raise TypeError(
            f"{type(self).__name__}: expected to stay in its process, for its frames hold addresses; plan the model again"
        )

    cdef cnp.ndarray read(self, x, Form form):
        """x as the program reads it, in whatever layout it is; None where it is of another form, or too few or many samples."""
        cdef cnp.ndarray array
        cdef int axis
        if not is_plain(x) or cnp.PyArray_TYPE(x) != form.kind:
            return None
        array = contiguous(x)  # another thread may run meanwhile: what it does to the model and to x is found out next
        if cnp.PyArray_NDIM(array) != len(form.shape) + 1 or not self.least <= cnp.PyArray_DIM(array, 0) <= self.most:
            return None
        for axis in range(len(form.shape)):
            if cnp.PyArray_DIM(array, axis + 1) != <Py_ssize_t>form.shape[axis]:
                return None
        return array


@cython.final
cdef class Form:
    """The dtype and the shape of the samples of an array."""

    cdef int kind
    cdef tuple shape

    def __init__(self, cnp.ndarray array not None):
        self.kind, self.shape = cnp.PyArray_TYPE(array), (<object>array).shape[1:]


cdef class ContainerCall(Call):
    """A container's program, whose one output and gradients go to arrays of the caller.

    Args:
        frames, watch, least, most, stream, forward: as of Call.
        x: a batch.
        output_shape: of one sample.
        gradients: see Program.
        backward: what it reads and writes.
    """

    cdef list gradients
    cdef tuple output_shape
    cdef Access backward_access
    cdef Form form

    def __init__(
        self, Frames frames not None, Watch watch not None, Py_ssize_t least, Py_ssize_t most, stream: Callable[[], Any],
        Access forward not None, *, cnp.ndarray x not None, tuple output_shape not None,
        list gradients not None, Access backward not None,
    ):
        Call.__init__(self, frames, watch, least, most, stream, forward)
        self.form = Form(x)
        self.output_shape, self.gradients, self.backward_access = output_shape, gradients, backward

    cdef bint bind(self, Frame frame) except -1:
        """Let the frame name the arrays that parameters live in now; False where they do not suit the program.

        No Python code runs after the last look: to make tuples may collect garbage, whose finalizers may move parameters.
        """
        while self.watch.parameters_fit():
            if frame.moves is self.watch.moves:
                return True
            frame.bind(self.watch.moves)
        return False

    def forward(self, batch, owner) -> Kept | None:
        """Return what is kept of the forward of a batch, with its output; None where the program does not suit.

        The owner lets go of what it has kept before, if an owner is given.
        """
        cdef Kept kept
        cdef cnp.ndarray x = self.read(batch, self.form)
        cdef cnp.npy_intp dims[32]
        cdef int axis, axes = len(self.output_shape) + 1
        if x is None or not self.watch.unchanged():
            return None
        if owner is not None:
            owner._kept = None
        kept = Kept.__new__(Kept)
        kept.seed = kept.call = 0
        kept.frame = self.frames.take()
        kept.of, kept.idle, kept.x = self, self.frames.idle, x
        if self.program.draws:
            kept.seed, kept.call = self.stream().take(self.program.draws)
        dims[0] = cnp.PyArray_DIM(x, 0)
        for axis in range(1, axes):
            dims[axis] = self.output_shape[axis - 1]
        kept.y = cnp.PyArray_EMPTY(axes, dims, self.form.kind, 0)
        enter(self.forward_access)
        try:
            if not self.bind(kept.frame):
                return None
            self.program.forward(kept.frame, x, kept.y, kept.seed, kept.call)
        finally:
            leave(self.forward_access)
        return kept


cdef class Kept:
    """What a forward keeps: the frame whose memory holds it, and the arrays outside."""

    cdef ContainerCall of
    cdef Frame frame
    cdef list idle
    cdef cnp.ndarray x
    cdef readonly cnp.ndarray y
    cdef uint64_t seed, call

    def __dealloc__(self):
        give_back(self.frame, self.idle)

    def __reduce__(self):
        raise TypeError("Kept: expected to stay in its process, for its frame holds addresses; call the model again")

    def backward(self, cnp.ndarray gy not None, bint with_input):
        """Add to the parameters' gradients; return that with respect to x where it is asked for. gy is like y.

        Raises:
            RuntimeError: if the parameters are of another dtype or shape than in the forward.
        """
        cdef cnp.ndarray gx = None
        if with_input:
            gx = cnp.PyArray_EMPTY(cnp.PyArray_NDIM(self.x), cnp.PyArray_DIMS(self.x), cnp.PyArray_TYPE(self.x), 0)
        enter(self.of.backward_access)
        try:
            if not self.of.bind(self.frame):
                raise RuntimeError("weights became others after the forward")
            self.of.program.backward(self.frame, self.x, self.y, gy, gx, self.of.gradients, self.seed, self.call)
        finally:
            leave(self.of.backward_access)
        return gx


cdef class TracedCall(Call):
    """A traced module's program for arrays by place and by name, whose outputs are copied out of the frame's memory.

    Args:
        frames, watch, least, most, stream, forward: as of Call.
        arrays: those of a call, by place and then by name.
        names: the names.
        traced: the TracedProgram, which does whatever takes Python.
        keeps: whether it is for forwards that backward may follow.
        moves: how often parameters had moved when it was made.
        surroundings: tells whether what forward reads of globals and closures stands.
        bases: what the program calls those arrays that it reads, and the number of each.
        outputs: where they are, as Frame.read takes them.
        alone, in_tuple: whether forward returns the one output, or a tuple of them.
        in_python: whether some of its entries are functions in Python.
        record: called with what a forward leaves for its pulls.
    """

    cdef object traced, surroundings, moves, record
    cdef list forms, bases, outputs
    cdef tuple names
    cdef bint keeps, alone, in_tuple, in_python

    def __init__(
        self, Frames frames not None, Watch watch not None, Py_ssize_t least, Py_ssize_t most, stream: Callable[[], Any],
        Access forward not None, *, list arrays not None, tuple names not None, traced, bint keeps, moves,
        surroundings, list bases not None, list outputs not None, bint alone, bint in_tuple, bint in_python,
        record: Callable[..., Any],
    ):
        Call.__init__(self, frames, watch, least, most, stream, forward)
        self.forms, self.names = [Form(array) for array in arrays], names
        self.traced, self.keeps, self.moves, self.surroundings, self.bases = traced, keeps, moves, surroundings, bases
        self.outputs, self.alone, self.in_tuple, self.in_python, self.record = outputs, alone, in_tuple, in_python, record

    cdef list suiting(self, tuple inputs, dict named):
        """The arrays as the program reads them; None where it does not suit."""
        cdef Py_ssize_t number, places = len(inputs)
        cdef list arrays = []
        cdef cnp.ndarray array
        if places + len(self.names) != len(self.forms) or len(named) != len(self.names):
            return None
        for number in range(len(self.forms)):
            array = self.read(
                inputs[number] if number < places else named.get(self.names[number - places]), <Form>self.forms[number]
            )
            if array is None or (arrays and cnp.PyArray_DIM(array, 0) != cnp.PyArray_DIM(<cnp.ndarray>arrays[0], 0)):
                return None
            arrays.append(array)
        return arrays if self.watch.unchanged() and self.watch.kind.changes is self.moves else None

    def forward(self, module, tuple inputs not None, dict named not None, bint keeps) -> Any:
        """Return the output, or if it `keeps` the record of the forward; None where the program does not suit."""
        cdef uint64_t seed = 0, draw = 0
        cdef Frame frame
        cdef Py_ssize_t N, failed
        cdef list arrays, bases, found, versions = []
        if keeps != self.keeps or not self.surroundings.stand():
            return None
        arrays = self.suiting(inputs, named)
        if arrays is None:
            return None
        N = cnp.PyArray_DIM(<cnp.ndarray>arrays[0], 0)
        if self.in_python:
            record = self.traced.forward(module, arrays, N)
            return record if keeps else record.output
        if self.program.draws:
            seed, draw = self.stream().take(self.program.draws)
        frame, bases = self.frames.take(), [(base, arrays[number]) for base, number in self.bases]
        enter(self.forward_access)
        try:
            moves = self.watch.kind.changes
            if frame.moves is not moves:
                self.traced.bind(module, frame, moves, {})
            failed = self.program.run_forward(frame, N, bases, seed, draw)
            if keeps:
                versions = self.traced.versions()
        finally:
            leave(self.forward_access)
        if failed >= 0:
            self.traced.refuse(failed)
        found = frame.read(self.outputs, N)
        output = found[0] if self.alone else tuple(found) if self.in_tuple else self.traced.structured(found)
        if keeps:
            return self.record(self.traced, frame, bases, N, output, (seed, draw), versions)
        give_back(frame, self.frames.idle)
        return output
