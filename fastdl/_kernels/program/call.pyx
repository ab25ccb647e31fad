"""A container's program, called from Python a batch at a time: as little as can be between the caller and the kernels.

A frame holds what a forward keeps, so each forward that backward may follow takes one that is idle, and gives it back when nobody
holds what it kept any more.
"""

cimport numpy as cnp
from libc.stdint cimport uint64_t

from fastdl._kernels.access cimport Access, enter, leave
from fastdl._kernels.array cimport contiguous, is_plain
from fastdl._kernels.program.frame cimport Frame
from fastdl._kernels.program.program cimport Program
from fastdl._kernels.watch cimport Watch

cnp.import_array()

# The most frames that are kept for later forwards.
cdef enum:
    MOST_IDLE = 2


cdef class Call:
    """A program for batches of samples like those of x, of `least` up to as many.

    Args:
        program: the model's.
        watch: tells whether it still stands for the model.
        x: a batch.
        output_shape: of one sample.
        gradients: see Program.
        stream: gives the stream that dropout draws from.
        forward, backward: what either of them reads and writes.
    """

    cdef readonly Program program
    cdef object stream
    cdef readonly list idle
    cdef readonly Watch watch
    cdef list gradients
    cdef tuple shape, output_shape
    cdef Py_ssize_t least, capacity
    cdef int kind
    cdef Access forward_access, backward_access

    def __init__(
        self, Program program not None, Watch watch not None, cnp.ndarray x not None, tuple output_shape not None,
        Py_ssize_t least, list gradients not None, stream: Callable[[], Any], Access forward not None,
        Access backward not None,
    ):
        self.program, self.watch, self.output_shape, self.least, self.gradients = program, watch, output_shape, least, gradients
        self.shape, self.capacity, self.kind, self.stream = (<object>x).shape[1:], len(x), cnp.PyArray_TYPE(x), stream
        self.forward_access, self.backward_access, self.idle = forward, backward, [program.frame()]

    def __reduce__(self):
        raise TypeError("Call: expected to stay in its process, for its frames hold addresses; plan the model again")

    cdef cnp.ndarray suiting(self, x):
        """x as the program reads it, in whatever layout it is; None where the program does not suit."""
        cdef cnp.ndarray read
        cdef int axis
        if not is_plain(x) or cnp.PyArray_TYPE(x) != self.kind:
            return None
        read = contiguous(x)  # another thread may run meanwhile: what it does to the model and to x is found out next
        if cnp.PyArray_NDIM(read) != len(self.shape) + 1 or not self.least <= cnp.PyArray_DIM(read, 0) <= self.capacity:
            return None
        for axis in range(len(self.shape)):
            if cnp.PyArray_DIM(read, axis + 1) != <Py_ssize_t>self.shape[axis]:
                return None
        return read if self.watch.unchanged() else None

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
        cdef cnp.ndarray x = self.suiting(batch)
        cdef cnp.npy_intp dims[32]
        cdef int axis, axes = len(self.output_shape) + 1
        if x is None:
            return None
        if owner is not None:
            owner._kept = None
        kept = Kept.__new__(Kept)
        kept.seed = kept.call = 0
        kept.frame = self.idle.pop() if self.idle else self.program.frame()
        kept.of, kept.idle, kept.x = self, self.idle, x
        if self.program.draws:
            kept.seed, kept.call = self.stream().take(self.program.draws)
        dims[0] = cnp.PyArray_DIM(x, 0)
        for axis in range(1, axes):
            dims[axis] = self.output_shape[axis - 1]
        kept.y = cnp.PyArray_EMPTY(axes, dims, self.kind, 0)
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

    cdef Call of
    cdef Frame frame
    cdef list idle
    cdef cnp.ndarray x
    cdef readonly cnp.ndarray y
    cdef uint64_t seed, call

    def __dealloc__(self):
        # In a cycle of garbage, these may be None already.
        if self.frame is not None and self.idle is not None and len(self.idle) < MOST_IDLE:
            self.idle.append(self.frame)

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
