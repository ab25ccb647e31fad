"""A frame: what of a program varies by call. Its memory, the arrays outside of it, and how gradients are written.

A program itself is not changed by calls; each forward that a backward may follow has a frame of its own.
"""

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.string cimport memcpy, memset

import numpy as np

from fastdl._kernels.array cimport address
from fastdl._kernels.descriptor cimport ARENA, ARRAYS, place
from fastdl._kernels.node cimport extent
from fastdl._kernels.program.records cimport load_operand

cnp.import_array()

cdef enum:
    LINE = 64

# Where a step takes longer, in seconds, threads that meet are a small part of it, and trying it by one thread is dear.
cdef double SHORT_STEP = 0.002
cdef enum:
    # Windows of steps before the slower way is tried again.
    SOONEST_TRIAL = 8
    RAREST_TRIAL = 64
    # The most frames that are kept for later calls.
    MOST_IDLE = 2


cdef void note_pace(Pace* p, int threads, Py_ssize_t samples, Py_ssize_t batch, double seconds) noexcept nogil:
    """Take down what a window of steps took, and say whether the next one is for one thread alone.

    What threads gain depends on how far apart their caches are and on who else uses their cores, which may change at any moment. So
    the slower way is tried again, more and more seldom while it stays slower; results do not depend on it.
    """
    cdef bint before = p.one < p.all
    cdef double* known = &p.one if p.alone else &p.all
    if p.threads != threads:
        memset(p, 0, sizeof(Pace))
        p.threads = threads
        return
    p.windows += 1
    if p.windows == 1:  # caches and threads are cold
        return
    known[0] = (known[0] + seconds / samples) / 2 if known[0] else seconds / samples
    if p.all * batch > SHORT_STEP:
        p.alone = False
        return
    if p.trial or not p.one:
        p.trial = not p.one  # which is tried at once
        p.alone = True if p.trial else p.one < p.all
        p.apart = min(2 * p.apart, <Py_ssize_t>RAREST_TRIAL) if not p.trial and p.apart and before == p.alone else SOONEST_TRIAL
        p.left = p.apart
        return
    p.left -= 1
    p.alone = p.one < p.all
    if p.left <= 0:
        p.trial, p.alone = True, not p.alone


cdef class Passed:
    """An array of a program's that Python code takes or gives, whose elements lie one behind the other.

    Args:
        where: its place.
        dtype: a NumPy dtype.
        shape: pairs (count, power) for count N^power, at most 32.
    """

    def __init__(self, tuple where not None, dtype: np.dtype[Any], tuple shape not None):
        cdef Py_ssize_t axis
        if len(shape) > MOST_AXES_PASSED:
            raise ValueError(f"Passed: expected at most {MOST_AXES_PASSED} axes, got {len(shape)}")
        load_operand(&self.operand, where)
        self.dtype, self.ndim = dtype.num, len(shape)
        for axis in range(self.ndim):
            self.shape[axis].count, self.shape[axis].power = shape[axis]

    def __reduce__(self):
        raise TypeError("Passed: expected to stay in its process, for it holds addresses; trace the model again")

    cdef Py_ssize_t nbytes(self, const Batch* batch):
        cdef Py_ssize_t count = cnp.PyArray_DescrFromType(self.dtype).itemsize
        cdef int axis
        for axis in range(self.ndim):
            count *= extent(self.shape + axis, batch.N)
        return count

    cdef cnp.ndarray of(self, const Batch* batch):
        cdef cnp.npy_intp sizes[MOST_AXES_PASSED]
        cdef int axis
        cdef cnp.ndarray array
        for axis in range(self.ndim):
            sizes[axis] = extent(self.shape + axis, batch.N)
        array = cnp.PyArray_SimpleNew(self.ndim, sizes, self.dtype)
        memcpy(cnp.PyArray_DATA(array), place(&self.operand, batch), cnp.PyArray_NBYTES(array))
        return array

    cdef int give(self, const Batch* batch, object given, object name) except -1:
        cdef cnp.ndarray array
        cdef bint fits = isinstance(given, np.ndarray)
        cdef int axis
        if fits:
            array = given
            fits = cnp.PyArray_TYPE(array) == self.dtype and cnp.PyArray_NDIM(array) == self.ndim
            for axis in range(self.ndim if fits else 0):
                fits = fits and cnp.PyArray_DIM(array, axis) == extent(self.shape + axis, batch.N)
        if not fits:
            shape = tuple([extent(self.shape + axis, batch.N) for axis in range(self.ndim)])
            got = f"{given.dtype} of shape {given.shape}" if isinstance(given, np.ndarray) else type(given).__name__
            raise ValueError(f"{name}: expected {cnp.PyArray_DescrFromType(self.dtype)} of shape {shape}, got {got}")
        array = cnp.PyArray_GETCONTIGUOUS(array)
        memcpy(place(&self.operand, batch), cnp.PyArray_DATA(array), cnp.PyArray_NBYTES(array))
        return 0


