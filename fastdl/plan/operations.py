"""What a plan is made of: values, and the operations that read and yield them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl.plan.arena import Storage

if TYPE_CHECKING:
    from fastdl.nn.parameter import Parameter

Shape = tuple[int, ...]

# The operations' kinds, numbered as in operation.pxd.
KINDS = (
    "linear",
    "conv",
    "activation",
    "softmax",
    "log_softmax",
    "max_pool",
    "avg_pool",
    "adaptive_avg_pool",
    "batch_norm",
    "layer_norm",
    "dropout",
    "move",
    "to_lanes",
    "from_lanes",
    "lanes_linear",
)
# Whose backward reads x, and whose reads y; and whose y may take the place of an x that nobody reads any more.
READS_X = {"linear", "lanes_linear", "conv", "batch_norm", "layer_norm"}
READS_Y = {"softmax", "log_softmax"}
IN_PLACE = {"activation", "dropout"}


@dataclass(eq=False)
class Value:
    """What an operation reads or yields: its shape without the batch's axis, and whether its gradient is wanted.

    A shared one is read by several operations.
    """

    shape: Shape
    storage: Storage | None
    differentiated: bool
    shared: bool = False

    @property
    def size(self) -> int:
        """Elements of one sample."""
        return prod(self.shape)

    def for_several(self) -> Value:
        """The same value, to be read by several operations."""
        return Value(self.shape, self.storage, self.differentiated, True)

    def reshaped(self, shape: Shape) -> Value:
        """The same memory in another shape."""
        return Value(shape, self.storage, self.differentiated, self.shared)


@dataclass(eq=False)
class Operation:
    """One operation of the list: its record's fields, its values, and the storages it keeps for backward."""

    kind: str
    name: str
    x: Value
    y: Value
    fields: dict[str, Any]
    parameters: dict[str, Parameter | None]
    kept: dict[str, Storage] = field(default_factory=dict)

    def learning(self) -> bool:
        """Whether a parameter of its own is differentiated."""
        return any(p is not None and p._requires_grad for p in self.parameters.values())

    def work(self) -> int:
        """About how many multiply-adds a sample takes."""
        weight = self.parameters.get("W")
        return self.y.size * (1 if weight is None else prod(weight.shape[1:]) or 1)


@dataclass(eq=False)
class Gradient:
    """An operation's gradients: gy (None outside), before a fused activation, gx, what gx is added to; whether a move adds."""

    gy: Storage | None
    before: Storage | None = None
    gx: Storage | None = None
    total: Storage | None = None
    adds: bool = False


def record_of(dtype: np.dtype[Any], fields: dict[str, Any]) -> tuple[Any, ...]:
    """A record with these fields, arrays standing for their addresses, and zeros elsewhere."""
    record = _zeros(dtype) | fields
    return tuple(v.ctypes.data if isinstance(v, np.ndarray) else v for v in record.values())


@cache
def _zeros(dtype: np.dtype[Any]) -> dict[str, Any]:
    zero = np.zeros((), dtype)
    return {name: zero[name].item() for name in dtype.names or ()}
