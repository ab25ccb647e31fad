"""Buffer and Scalar: arrays and numbers that change from step to step without being trained."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdl._kernels.access import Access
from fastdl.casting import cast
from fastdl.errors import InvalidTypeError
from fastdl.graph.value import current, mode, traced_into
from fastdl.nn.parameter import Parameter, copy_into, writable
from fastdl.nn.traced_operators import TracedOperators, detached
from fastdl.validation import as_array, as_float_dtype, real_number


class Buffer(TracedOperators):
    """An array of a model that is not trained: a table, a running mean, a counter.

    Args:
        data: an array of float32 or float64, of integers or of truth values; it is copied. Integers become int64.

    In a forward that is traced, NumPy's operators and functions take the buffer itself, and `buffer[indices]` looks up rows. A
    traced array would be a constant of the trace; a buffer is read in each step. It is part of the state_dict.

    `data` keeps its place in memory: assigning to it copies the values in. `update(value)` does so from within forward.

    Raises:
        TypeError: if data is of another kind.

    Example:
        >>> from fastdl import nn
        >>> class Centred(nn.Module):
        ...     def __init__(self):
        ...         self.mean = nn.Buffer(np.zeros(2))
        ...     def forward(self, x):
        ...         self.mean.update(0.5 * self.mean + 0.5 * np.mean(x, axis=0))
        ...         return x - self.mean
        >>> centred = Centred()
        >>> centred(np.array([[1.0, 2.0], [3.0, 2.0]]))
        array([[0., 1.],
               [2., 1.]])
        >>> centred.mean.data
        array([1., 1.])

    Source: torch.nn.Buffer.
    """

    __slots__ = ("__weakref__", "_changed", "_data", "_view")
    # What a graph asks of its leaves, as of parameters.
    _requires_grad: ClassVar[bool] = False
    _grad: ClassVar[None] = None

    def __init__(self, data: ArrayLike) -> None:
        name = type(self).__name__
        array = as_array(data, "data", name)
        if array.dtype.kind not in "iub" and array.dtype not in (np.float32, np.float64):
            expected = "an array of float32, float64, integers or truth values"
            raise InvalidTypeError(name, expected, array.dtype, "write np.asarray(data, dtype=np.float32)")
        dtype = np.dtype(np.int64) if array.dtype.kind in "iu" else array.dtype
        self._move_to(np.array(array, dtype=dtype.type, order="C", subok=False))
        self._changed = 0

    @property
    def version(self) -> int:
        """A number that grows when the values are assigned; what a program's steps write does not count."""
        return self._changed

    @property
    def data(self) -> NDArray[Any]:
        """The values; assignment copies into them. In traced code, a value."""
        if mode.traces and (graph := traced_into(self)) is not None:
            return detached(graph, self)
        return self._view

    @data.setter
    def data(self, value: ArrayLike) -> None:
        with Access(writes=[self]):
            copy_into(self._data, value, f"{type(self).__name__}.data")
            self._written()

    def update(self, value: Any) -> None:
        """Let the buffer have another value; in forward, from the end of each forward in training mode on.

        Later lines of that forward read the new value. In evaluation mode, in `predict` and `evaluate`, nothing changes.

        Args:
            value: of the buffer's shape and kind; in forward, a traced value too.

        Raises:
            ValueError, TypeError: if it is of another shape or kind.
        """
        if current.graph is None:
            self.data = value
        else:
            from fastdl.graph.operations import update

            update(current.graph, self, value)

    def astype(self, dtype: Any) -> Any:
        """Change the dtype of floating values to float32 or float64; in traced code, return the values cast."""
        if current.graph is not None:
            return current.graph.parameter(self).astype(dtype)
        dtype = as_float_dtype(dtype, "Buffer.astype")
        if self._data.dtype.kind == "f":
            with Access(writes=[self]):
                self._move_to(cast(self._data, dtype))
                self._changed += 1
                Parameter.changes += 1
        return None

    def _of_graph(self, dtype: np.dtype[Any]) -> Any:
        """What a graph of this floating dtype reads."""
        if self._data.dtype.kind == "f" and self._data.dtype != dtype:
            hint = f"write nn.Buffer(np.asarray(data, np.{dtype}))"
            raise InvalidTypeError("Buffer", f"{dtype}, as the model's parameters", self._data.dtype, hint)
        return self

    def _written(self) -> None:
        """What follows when values have been copied in."""
        self._changed += 1

    def _move_to(self, data: NDArray[Any]) -> None:
        self._data, self._view = data, data.view()  # whose shape anyone may set

    def _copy(self) -> Buffer:
        """Another one of the same values."""
        twin = object.__new__(type(self))
        twin.__setstate__(self.__getstate__())
        return twin

    def __getstate__(self) -> dict[str, Any]:
        with Access(reads=[self]):
            return {"data": self._data.copy()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._move_to(writable(state["data"]))
        self._changed = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, dtype={self.dtype})"


class _Single:
    """A scalar as a graph of float32 reads it."""

    _requires_grad: ClassVar[bool] = False
    _grad: ClassVar[None] = None

    def __init__(self, scalar: Scalar) -> None:
        self._scalar, self._data = scalar, scalar._data.astype(np.float32)
        self.shape, self.dtype = self._data.shape, self._data.dtype

    @property
    def version(self) -> int:
        return self._scalar.version


class Scalar(Buffer):
    """A number that may change from step to step: a weight of a loss, a temperature, a step of a schedule.

    Args:
        value: a real number.

    A number in an attribute or a closure is a constant of a trace, which is made anew when it changes; a scalar is read in each
    step. It is of the model's dtype, in forward functions and losses alike.

    Example:
        >>> from fastdl import Trainer, nn, optim
        >>> beta = nn.Scalar(0.0)
        >>> model = nn.Sequential(nn.Linear(2, 1, rng=0))
        >>> trainer = Trainer(model, lambda y, t: np.mean((y - t) ** 2) + beta * np.mean(y**2), optim.SGD(model.parameters()))
        >>> _ = trainer.step(np.ones((4, 2)), np.zeros((4, 1)))
        >>> beta.value = 0.5  # and the next step goes on with the same program
    """

    __slots__ = ("_single",)

    def __init__(self, value: float) -> None:
        super().__init__(np.float64(real_number(value, "value", "Scalar")))
        self._single = _Single(self)

    @property
    def value(self) -> float:
        """The number; assign another one. In traced code, a value."""
        if mode.traces and (graph := traced_into(self)) is not None:
            return detached(graph, self)
        return self._data.item()

    @value.setter
    def value(self, value: float) -> None:
        self.data = np.float64(real_number(value, "value", "Scalar"))

    def update(self, value: Any) -> None:
        """See Buffer; not within forward, where a Buffer of one number is what can be updated."""
        if current.graph is not None:
            raise InvalidTypeError(
                "Scalar.update", "a call outside of forward", "one within", "write nn.Buffer(np.zeros(()))"
            )
        self.data = value

    def astype(self, dtype: Any) -> Any:
        """Nothing outside of traced code, for a scalar is of any model's dtype."""
        return current.graph.parameter(self).astype(dtype) if current.graph is not None else None

    def _of_graph(self, dtype: np.dtype[Any]) -> Any:
        return self._single if dtype == np.float32 else self

    def _move_to(self, data: NDArray[Any]) -> None:
        super()._move_to(data)
        self._view.flags.writeable = False  # for there is another array of the number

    def _written(self) -> None:
        super()._written()
        self._single._data[...] = self._data

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._single = _Single(self)

    def __repr__(self) -> str:
        return f"Scalar({self.value!r})"