cdef class Frame:
    """Memory for one program, made by Program.frame.

    Args:
        nbytes: of the arena.
        sources: the arrays outside of it: arrays, (parameter, False) for its values, (parameter, True) for its gradient.
        accumulates: a byte for each operation: whether gradients of its parameters are added to.
    """

    def __init__(self, Py_ssize_t nbytes, list sources not None, bytes accumulates not None):
        cdef Py_ssize_t start
        raw = np.zeros(nbytes + LINE, np.uint8)
        start = LINE - <size_t>cnp.PyArray_DATA(<cnp.ndarray>raw) % LINE
        self.arena = raw[start : start + nbytes]
        if self.table != NULL:
            raise TypeError("Frame: expected to be made once; make another")
        self.sources, self.arrays, self.kept = sources, [], {}
        self.table = <char**>PyMem_Calloc(max(1, len(sources)), sizeof(char*))
        self.accumulates = <char*>PyMem_Calloc(max(1, len(accumulates)), 1)
        if self.table == NULL or self.accumulates == NULL:
            raise MemoryError()
        memcpy(self.accumulates, <const char*>accumulates, len(accumulates))
        self.latest_size = -1

    def __dealloc__(self):
        PyMem_Free(self.table)
        PyMem_Free(self.accumulates)

    def __reduce__(self):
        raise TypeError("Frame: expected to stay in its process, for it holds addresses; plan the model again")

    cdef int bind(self) except -1:
        return self.bind_to([array_of(source) for source in self.sources], None)

    cdef int bind_to(self, list arrays, object moves) except -1:
        cdef Py_ssize_t number
        cdef cnp.ndarray array
        for number in range(len(arrays)):
            array = arrays[number]
            self.table[number] = <char*>address(array)
        # A parameter may move to others while these are in use.
        self.moves, self.arrays = moves, arrays
        return 0

    def bind_arrays(self, dict kinds not None, moves, dict aside not None) -> bool:
        """Let entries read and write the arrays that parameters live in now; False, and nothing, where these are of other kinds.

        Args:
            kinds: dtype and shape of parameters and buffers, by their ids.
            moves: what counts the parameters' moves; where it is that of before, they are where they were. None looks for them.
            aside: arrays in the place of gradients, or None, by the parameters' ids.
        """
        cdef Py_ssize_t number
        cdef list arrays
        if moves is not None and self.moves is moves:
            return True
        arrays = [array_of(source) for source in self.sources]
        for number, source in enumerate(self.sources):
            if isinstance(source, tuple):
                if source[1] and id(source[0]) in aside:
                    arrays[number] = aside[id(source[0])]
                array = arrays[number]
                if array is not None and (array.dtype, array.shape) != kinds[id(source[0])]:
                    return False
        self.bind_to(arrays, moves)
        return True

    def read(self, list values not None, Py_ssize_t N) -> list[Any]:
        """Copies of values (Passed) that the arena holds for a batch of N."""
        cdef Batch batch = self.batch(N, 0, 0)
        cdef Passed each
        for each in values:
            if each.operand.base != ARENA or not 0 <= each.operand.offset <= cnp.PyArray_DIM(self.arena, 0) - each.nbytes(&batch):
                raise IndexError(f"Frame.read: expected a value in an arena of {cnp.PyArray_DIM(self.arena, 0)} bytes, got others")
        return [(<Passed>each).of(&batch) for each in values]

    cdef void give(self, Py_ssize_t base, cnp.ndarray array) noexcept:
        self.table[base - ARRAYS] = <char*>address(array)

    cdef Batch batch(self, Py_ssize_t N, uint64_t seed, uint64_t call) noexcept:
        """A whole batch."""
        cdef Batch batch
        memset(&batch, 0, sizeof(batch))
        batch.N, batch.seed, batch.call = N, seed, call
        batch.bases[ARENA] = <char*>cnp.PyArray_DATA(self.arena)
        batch.arrays, batch.accumulates = self.table, self.accumulates
        return batch


cdef void give_back(Frame frame, list idle):
    """Let a frame be used again. In a cycle of garbage, both may be None already."""
    if frame is not None and idle is not None and len(idle) < MOST_IDLE:
        idle.append(frame)


cdef array_of(source):
    """An array itself, or a parameter's values or gradient; None for the gradient of a frozen one, unless it is wanted ("always")."""
    if not isinstance(source, tuple):
        return source
    parameter, gradient = source
    if gradient:
        return parameter._grad if parameter._requires_grad or gradient == "always" else None
    return parameter._data
