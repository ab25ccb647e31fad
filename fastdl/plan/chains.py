"""Chains of narrow linear layers, which compute with one sample in each lane between two turns of the matrix."""

from __future__ import annotations

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
    if sum(operation.kind == "linear" for operation in chain) < 2:
        return chain
    length = lanes_length(batch_size)

    def turned(value: Value) -> Value:
        return Value(value.shape, Storage(value.size * length * itemsize), value.differentiated)

    x = turned(chain[0].x)
    found = [Operation("to_lanes", chain[0].name, chain[0].x, x, {"L": length}, {})]
    for operation in chain:
        y = turned(operation.y)
        kind = {"linear": "lanes_linear"}.get(operation.kind, operation.kind)
        fields = operation.fields | {"L": length}
        found.append(Operation(kind, operation.name, x, y, fields, operation.parameters))
        x = y
    return [*found, Operation("from_lanes", chain[-1].name, x, chain[-1].y, {"L": length}, {})]


def _narrow(operation: Operation) -> bool:
    """Whether an operation may compute in lanes."""
    if operation.kind not in ("linear", "activation") or max(operation.x.size, operation.y.size) > NARROW:
        return False
    return operation.kind == "activation" or operation.fields["rows"] == 1
