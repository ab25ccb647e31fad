"""Parameter: a weight and its gradient."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdl._kernels.access import Access, Entries, busy
from fastdl._kernels.array import clear
from fastdl.casting import cast, cast_finite
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph.value import current, mode, traced_into, where
from fastdl.messages import shown
from fastdl.nn.traced_operators import TracedOperators, detached
from fastdl.validation import as_array, as_float_dtype


class Parameter(TracedOperators):
    """An array that an optimizer changes, beside the gradient of the loss with respect to it.

    Args:
        data: float32 or float64 array of any shape; it is copied.
        requires_grad: False freezes the parameter: it is neither differentiated nor updated.

    `data` and `grad` keep their place in memory for the parameter's life (an optimizer lays both out in one flat buffer):
    assigning to them copies the values in. `grad` starts as zeros. In a forward that is traced, NumPy's operators and
    functions take the parameter itself.

    Raises:
        TypeError: if data is not of dtype float32 or float64.

    Example:
        >>> weight = Parameter(np.ones((2, 3), dtype=np.float32))
        >>> weight.data = np.zeros((2, 3))
        >>> weight.grad.shape, weight.requires_grad
        ((2, 3), True)
    """

    __slots__ = ("__weakref__", "_changed", "_data", "_fit", "_forgotten", "_grad", "_requires_grad", "_shown")

    # How often any parameter has moved or has been frozen or released: an optimizer looks at its parameters anew
    # when this has changed, and not in every step.
    changes: ClassVar[int] = 0
    # How often the version of any parameter was bound to the turns of another fit or optimizer.
    refits: ClassVar[int] = 0

    def __init__(self, data: ArrayLike, requires_grad: bool = True) -> None:
        array = as_array(data, "data", "Parameter")
        if array.dtype not in (np.float32, np.float64):
            raise InvalidTypeError(
                "Parameter", "an array of float32 or float64", array.dtype, "write np.asarray(data, dtype=np.float32)"
            )
        self._data = np.array(array, dtype=array.dtype.type, order="C", subok=False)
        self._grad = np.zeros_like(self._data)
        # True while the gradient counts as zeros though its memory was not cleared: a backward may store instead of add.
        self._forgotten = False
        self._requires_grad = _flag(requires_grad)
        self._changed, self._fit = 0, Entries()

    @property
    def version(self) -> int:
        """A number that grows when the values change.

        Optimizers' steps, fits, `load_state_dict`, `reset_parameters`, `astype` and an assignment to `data` let it grow.
        Writes by NumPy, such as `p.data *= 0.5`, do not: nothing sees them.
        """
        return self._changed + self._fit.number

    def _fitted_in(self, turns: Entries) -> None:
        """Let the version grow with each of these turns from now on."""
        if self._fit is not turns:
            self._changed, self._fit = self.version + 1, turns
            Parameter.refits += 1

    @property
    def data(self) -> NDArray[Any]:
        """The values; assignment copies into them. In traced code, a value that no gradient goes through."""
        if mode.traces and (graph := traced_into(self)) is not None:
            return detached(graph, self)
        return self._views()[1]

    @data.setter
    def data(self, value: ArrayLike) -> None:
        _refuse_amid_trace(self, "data")
        with Access(writes=[self]):
            copy_into(self._data, value, "Parameter.data")
            self._changed += 1

    @property
    def grad(self) -> NDArray[Any]:
        """The gradient accumulated since the last zero_grad; assignment copies into it."""
        if mode.traces and traced_into(self) is not None:
            raise InvalidTypeError("Parameter.grad", "a call outside of forward functions and losses", "one within")
        if self._forgotten:
            self.zero_grad()
        return self._views()[3]

    def _views(self) -> tuple[NDArray[Any], ...]:
        """Values and gradient, each before the view that is shown of it, whose shape anyone may set."""
        shown = getattr(self, "_shown", None)
        if shown is None or shown[0] is not self._data or shown[2] is not self._grad:
            data, grad = self._data, self._grad
            shown = self._shown = data, data.view(), grad, grad.view()
        return shown

    @grad.setter
    def grad(self, value: ArrayLike) -> None:
        with Access(writes_gradients=[self]):
            copy_into(self._grad, value, "Parameter.grad")
            self._forgotten = False

    @property
    def requires_grad(self) -> bool:
        """Whether the parameter is differentiated and updated; assign False to freeze it."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        _refuse_amid_trace(self, "requires_grad")
        self._requires_grad = _flag(value)
        Parameter.changes += 1

    def zero_grad(self) -> None:
        """Set the gradient to zeros, in place."""
        with Access(writes_gradients=[self]) if busy() else nullcontext():
            clear(self._grad)
            self._forgotten = False

    def astype(self, dtype: Any) -> Any:
        """Change the dtype of values and gradient to float32 or float64; in traced code, return the values cast."""
        if current.graph is not None:
            return current.graph.parameter(self).astype(dtype)
        dtype = as_float_dtype(dtype, "Parameter.astype")
        with Access(writes=[self], writes_gradients=[self]):
            self.move_to(cast(self._data, dtype), cast(self.grad, dtype))
            self._changed += 1

    def move_to(self, data: NDArray[Any], grad: NDArray[Any]) -> None:
        """Let the parameter live in these arrays from now on (what an optimizer does with its flat buffers).

        Whoever copies the values has a turn to write them meanwhile.
        """
        self._data, self._grad = data, grad
        Parameter.changes += 1

    def _aside(self) -> Parameter:
        """A parameter with these values, whose gradient is another."""
        twin = object.__new__(type(self))
        twin.__setstate__(
            {**getattr(self, "__dict__", {}), "data": self._data, "grad": None, "requires_grad": self._requires_grad}
        )
        return twin

    def __getstate__(self) -> dict[str, Any]:
        """Return copies of the values, and of the gradient where there is one: one whole state, also while a fit runs."""
        own = dict(getattr(self, "__dict__", {}))  # a subclass's
        with Access(reads=[self], reads_gradients=[self]):
            grad = None if self._forgotten or not self._grad.any() else self._grad.copy()
            return {**own, "data": self._data.copy(), "grad": grad, "requires_grad": self._requires_grad}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = state.copy()
        data, grad, self._requires_grad = state.pop("data"), state.pop("grad"), state.pop("requires_grad")
        self._data = writable(data)
        self._grad, self._forgotten = np.zeros_like(self._data) if grad is None else writable(grad), False
        self._changed, self._fit = 0, Entries()
        if state:
            vars(self).update(state)

    def __repr__(self) -> str:
        frozen = "" if self.requires_grad else ", requires_grad=False"
        return f"Parameter(shape={self.shape}, dtype={self.dtype}{frozen})"


def _refuse_amid_trace(parameter: Parameter, name: str) -> None:
    if traced_into(parameter, at_once=False) is not None:
        raise InvalidTypeError(
            f"{where()}: Parameter.{name}", "an assignment outside of forward functions and losses", "one within"
        )


def _flag(value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise InvalidTypeError("Parameter", "True or False", shown(value), argument="requires_grad")
    return bool(value)


def writable(array: NDArray[Any]) -> NDArray[Any]:
    """The array, or a copy where it is not one that can be written to, such as a memory-mapped file's."""
    return np.require(np.asarray(array), requirements=["C", "A", "W"])


def copy_into(array: NDArray[Any], value: ArrayLike, name: str) -> None:
    """Copy value into array when shape and kind agree; else say what differs and change nothing."""
    source = as_array(value, "the values", name)
    if source.dtype.kind not in "fiu":
        raise InvalidTypeError(name, "real numbers", f"dtype {source.dtype}")
    if source.shape != array.shape:
        raise InvalidValueError(name, f"shape {array.shape}", source.shape)
    np.copyto(array, cast_finite(source, array.dtype, name))
