"""A function in Python amid a program: it takes copies of arrays of the program's, and what it returns is copied back."""

cimport numpy as cnp
from libc.string cimport memcpy

import numpy as np

from fastdl._kernels.descriptor cimport Batch, Operand, place
from fastdl._kernels.node cimport Extent, extent
from fastdl._kernels.program.frame cimport Frame
from fastdl._kernels.program.records cimport load_operand

cnp.import_array()

cdef enum:
    MOST = 32  # axes


cdef class Passed:
    """An array that a function takes or returns, whose elements lie one behind the other.

    Args:
        where: its place.
        dtype: a NumPy dtype.
        shape: pairs (count, power) for count N^power, at most 32.
    """

    cdef Operand operand
    cdef int dtype, ndim
    cdef Extent shape[MOST]

    def __init__(self, tuple where not None, dtype: np.dtype[Any], tuple shape not None):
        cdef Py_ssize_t axis
        if len(shape) > MOST:
            raise ValueError(f"Passed: expected at most {MOST} axes, got {len(shape)}")
        load_operand(&self.operand, where)
        self.dtype, self.ndim = dtype.num, len(shape)
        for axis in range(self.ndim):
            self.shape[axis].count, self.shape[axis].power = shape[axis]

    def __reduce__(self):
        raise TypeError("Passed: expected to stay in its process, for it holds addresses; trace the model again")

    cdef cnp.ndarray of(self, const Batch* batch):
        """A copy of the array for a batch."""
        cdef cnp.npy_intp sizes[MOST]
        cdef int axis
        cdef cnp.ndarray array
        for axis in range(self.ndim):
            sizes[axis] = extent(self.shape + axis, batch.N)
        array = cnp.PyArray_SimpleNew(self.ndim, sizes, self.dtype)
        memcpy(cnp.PyArray_DATA(array), place(&self.operand, batch), cnp.PyArray_NBYTES(array))
        return array

    cdef int give(self, const Batch* batch, object given, object name) except -1:
        """Let a batch have an array."""
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


cdef class PythonCall:
    """A function, and the arrays that it is called with.

    Args:
        name: of the function, for errors.
        function: called with a dictionary of the frame's, in which calls leave objects for others, and an array for each of `reads`;
            returns an array for each of `writes`.
        reads, writes: Passed.
    """

    def __init__(
        self, str name not None, function: Callable[..., Iterable[Array]], tuple reads not None, tuple writes not None,
    ):
        self.name, self.function, self.reads, self.writes = name, function, reads, writes

    def __reduce__(self):
        raise TypeError("PythonCall: expected to stay in its process, for it holds addresses; trace the model again")

    cdef int call(self, Frame frame, const Batch* batch) except -1:
        cdef Passed each
        cdef list arrays = []
        cdef tuple found
        cdef Py_ssize_t number
        for each in self.reads:
            arrays.append(each.of(batch))
        found = tuple(self.function(frame.kept, *arrays))
        if len(found) != len(self.writes):
            raise ValueError(f"{self.name}: expected {len(self.writes)} arrays, got {len(found)}")
        for number in range(len(found)):
            each = self.writes[number]
            each.give(batch, found[number], self.name)
        return 0

    cdef bint finite(self, const Batch* batch) except -1:
        cdef Passed each
        for each in self.writes:
            array = each.of(batch)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                return False
        return True
