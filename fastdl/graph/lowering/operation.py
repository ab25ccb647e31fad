"""Operations: what the layers of a row become in a program, with the arrays that each reads, writes and keeps for backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from fastdl._kernels.activation import activation_kinds
from fastdl._kernels.descriptor import Descriptor
from fastdl.graph.arena import Storage
from fastdl.graph.layout import Layout
from fastdl.graph.lowering.memory import Memory
from fastdl.graph.lowering.sources import Held
from fastdl.graph.records import Record

NO_ACTIVATION = (0, 0.0, 0.0, False)
RELU = activation_kinds().index("relu")


@dataclass(eq=False)
class Operation:
    """One operation of a row.

    Attributes:
        descriptor: what it runs.
        number: of the layer's node.
        x_size, y_size: elements of a sample.
        attributes, parameters, buffers: as the layer states them, by the descriptor's names; parameters that are there.
        weights: the parameters' values.
        activation: the activation that it applies, or that follows in the same operation.
        backward: the node of its backward, or None.
        x, y, gy, gx, before: where its input and output stand, their gradients, and that of y before the activation.
        saved: memory of what forward leaves for backward, and the bytes of a sample in it, 0 where these are not apart.
        gradients: where those of its parameters go.
        accumulates: whether they are added to what is there.
        by_call: the numbers of parameters of whose gradients a call says so.
        x_length, y_length: where x or y is batch-minor, the length of a row.
        sums: where the gradients of its parameters stand among those of a block.
    """

    descriptor: Descriptor
    number: int
    x_size: int
    y_size: int
    attributes: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    buffers: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Layout] = field(default_factory=dict)
    activation: tuple[int, float, float, bool] | None = None
    backward: int | None = None
    x: Layout | None = None
    y: Layout | None = None
    gy: Layout | None = None
    gx: Layout | None = None
    before: Layout | None = None
    saved: dict[str, tuple[Storage, int]] = field(default_factory=dict)
    gradients: dict[str, Any] = field(default_factory=dict)
    accumulates: bool = False
    by_call: tuple[int, ...] = ()
    x_length: int = 0
    y_length: int = 0
    sums: int = 0

    def again(self) -> Operation:
        """The same operation, for another backward."""
        return replace(self, backward=None, gy=None, gx=None, before=None, gradients={})

    def reads(self, which: str) -> bool:
        """Whether its backward reads its "x" or its "y"."""
        if self.activation is not None and self.activation[3] == (which == "y"):
            return True
        # With an activation behind it, what it would read of its own output is not there any more.
        return which in self.descriptor.reads and not (self.activation is not None and which == "y")

    def work(self) -> int:
        """About how many multiply-adds a sample takes."""
        weight = next(iter(self.parameters.values()), None)
        return self.y_size * (1 if weight is None else prod(weight.shape[1:]) or 1)

    def record(self, memory: Memory) -> Record:
        """As a program reads it, once all storages are placed."""
        descriptor = self.descriptor
        x_stride, y_stride = self.x_size * memory.itemsize, self.y_size * memory.itemsize
        held = {name: each for name, each in self.buffers.items() if each is not None}
        homes = {name: memory.outside(Held(self.number, name), id(each)) for name, each in held.items()}
        return Record(
            descriptor=descriptor,
            attributes=descriptor.attributes(self.attributes),
            x_size=self.x_size,
            y_size=self.y_size,
            x_length=self.x_length,
            y_length=self.y_length,
            differentiated=self.gx is not None or bool(self.gradients),
            accumulates=self.accumulates,
            sums=self.sums,
            activation=self.activation or NO_ACTIVATION,
            x=memory.place_of(self.x, x_stride),
            y=memory.place_of(self.y, y_stride),
            gy=memory.place_of(self.gy, y_stride),
            gx=memory.place_of(self.gx, x_stride),
            before=memory.place_of(self.before, y_stride),
            parameters=tuple([memory.place_of(self.weights.get(name)) for name in descriptor.parameters]),
            gradients=tuple([memory.place(self.gradients.get(name)) for name in descriptor.parameters]),
            sizes=tuple(
                [self.parameters[name].size if name in self.parameters else 0 for name in descriptor.parameters]
            ),
            saved=tuple([memory.place(*self.saved.get(name, (None, 0))) for name in descriptor.saved]),
            buffers=tuple([memory.place(homes.get(name)) for name in descriptor.buffers]),
        )


def joined(operations: Sequence[Operation]) -> list[Operation]:
    """The operations of a row, with activations in the products and poolings that they follow."""
    found: list[Operation] = []
    for operation in operations:
        activation, latest = operation.activation, found[-1] if found else None
        if latest is None:
            found.append(operation)
        elif _is_activation(operation) and activation and activation[3] and _may_activate(latest):
            latest.activation = activation
        elif operation.descriptor.maxima and latest.activation is not None and latest.activation[0] == RELU:
            # max relu(x) = relu(max x), and the gradient goes to the same place: ReLU joins no two different positive numbers.
            operation.activation, latest.activation = latest.activation, None
            if _is_activation(latest):
                found.pop()
                operation.backward = latest.backward  # the gradient of x is the one that came out of the activation
            found.append(operation)
        else:
            found.append(operation)
    return found


def _is_activation(operation: Operation) -> bool:
    return operation.descriptor.name == "activation"


def _may_activate(operation: Operation) -> bool:
    return operation.descriptor.activates and operation.activation is None
