"""Calls of modules and losses on arrays: as little as can be between the caller and what computes.

The functions are methods of Module, Layer and Loss.
"""

cimport numpy as cnp

from fastdl._kernels.array cimport ready_gradient_of
from fastdl._kernels.grad_mode cimport keeps, repeats, runs_eagerly, traces

cnp.import_array()


cdef class LatestCalls:
    """The programs of a module's latest kinds of calls of arrays, which a call looks through before anything else."""

    cdef public tuple latest

    def __init__(self):
        self.latest = ()

    def __reduce__(self):
        raise TypeError("LatestCalls: expected to stay in its process, for its programs hold addresses; call the model again")

    cpdef object result(self, tuple inputs, dict named, bint recorded):
        """Return the output for arrays by place and by name, or the record of the forward; None where none of them suits."""
        for known in self.latest:
            result = known.forward(inputs, named, recorded)
            if result is not None:
                return result
        return None

    cdef object result_of_one(self, owner, x, bint recorded):
        """As result, for one array by place; the owner lets go of what it has kept before."""
        for known in self.latest:
            result = known.forward_of_one(owner, x, recorded)
            if result is not None:
                return result
        return None


def module_call(self, *inputs, **named) -> Any:
    """Return the output for the inputs, as forward does."""
    if self._forward_only:
        known = self.__dict__.get("_flat")
        if isinstance(known, LatestCalls) and not traces() and not runs_eagerly() and self.traced:
            result = (<LatestCalls>known).result(inputs, named, keeps())
            if result is not None:
                if not keeps():
                    return result
                self.__dict__["_kept"] = result
                return result.output
    return self._call_any(inputs, named)


def call(self, x, *inputs, **named) -> Any:
    """Return the output for x, as forward does."""
    if type(x) is cnp.ndarray and not inputs and not named:
        return self.forward(x)
    return self._call(x, *inputs, **named)


def forward(self, x) -> Any:
    """Return the output for x; outside no_grad, what backward needs is kept until the next forward."""
    if type(x) is not cnp.ndarray or traces():
        return self._forward_any(x)
    y, saved = self._forward(x)
    if keeps():
        self._kept = saved
    return y


def container_forward(self, x) -> Any:
    """Return the output for x; outside no_grad, what backward needs is kept until the next forward."""
    result = None if traces() else result_of(self, x)
    if result is None:
        return forward(self, x)
    if not keeps():
        return result
    self._kept = result
    return result.output


cpdef object result_of(container, x):
    """Return the output of a container's program, or the record of a forward that backward may follow; None where there is none."""
    calls = container._flat
    if calls is None or repeats():  # which a container's record does not
        return None
    return (<LatestCalls>calls).result_of_one(container, x, keeps())


def backward(self, grad_output) -> Any:
    """Return the gradient with respect to the latest forward's input; add to the parameters' gradients.

    Each forward serves one backward. A gradient that is refused leaves it.
    """
    return use_kept(self, grad_output, True)


def backward_parameters(self, grad_output) -> None:
    """Add to the parameters' gradients, as backward does, without computing the input's."""
    use_kept(self, grad_output, False)


def loss_call(self, output, target) -> Any:
    """Return the loss, as forward does."""
    return self.forward(output, target)


def loss_forward(self, output, target) -> Any:
    """Return the loss as a float, or for reduction "none" as an array."""
    if type(output) is not cnp.ndarray or type(target) is not cnp.ndarray:
        return self._forward_any(output, target)
    loss, saved = self._forward(output, target)
    if keeps():
        self._kept = saved
    return loss


def loss_backward(self, grad_output=None) -> Any:
    """Return the gradient with respect to output.

    grad_output, for reduction "none", weighs each loss; without it, they are summed.
    """
    return use_kept(self, grad_output, True)


def gradient(self, grad_output, tuple shape not None, dtype: np.dtype[Any]) -> Array:
    """Return the gradient with respect to the output as kernels take it."""
    return ready_gradient_of(grad_output, shape, dtype, self)


cdef object use_kept(layer, grad_output, bint with_input):
    """The gradient of the latest forward, which is used up unless the gradient is refused."""
    saved = layer._kept
    if saved is None:
        raise layer._without_forward()
    try:
        gx = layer._backward(saved, grad_output, with_input, True)
    except (TypeError, ValueError):
        raise
    except BaseException:
        layer._kept = None
        raise
    layer._kept = None
    return gx
