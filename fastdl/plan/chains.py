"""Chains of narrow linear layers, which compute with x and y batch-minor (features, samples)."""

from __future__ import annotations

from dataclasses import replace

from fastdl._kernels.batch_minor import batch_minor_length
from fastdl._kernels.descriptor import DESCRIPTORS
from fastdl.graph.arena import Storage
from fastdl.plan.operations import Operation, Value

# Linear layers in a row compute batch-minor where all are as narrow as this, and samples fill some registers.
NARROW = 64
FEWEST_SAMPLES = 16


def in_batch_minor(operations: list[Operation], batch_size: int, itemsize: int) -> list[Operation]:
    """The operations, with narrow linear layers in a row, and activations between them, computing batch-minor."""
    if batch_size < FEWEST_SAMPLES:
        return operations
    arranged: list[Operation] = []
    chain: list[Operation] = []
    for operation in [*operations, None]:
        if operation is not None and _narrow(operation) and (not chain or operation.x is chain[-1].y):
            chain.append(operation)
            continue
        arranged += _batch_minor(chain, batch_size, itemsize)
        chain = []
        if operation is not None and _narrow(operation):
            chain = [operation]
        elif operation is not None:
            arranged.append(operation)
    return arranged


def _batch_minor(chain: list[Operation], batch_size: int, itemsize: int) -> list[Operation]:
    """A chain of operations between two that make samples batch-minor and back, where that pays."""
    if sum(operation.descriptor.multiplies for operation in chain) < 2:
        return chain
    length = batch_minor_length(batch_size)

    def arranged(value: Value) -> Value:
        return Value(value.shape, Storage(value.size * length * itemsize), value.differentiated)

    first, last, x = chain[0], chain[-1], arranged(chain[0].x)
    found = [Operation(DESCRIPTORS["to_batch_minor"], first.name, first.x, x, {}, y_length=length)]
    for operation in chain:
        y = arranged(operation.y)
        descriptor = DESCRIPTORS[operation.descriptor.batch_minor]
        found.append(replace(operation, descriptor=descriptor, x=x, y=y, x_length=length, y_length=length))
        x = y
    return [*found, Operation(DESCRIPTORS["from_batch_minor"], last.name, x, last.y, {}, x_length=length)]


def _narrow(operation: Operation) -> bool:
    """Whether an operation may compute batch-minor."""
    small = max(operation.x.size, operation.y.size) <= NARROW
    return bool(small and operation.descriptor.batch_minor and operation.attributes.get("rows", 1) == 1)
