"""Layer: a module whose forward returns what its backward needs; `forward` and `backward` as users call them are here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.access import Access
from fastdl._kernels.array import ready
from fastdl._kernels.turns import Turns
from fastdl.errors import InvalidStateError, InvalidValueError
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
    _turns: Turns | None = None
    # The module whose buffers a copy shares, in a tuple, for it is no part of the copy: turns at buffers are by module.
    _origin: tuple[Module, ...] = ()
    _forward: ClassVar[Callable[..., tuple[Any, Any]]]
    _backward: ClassVar[Callable[..., Any]]

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

    def __call__(self, x: Any, *inputs: Any, **named: Any) -> Any:
        if type(x) is not Value and not inputs and not named:
            return self.forward(x)
        return self._call_traced((x, *inputs), named)

    def _apply(self, *inputs: Any, **named: Any) -> Any:
        """See Module._apply."""
        from fastdl.graph.layers import layer

        return layer(self, *inputs, **named)

    def forward(self, x: Any) -> Any:
        """Return the output for x; outside no_grad, what backward needs is kept until the next forward."""
        state = mode.state
        if state > 1 and (y := self._of_constant(x)) is not None:
            return y
        try:
            y, saved = self._forward(x)
        except TypeError:
            value = traced(x)
            if type(value) is Value:
                return self._call_traced((value,), {})
            raise
        if state & 1:
            self._kept = saved
        return y

    def backward(self, grad_output: Any) -> Any:
        """Return the gradient with respect to the latest forward's input; add to the parameters' gradients.

        Each forward serves one backward. A gradient that is refused leaves it.
        """
        return self._use_kept(grad_output, True)

    def backward_parameters(self, grad_output: Any) -> None:
        """Add to the parameters' gradients, as backward does, without computing the input's."""
        self._use_kept(grad_output, False)

    def _use_kept(self, grad_output: Any, with_input: bool) -> Any:
        """The gradient of the latest forward, which is used up unless the gradient is refused."""
        saved = self._kept
        if saved is None:
            raise self._without_forward()
        try:
            gx = self._backward(saved, grad_output, with_input, True)
        except (TypeError, ValueError):
            raise
        except BaseException:
            self._kept = None
            raise
        self._kept = None
        return gx

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

    def _gradient(self, grad_output: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """The gradient with respect to the output as kernels take it."""
        gy = ready(grad_output, dtype, self, "grad_output")
        if gy.shape != shape:
            raise InvalidValueError(shown(self), f"a gradient of shape {shape}", gy.shape)
        return gy

    def _make_turns(self) -> Turns:
        """The turns of the layer's calls, for the parameters that it has now."""
        values = tuple(getattr(self, name) for name in self._held)
        parameters = [each for each in values if each is not None]
        buffered = self._origin or (self,) if self._buffer_names else ()
        evaluation = training = Access(reads=[*parameters, *buffered])
        if buffered:
            training = Access(reads=parameters, writes=buffered)
        backward = Access(reads=parameters, writes_gradients=parameters)
        return Turns(self._held, values, training, evaluation, backward)

    def extra_repr(self) -> str:
        """Return the constructor's arguments; nothing where modules follow that spell them."""
        return "" if list(self.children()) else self.spec()[len(type(self).__name__) + 1 : -1]


def _depth(kind: type, name: str) -> int:
    """How far up from a class the one is that defines a method; beyond all of them where there is none."""
    for depth, base in enumerate(kind.__mro__):
        if name in base.__dict__:
            return depth
    return len(kind.__mro__)
