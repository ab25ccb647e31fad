"""A function in Python amid a program: it takes copies of arrays of the program's, and what it returns is copied back."""

cimport numpy as cnp

import numpy as np

from fastdl._kernels.descriptor cimport Batch
from fastdl._kernels.program.frame cimport Frame
from fastdl._kernels.program.frame cimport Passed

cnp.import_array()


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
