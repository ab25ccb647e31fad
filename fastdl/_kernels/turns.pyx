"""A layer's forward and backward in a turn: what they read and write stays whole while the kernels run."""

from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject

from fastdl._kernels.access cimport Access, enter, leave

cdef object ABSENT = object()


cdef class Turns:
    """The turns of a layer's calls, and the attributes that they were made for.

    Args:
        attributes: the layer's.
        names: of the attributes that must stay the same.
        seen: a copy of the attributes that the turns were made for.
        forward, backward: what either of them reads and writes.
    """

    cdef dict attributes
    cdef tuple names
    cdef list values
    cdef Access forward, backward

    def __init__(
        self, dict attributes not None, tuple names not None, dict seen not None, Access forward not None, Access backward not None,
    ):
        self.attributes, self.names, self.forward, self.backward = attributes, names, forward, backward
        self.values = [seen.get(name, ABSENT) for name in names]

    def __reduce__(self):
        raise TypeError("Turns: expected to stay in its process, for it holds addresses; call the layer again")

    cdef bint stand(self) except -1:
        """Whether the attributes are as they were."""
        cdef Py_ssize_t i
        cdef PyObject* now
        for i in range(len(self.names)):
            now = PyDict_GetItem(self.attributes, self.names[i])
            if (<PyObject*>ABSENT if now == NULL else now) != <PyObject*>self.values[i]:
                return False
        return True


cdef Turns turns_of(layer):
    turns = layer._turns
    if turns is None or not (<Turns>turns).stand():
        turns = layer._turns = layer._make_turns()
    return turns


def forward_in_turn(self, x) -> tuple[Any, Any]:
    """The layer's `_forward`."""
    cdef Access access = turns_of(self).forward
    enter(access)
    try:
        return self._forward(x)
    finally:
        leave(access)


def backward_in_turn(self, saved, grad_output, with_input: bool, with_parameters: bool):
    """The layer's `_backward`."""
    cdef Access access = turns_of(self).backward
    enter(access)
    try:
        return self._backward(saved, grad_output, with_input, with_parameters)
    finally:
        leave(access)
