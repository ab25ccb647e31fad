"""Arrays of a program's memory that Python code sees: copies of them, and what is copied into them."""

cimport numpy as cnp
from libc.string cimport memcpy

import numpy as np

from fastdl._kernels.descriptor cimport place
from fastdl._kernels.node cimport extent
from fastdl._kernels.program.records cimport load_operand

cnp.import_array()


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
