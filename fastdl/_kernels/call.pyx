"""A container's program, called from Python a batch at a time: as little as can be between the caller and the kernels.

Programs hold what a forward keeps, so each forward that backward may follow takes one that is free, and gives it back when nobody
holds what it kept any more.
"""

cimport numpy as cnp
from cpython.dict cimport PyDict_GetItem, PyDict_Size
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from fastdl._kernels.program cimport Program

cnp.import_array()


cdef class Watch:
    """Holds what was read of some dictionaries and parameters, to be compared by identity.

    Args:
        dictionaries: those of modules; an entry that comes or goes counts as well.
        passing: names of entries that may change.
        parameters: which must keep their dtype and shape, and stay frozen or not; they may move.
        kind: their class, which counts its instances' moves.
    """

    cdef list entries, sizes, parameters
    # Dictionary, name and value of each entry, one behind the other; the list above holds them.
    cdef PyObject** looked_at
    cdef object kind
    cdef readonly object moves

    def __init__(self, dictionaries, passing, parameters, kind):
        self.sizes = [(each, len(each)) for each in dictionaries]
        self.entries = [
            (each, name, value) for each in dictionaries for name, value in each.items() if name not in passing
        ]
        self.looked_at = <PyObject**>PyMem_Malloc(3 * max(1, len(self.entries)) * sizeof(PyObject*))
        if self.looked_at == NULL:
            raise MemoryError("fastdl: no memory to watch a model with")
        for number, (each, name, value) in enumerate(self.entries):
            self.looked_at[3 * number] = <PyObject*>each
            self.looked_at[3 * number + 1] = <PyObject*>name
            self.looked_at[3 * number + 2] = <PyObject*>value
        self.parameters = [(each, each.dtype, each.shape, each._requires_grad) for each in parameters]
        self.kind, self.moves = kind, kind.changes

    def __dealloc__(self):
        PyMem_Free(self.looked_at)

    cpdef bint unchanged(self) except -1:
        """Tell whether everything is as it was."""
        cdef tuple entry
        cdef PyObject** place = self.looked_at
        cdef PyObject** end = place + 3 * len(self.entries)
        for entry in self.sizes:
            if PyDict_Size(<object>entry[0]) != <Py_ssize_t>entry[1]:
                return False
        while place < end:
            if PyDict_GetItem(<object>place[0], <object>place[1]) != place[2]:
                return False
            place += 3
        moves = self.kind.changes
        if moves is not self.moves:
            for entry in self.parameters:
                each = entry[0]
                if (each.dtype, each.shape, each._requires_grad) != entry[1:]:
                    return False
            self.moves = moves
        return True


cdef class Call:
    """A program for batches of samples like those of x, of `least` up to as many.

    Args:
        program: the first.
        make: makes another.
        watch: tells whether it still stands for the model.
        x: a batch.
        output_shape: of one sample.
        parameters: W and b of each operation that has some, behind its number.
        gradients: see Program.
        stream: gives the stream that dropout draws from.
    """

    cdef object make, stream
    cdef readonly list free
    cdef readonly Watch watch
    cdef list parameters, gradients
    cdef tuple shape, output_shape
    cdef Py_ssize_t least, capacity, draws
    cdef int kind

    def __init__(self, Program program not None, make, Watch watch not None, cnp.ndarray x not None, tuple output_shape not None,
                 Py_ssize_t least, list parameters not None, list gradients not None, stream):
        self.make, self.watch, self.output_shape, self.least, self.gradients = make, watch, output_shape, least, gradients
        self.shape, self.capacity, self.kind, self.stream = (<object>x).shape[1:], len(x), cnp.PyArray_TYPE(x), stream
        self.parameters = parameters
        self.free, self.draws = [program], program.draws

    cdef bint suits(self, x) except -1:
        cdef int axis
        if type(x) is not cnp.ndarray or cnp.PyArray_TYPE(x) != self.kind or not cnp.PyArray_ISCARRAY_RO(x):
            return False
        if cnp.PyArray_NDIM(x) != len(self.shape) + 1 or not self.least <= cnp.PyArray_DIM(x, 0) <= self.capacity:
            return False
        for axis in range(len(self.shape)):
            if cnp.PyArray_DIM(x, axis + 1) != <Py_ssize_t>self.shape[axis]:
                return False
        return self.watch.unchanged()

    cdef int bind(self, Program program) except -1:
        if program.bound is not self.watch.moves:
            program.bind(self.parameters, self.watch.moves)
        return 0

    def forward(self, x, owner):
        """Return what is kept of the forward of x, with its output; None where the program does not suit.

        The owner lets go of what it has kept before, if an owner is given.
        """
        cdef Kept kept
        cdef cnp.npy_intp dims[32]
        cdef int axis, axes = len(self.output_shape) + 1
        if not self.suits(x):
            return None
        if owner is not None:
            owner._kept = None
        kept = Kept.__new__(Kept)
        kept.seed = kept.call = 0
        kept.program = self.free.pop() if self.free else self.make()
        kept.of, kept.x = self, x
        if self.draws:
            kept.seed, kept.call = self.stream().take(self.draws)
        dims[0] = cnp.PyArray_DIM(x, 0)
        for axis in range(1, axes):
            dims[axis] = self.output_shape[axis - 1]
        kept.y = cnp.PyArray_EMPTY(axes, dims, self.kind, 0)
        self.bind(kept.program)
        kept.program.forward(x, kept.y, kept.seed, kept.call)
        return kept


cdef class Kept:
    """What a forward keeps: the program whose memory holds it, and the arrays outside."""

    cdef Call of
    cdef Program program
    cdef cnp.ndarray x
    cdef readonly cnp.ndarray y
    cdef uint64_t seed, call

    def __del__(self):
        if self.program is not None:
            self.of.free.append(self.program)

    def current(self) -> bool:
        """Tell whether the model is as it was at the forward."""
        return self.of.watch.unchanged()

    def backward(self, cnp.ndarray gy not None, bint with_input):
        """Add to the parameters' gradients; return that with respect to x where it is asked for. gy is like y."""
        cdef cnp.ndarray gx = None
        if with_input:
            gx = cnp.PyArray_EMPTY(cnp.PyArray_NDIM(self.x), cnp.PyArray_DIMS(self.x), cnp.PyArray_TYPE(self.x), 0)
        self.of.bind(self.program)
        self.program.backward(self.x, self.y, gy, gx, self.of.gradients, self.seed, self.call)
        return gx
