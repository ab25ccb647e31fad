"""A layer's kernels, each called in a turn: what it reads and writes stays whole while it runs.

No Python code of this thread runs between the look at the parameters and the kernel's end, but other threads may: a kernel's loops
over threads give the interpreter's lock back while they run.
"""

cimport numpy as cnp
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.string cimport memset

from fastdl._kernels.access cimport Access, enter, leave

cnp.import_array()

cdef extern from "numpy/arrayobject.h":
    bint PyArray_SAMESHAPE(cnp.ndarray one, cnp.ndarray other)


cdef class Turns:
    """The turns of a layer's calls, which its kernels are called through.

    Args:
        training, evaluation: what a forward reads and writes in either mode.
        backward: what a backward reads and writes.
    """

    cdef Access training, evaluation, backward

    def __init__(self, Access training not None, Access evaluation not None, Access backward not None):
        self.training, self.evaluation, self.backward = training, evaluation, backward

    def __reduce__(self):
        raise TypeError("Turns: expected to stay in its process, for it holds addresses; call the layer again")

    def run(self, kernel, *arguments):
        """Call a kernel that reads the layer's parameters and buffers."""
        call_in_turn(self.evaluation, kernel, arguments)

    def run_training(self, kernel, *arguments):
        """Call a kernel that reads the layer's parameters and moves its buffers."""
        call_in_turn(self.training, kernel, arguments)

    def run_backward(self, layer, kernel, tuple before not None, tuple after not None, bint with_parameters, W, b):
        """Call kernel(*before, accumulate, *after, gW, gb) with the gradients of weight and bias, if `with_parameters`.

        Either is None where the parameter is missing or frozen. W and b are the arrays that the layer has read of the two.
        """
        enter(self.backward)
        try:
            call_backward(layer, kernel, before, after, with_parameters, W, b)
        finally:
            leave(self.backward)


cdef int call_in_turn(Access access, kernel, tuple arguments) except -1:
    enter(access)
    try:
        kernel(*arguments)
    finally:
        leave(access)
    return 0


cdef int call_backward(layer, kernel, tuple before, tuple after, bint with_parameters, W, b) except -1:
    cdef Py_ssize_t i, first = len(before), rest = len(after)
    # Made before the look at the parameters: tuples may collect garbage, whose finalizers may move them.
    cdef tuple arguments = PyTuple_New(first + rest + 3)
    cdef bint adds = False
    gW = gb = None
    if with_parameters:
        parameters = layer.weight, layer.bias
        gW, gb = gradient_of(layer, parameters[0], W), gradient_of(layer, parameters[1], b)
        adds = accumulates(parameters)
    for i in range(first):
        put(arguments, i, before[i])
    put(arguments, first, adds)
    for i in range(rest):
        put(arguments, first + 1 + i, after[i])
    put(arguments, first + rest + 1, gW)
    put(arguments, first + rest + 2, gb)
    kernel(*arguments)
    return 0


cdef inline void put(tuple into, Py_ssize_t place, object value) noexcept:
    Py_INCREF(value)
    PyTuple_SET_ITEM(into, place, value)


cdef cnp.ndarray gradient_of(layer, parameter, cnp.ndarray values):
    """The gradient that a backward writes; a signal handler may have moved the parameter to another dtype since it was read."""
    cdef cnp.ndarray grad
    if parameter is None or not parameter._requires_grad:
        return None
    grad = parameter._grad
    if values is None or cnp.PyArray_TYPE(grad) != cnp.PyArray_TYPE(values) or not PyArray_SAMESHAPE(grad, values):
        raise layer._moved()
    return grad


cdef bint accumulates(tuple parameters) except -1:
    """Whether a backward that writes the gradients of these (None is passed over) adds to them or stores.

    It adds as soon as one of them holds a gradient; the others are zeros then. Their gradients count as written from now on.
    """
    cdef bint adds = False, forgets = False
    cdef cnp.ndarray grad
    for parameter in parameters:
        if parameter is not None and parameter._requires_grad:
            if parameter._forgotten:
                forgets = True
            else:
                adds = True
    if not forgets:
        return adds
    for parameter in parameters:
        if parameter is not None and parameter._requires_grad and parameter._forgotten:
            if adds:
                grad = parameter._grad
                memset(cnp.PyArray_DATA(grad), 0, cnp.PyArray_NBYTES(grad))
            parameter._forgotten = False
    return adds
