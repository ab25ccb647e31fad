"""Blocks: the operations at a plan's beginning that a batch goes through a few samples at a time."""

from __future__ import annotations

from typing import NamedTuple

from fastdl.plan.arena import Storage, placed
from fastdl.plan.operations import Operation

# Whose samples do not meet, neither forward nor backward.
SAMPLEWISE = {"conv", "activation", "max_pool", "avg_pool", "adaptive_avg_pool", "dropout", "move"}
# Elements of all values of a block: what a core's second cache holds beside weights and gradients.
BLOCK = 131072
# Every block has gradients of all parameters to write: so many elements at most.
MOST_PARAMETERS = 65536
# Convolutions of few channels take so many samples at once (and dropout draws four words).
STEP = 16


class Blocks(NamedTuple):
    """As a program's record: operations, samples of a block, elements of gradients, bytes of memory."""

    operations: int = 0
    size: int = 1
    sums: int = 0
    memory: int = 0


def in_blocks(operations: list[Operation], batch_size: int) -> Blocks:
    """Let a batch in training go through the first operations in blocks, where these are several products or poolings."""
    count = sums = values = 0
    for operation in operations:
        own = sum(p.size for p in operation.parameters.values() if p is not None)
        if operation.kind not in SAMPLEWISE or sums + own > MOST_PARAMETERS:
            break
        operation.fields["sums"] = sums
        sums += own
        values += operation.y.size
        count += 1
    size = max(STEP, BLOCK // max(values, 1) // STEP * STEP)
    if not any(operation.kind == "conv" for operation in operations[:count]) or 2 * size > batch_size:
        return Blocks()
    return Blocks(count, size, sums)


def live_in_blocks(blocks: Blocks, end: int, batch_size: int, storages: list[Storage]) -> Blocks:
    """Let what lives within a block stand in its own memory, and what blocks share live while any block may need it."""
    if not blocks.operations:
        return blocks
    roots = [storage for storage in storages if storage.place_of is None and storage.first >= 0]
    within = [s for s in roots if s.last < blocks.operations or s.first >= end - blocks.operations]
    for storage in within:
        storage.own, storage.size = True, storage.size // batch_size * blocks.size
    for storage in roots:
        first, last = storage.first, storage.last
        for begin, stop in ((0, blocks.operations), (end - blocks.operations, end)):
            if first < stop and last >= begin and not storage.own:
                storage.first, storage.last = min(storage.first, begin), max(storage.last, stop - 1)
    return blocks._replace(memory=placed(within))
