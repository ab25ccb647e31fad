"""A layer's forward and backward in a turn: what they read and write stays whole while the kernels run."""

from fastdl._kernels.access cimport Access, enter, leave


cdef class Turns:
    """The turns of a layer's calls, and the attributes that they were made for.

    Args:
        names, values: of these attributes.
        training, evaluation: what a forward reads and writes in either mode.
        backward: what a backward reads and writes.
    """

    cdef tuple names, values
    cdef Access training, evaluation, backward

    def __init__(
        self, tuple names not None, tuple values not None, Access training not None, Access evaluation not None,
        Access backward not None,
    ):
        self.names, self.values = names, values
        self.training, self.evaluation, self.backward = training, evaluation, backward

    def __reduce__(self):
        raise TypeError("Turns: expected to stay in its process, for it holds addresses; call the layer again")


cdef Turns turns_of(layer):
    """The layer's turns, made anew where its attributes are others."""
    cdef Turns turns = layer._turns
    cdef Py_ssize_t i
    if turns is not None:
        for i in range(len(turns.names)):
            if getattr(layer, turns.names[i]) is not turns.values[i]:
                break
        else:
            return turns
    turns = layer._turns = layer._make_turns()
    return turns


def forward_in_turn(self, x) -> tuple[Any, Any]:
    """The layer's `_forward`."""
    cdef Turns turns = turns_of(self)
    cdef Access access = turns.evaluation
    if turns.training is not access and self.training:
        access = turns.training
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
