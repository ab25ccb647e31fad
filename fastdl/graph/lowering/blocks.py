"""Blocks: the operations at a row's beginning that a batch in training goes through a few samples at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fastdl.graph.arena import Storage, placed
from fastdl.graph.lowering.operation import Operation

# Elements of all values of a block: what a core's second cache holds beside weights and gradients.
BLOCK = 131072
# Every block has gradients of all parameters to write: so many elements at most.
MOST_PARAMETERS = 65536
# Convolutions of few channels take so many samples at once.
STEP = 16
# Dropout draws so many words at once.
DRAWN = 4
# Multiplications of a block of rows that outweigh a meeting of threads, and rows that outweigh gradients of its own.
LEAST_PRODUCTS = 250_000
FEWEST_ROWS = 48


class Blocks(NamedTuple):
    """As a program's record.

    The number of operations, the first one's number, samples of a block, whether it is for one thread only, whether it goes
    through the loss and backward before the next, elements of gradients, bytes of memory, the number of that loss or -1.
    """

    operations: int = 0
    first: int = 0
    size: int = 1
    lone: bool = False
    whole: bool = False
    sums: int = 0
    memory: int = 0
    criterion: int = -1


def in_blocks(operations: list[Operation], batch_size: int) -> Blocks:
    """Let a batch in training go through the first operations in blocks, where these are several products or poolings.

    Images go as few at a time as fill a cache. Products of rows want many rows, and too few of them are not worth a meeting of
    threads inside: each block is for one thread, half a batch at most.
    """
    count = sums = values = products = 0
    images = any(operation.descriptor.convolves for operation in operations)
    for operation in operations:
        own = sum(p.size for p in operation.parameters.values())
        descriptor = operation.descriptor
        if not descriptor.in_blocks or (descriptor.multiplies and images) or sums + own > MOST_PARAMETERS:
            break
        operation.sums = sums
        sums += own
        values += operation.y_size
        products += own * operation.attributes["rows"] if descriptor.multiplies else 0
        count += 1
    size = max(STEP, BLOCK // max(values, 1) // STEP * STEP)
    if products:
        size = min(-(-batch_size // (2 * DRAWN)) * DRAWN, max(size, FEWEST_ROWS))
        suits = size >= FEWEST_ROWS and products * size >= LEAST_PRODUCTS
    else:
        suits = 2 * size <= batch_size and any(operation.descriptor.convolves for operation in operations[:count])
    whole = products > 0 and count == len(operations)
    return Blocks(count, 0, size, products > 0, whole, sums) if suits else Blocks()


def live_in_blocks(
    blocks: Blocks, spans: Sequence[tuple[int, int]], end: int, batch_size: int, storages: Iterable[Storage]
) -> Blocks:
    """Let what lives within a block stand in its own memory, and what blocks share live while any block may need it.

    `spans` say when blocks run, forward and backward: from a time to below another.
    """
    roots = [storage for storage in storages if storage.place_of is None and storage.first >= 0]
    within = [s for s in roots if any(begin <= s.first and s.last < stop for begin, stop in spans)]
    for storage in within:
        storage.own, storage.size = True, storage.size // batch_size * blocks.size
    for storage in roots:
        if storage.own:
            continue
        if blocks.whole:  # one block may be backward while another is forward
            storage.first, storage.last = 0, end
        first, last = storage.first, storage.last
        for begin, stop in spans:
            if first < stop and last >= begin:
                storage.first, storage.last = min(storage.first, begin), max(storage.last, stop - 1)
    return blocks._replace(memory=placed(within))
