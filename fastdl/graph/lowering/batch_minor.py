"""Chains of narrow linear layers, which compute with x and y batch-minor (features, samples)."""

from __future__ import annotations

from dataclasses import replace

from fastdl._kernels.batch_minor import batch_minor_length
from fastdl._kernels.descriptor import DESCRIPTORS
from fastdl.graph.lowering.operation import Operation

# Linear layers in a row compute batch-minor where all are as narrow as this, and samples fill some registers.
NARROW = 64
FEWEST_SAMPLES = 16


def in_batch_minor(operations: list[Operation], batch_size: int) -> list[Operation]:
    """The operations of a row, with narrow linear layers in it, and activations between them, computing batch-minor."""
    if batch_size < FEWEST_SAMPLES:
        return operations
    arranged: list[Operation] = []
    chain: list[Operation] = []
    for operation in [*operations, None]:
        if operation is not None and _narrow(operation):
            chain.append(operation)
            continue
        arranged += _batch_minor(chain, batch_size)
        chain = []
        if operation is not None:
            arranged.append(operation)
    return arranged


def _batch_minor(chain: list[Operation], batch_size: int) -> list[Operation]:
    """A chain of operations between two that make samples batch-minor and back, where that pays."""
    if sum(operation.descriptor.multiplies for operation in chain) < 2:
        return chain
    length = batch_minor_length(batch_size)
    first, last = chain[0], chain[-1]
    before = Operation(DESCRIPTORS["to_batch_minor"], first.number, first.x_size, first.x_size, y_length=length)
    behind = Operation(DESCRIPTORS["from_batch_minor"], last.number, last.y_size, last.y_size, x_length=length)
    found = [
        replace(each, descriptor=DESCRIPTORS[each.descriptor.batch_minor], x_length=length, y_length=length)
        for each in chain
    ]
    return [before, *found, behind]


def _narrow(operation: Operation) -> bool:
    """Whether an operation may compute batch-minor."""
    small = max(operation.x_size, operation.y_size) <= NARROW
    return bool(small and operation.descriptor.batch_minor and operation.attributes.get("rows", 1) == 1)
