"""Forms of arrays: the dtype and the shape of their samples, by which a call is known to be like another."""

cimport cython
cimport numpy as cnp

from fastdl._kernels.array cimport contiguous, is_plain

cnp.import_array()


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
