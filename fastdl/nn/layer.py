"""Layer: a module whose forward returns what its backward needs; `forward` and `backward` as users call them are here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from fastdl._kernels import layer_call
from fastdl._kernels.access import Access
from fastdl._kernels.turns import Turns
from fastdl.errors import InvalidStateError
from fastdl.graph.value import Value
from fastdl.messages import shown
from fastdl.nn.grad_mode import mode
from fastdl.nn.module import Module
from fastdl.nn.traced_operators import traced


class Layer(Module):
    """A module of fastdl's own, as two functions without state.

    `_forward(x)` returns the output and what backward needs; it may leave out the latter where `mode.enabled` is False.
    `_backward(saved, grad_output, with_input, with_parameters)` returns the gradient with respect to x, or None unless
    `with_input`, and adds to the parameters' gradients if `with_parameters`. It changes nothing in what was saved.
    `_formula(node, x, **parameters)` returns the output in NumPy's functions of traced values, for second derivatives; the
    layer's node has values that its kernels compute.

    A subclass that overrides `forward`, `backward` or `backward_parameters` is run by containers through these.
    """

    # The attributes with parameters that kernels read, in turns with whoever changes them: weight and bias, or nothing.
    _held: ClassVar[tuple[str, ...]] = ()
    # What the latest forward saved, until a backward has used it.
    _kept: Any = None
    _turns: Turns
    # The module whose buffers a copy shares, in a tuple, for it is no part of the copy: turns at buffers are by module.
    _origin: tuple[Module, ...] = ()
    _forward: ClassVar[Callable[..., tuple[Any, Any]]]
    _backward: ClassVar[Callable[..., Any]]

    # How many of an array's last axes it reads together, where those before are all alike; None where they are not.
    _last_axes: int | None = None

    # Whether it computes what its class says, and no function of the user's.
    _pure = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        forward, backward = _depth(cls, "_forward"), _depth(cls, "_backward")
        own_backward = _depth(cls, "backward") < backward
        cls._has_trace = hasattr(cls, "_plan") or cls._apply is not Layer._apply
        cls._stateful = (
            own_backward or _depth(cls, "forward") < forward or _depth(cls, "backward_parameters") < backward
        )
        if own_backward and _depth(cls, "backward") < _depth(cls, "backward_parameters"):
            cls.backward_parameters = Module.backward_parameters

    __call__ = layer_call.call
    forward = layer_call.forward
    backward = layer_call.backward
    backward_parameters = layer_call.backward_parameters
    _gradient = layer_call.gradient

    def _call(self, x: Any, *inputs: Any, **named: Any) -> Any:
        """A call that is not of one array alone."""
        if type(x) is not Value and not inputs and not named:
            return self.forward(x)
        return self._call_traced((x, *inputs), named)

    def _apply(self, *inputs: Any, **named: Any) -> Any:
        """See Module._apply."""
        from fastdl.graph.layers import layer

        return layer(self, *inputs, **named)

    def _forward_any(self, x: Any) -> Any:
        """`forward` in traced code, or of what is no array."""
        if mode.traces and (y := self._of_constant(x)) is not None:
            return y
        try:
            y, saved = self._forward(x)
        except TypeError:
            value = traced(x)
            if type(value) is Value:
                return self._call_traced((value,), {})
            raise
        if mode.enabled:
            self._kept = saved
        return y

    def _without_forward(self) -> InvalidStateError:
        """The error of a backward that no forward came before."""
        return InvalidStateError(
            shown(self),
            "a forward before each backward",
            "none since the latest backward",
            "call the model on a batch first, outside no_grad()",
        )

    def _moved(self) -> RuntimeError:
        """The error of a backward amid which the parameters have moved."""
        return RuntimeError(f"{shown(self)}: weights became others in the midst of a backward; call the model again")

    def _make_turns(self) -> Turns:
        """The turns of the layer's calls, for the parameters that it has now."""
        parameters = [each for name in self._held if (each := getattr(self, name)) is not None]
        buffered = self._origin or (self,) if self._buffer_names else ()
        evaluation = training = Access(reads=[*parameters, *buffered])
        if buffered:
            training = Access(reads=parameters, writes=buffered)
        backward = Access(reads=parameters, writes_gradients=parameters)
        return Turns(training, evaluation, backward)

    def extra_repr(self) -> str:
        """Return the constructor's arguments; nothing where modules follow that spell them."""
        return "" if list(self.children()) else self.spec()[len(type(self).__name__) + 1 : -1]


def _depth(kind: type, name: str) -> int:
    """How far up from a class the one is that defines a method; beyond all of them where there is none."""
    for depth, base in enumerate(kind.__mro__):
        if name in base.__dict__:
            return depth
    return len(kind.__mro__)
