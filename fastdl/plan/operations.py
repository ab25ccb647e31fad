"""What a plan is made of: values, and the operations that read and yield them."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import NDArray

from fastdl._kernels.descriptor import Descriptor
from fastdl.graph.arena import Storage

if TYPE_CHECKING:
    from fastdl.nn.parameter import Parameter

Shape = tuple[int, ...]


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
    """One operation of the list: its descriptor and attributes, its values, and what it keeps for backward."""

    descriptor: Descriptor
    name: str
    x: Value
    y: Value
    attributes: dict[str, Any]
    parameters: dict[str, Parameter | None] = field(default_factory=dict)
    buffers: dict[str, NDArray[Any] | None] = field(default_factory=dict)
    # Its memory and the bytes of a sample in it, 0 where these are not apart.
    saved: dict[str, tuple[Storage, int]] = field(default_factory=dict)
    # The activation that it applies, or the one that follows in the same operation.
    activation: Activation | None = None
    # Operations with the same one write parts of one value, which stand side by side.
    together: object = None
    # Where x or y is batch-minor, the length of a row.
    x_length: int = 0
    y_length: int = 0
    # Where the gradients of its parameters stand among those of a block.
    sums: int = 0

    def learning(self) -> bool:
        """Whether a parameter of its own is differentiated."""
        return any(p is not None and p._requires_grad for p in self.parameters.values())

    def reads(self, which: str) -> bool:
        """Whether its backward reads its "x" or its "y"."""
        if self.activation is not None and self.activation.keeps_output == (which == "y"):
            return True
        # With an activation behind it, what it would read of its own output is not there any more.
        return which in self.descriptor.reads and not (self.activation is not None and which == "y")

    def work(self) -> int:
        """About how many multiply-adds a sample takes."""
        weight = next((p for p in self.parameters.values() if p is not None), None)
        return self.y.size * (1 if weight is None else prod(weight.shape[1:]) or 1)


class Activation(NamedTuple):
    """An activation in an operation: its code and arguments, and whether its derivative reads the output."""

    code: int
    alpha: float
    beta: float
    keeps_output: bool


@dataclass(eq=False)
class Gradient:
    """An operation's gradients: gy (None outside), before a fused activation, gx, what gx is added to; whether a move adds."""

    gy: Storage | None
    before: Storage | None = None
    gx: Storage | None = None
    total: Storage | None = None
    adds: bool = False


class Objective(NamedTuple):
    """A loss in a plan.

    Its name, its attributes, the elements of a sample's losses, the weights of classes or elements (None for ones), and whether
    it is a mean over what counts, or over samples.
    """

    name: str
    attributes: dict[str, Any]
    losses: int = 0
    weight: NDArray[Any] | None = None
    pos_weight: NDArray[Any] | None = None
    mean: bool = False
    batchmean: bool = False
