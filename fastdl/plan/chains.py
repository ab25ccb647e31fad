"""Chains of narrow linear layers, which compute with one sample in each lane between two turns of the matrix."""

from __future__ import annotations

from dataclasses import replace

from fastdl._kernels.descriptor import DESCRIPTORS
from fastdl._kernels.lanes import lanes_length
from fastdl.plan.arena import Storage
from fastdl.plan.operations import Operation, Value

# Linear layers in a row compute with one sample in each lane where all are as narrow as this, and samples fill some registers.
NARROW = 64
FEWEST_SAMPLES = 16


def in_lanes(operations: list[Operation], batch_size: int, itemsize: int) -> list[Operation]:
    """The operations, with narrow linear layers in a row, and activations between them, computing sample by lane."""
    if batch_size < FEWEST_SAMPLES:
        return operations
    turned: list[Operation] = []
    chain: list[Operation] = []
    for operation in [*operations, None]:
        if operation is not None and _narrow(operation) and (not chain or operation.x is chain[-1].y):
            chain.append(operation)
            continue
        turned += _turned(chain, batch_size, itemsize)
        chain = []
        if operation is not None and _narrow(operation):
            chain = [operation]
        elif operation is not None:
            turned.append(operation)
    return turned


def _turned(chain: list[Operation], batch_size: int, itemsize: int) -> list[Operation]:
    """A chain of operations between two that turn samples into lanes and back, where that pays."""
    if sum(operation.descriptor.multiplies for operation in chain) < 2:
        return chain
    length = lanes_length(batch_size)

    def turned(value: Value) -> Value:
        return Value(value.shape, Storage(value.size * length * itemsize), value.differentiated)

    first, last, x = chain[0], chain[-1], turned(chain[0].x)
    found = [Operation(DESCRIPTORS["to_lanes"], first.name, first.x, x, {}, y_length=length)]
    for operation in chain:
        y = turned(operation.y)
        descriptor = DESCRIPTORS[operation.descriptor.batch_minor]
        found.append(replace(operation, descriptor=descriptor, x=x, y=y, x_length=length, y_length=length))
        x = y
    return [*found, Operation(DESCRIPTORS["from_lanes"], last.name, x, last.y, {}, x_length=length)]


def _narrow(operation: Operation) -> bool:
    """Whether an operation may compute in lanes."""
    small = max(operation.x.size, operation.y.size) <= NARROW
    return bool(small and operation.descriptor.batch_minor and operation.attributes.get("rows", 1) == 1)
