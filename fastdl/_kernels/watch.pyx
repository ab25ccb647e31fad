"""Whether a model is as it was: what its modules hold, and its parameters' arrays, compared by identity."""

cimport numpy as cnp
from cpython.dict cimport PyDict_GetItem, PyDict_Size
from cpython.mem cimport PyMem_Free, PyMem_Malloc

cnp.import_array()


cdef class Watch:
    """Holds what was read of some dictionaries and parameters.

    Args:
        dictionaries: those of modules; an entry that comes or goes counts as well.
        passing: names of entries that may change.
        parameters: which must keep their dtype and shape.
        kind: their class, which counts its instances' moves.
        in_place: whether they must keep their arrays too, and stay frozen or not.
    """

    def __init__(self, dictionaries, passing, parameters, kind, in_place=False):
        self.kind, self.moves, self.in_place = kind, kind.changes, in_place
        copies = [(each, each.copy()) for each in dictionaries]
        self.sizes = [(each, len(copy)) for each, copy in copies]
        self.entries = [(each, name, value) for each, copy in copies for name, value in copy.items() if name not in passing]
        self.looked_at = <PyObject**>PyMem_Malloc(3 * max(1, len(self.entries)) * sizeof(PyObject*))
        if self.looked_at == NULL:
            raise MemoryError("fastdl: no memory to watch a model with")
        for number, (each, name, value) in enumerate(self.entries):
            self.looked_at[3 * number] = <PyObject*>each
            self.looked_at[3 * number + 1] = <PyObject*>name
            self.looked_at[3 * number + 2] = <PyObject*>value
        self.parameters = [(each, each._data, each._grad, each._requires_grad) for each in parameters]

    def __dealloc__(self):
        PyMem_Free(self.looked_at)

    def __reduce__(self):
        raise TypeError("Watch: expected to stay in its process, for it holds addresses; make it again")

    cdef bint unchanged(self) except -1:
        """Whether everything is as it was."""
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
        return self.parameters_fit()

    cdef bint parameters_fit(self) except -1:
        """Whether the parameters are as they must be."""
        cdef tuple entry
        cdef cnp.ndarray before, now
        moves = self.kind.changes
        if moves is self.moves:
            return True
        for entry in self.parameters:
            parameter, before = entry[0], <cnp.ndarray>entry[1]
            now = parameter._data
            if self.in_place:
                if now is not before or parameter._grad is not entry[2] or parameter._requires_grad is not entry[3]:
                    return False
            elif cnp.PyArray_TYPE(now) != cnp.PyArray_TYPE(before) or not cnp.PyArray_SAMESHAPE(now, before):
                return False
        self.moves = moves
        return True

    def stands(self):
        """Tell whether everything is as it was."""
        return self.unchanged()
