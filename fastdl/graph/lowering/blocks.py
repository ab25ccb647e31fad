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


class Cut(NamedTuple):
    """How a batch is cut: the operations, samples of a block, whether it is for one thread only, elements of gradients."""

    operations: int
    size: int
    lone: bool
    sums: int


class Blocks:
    """The operations at a row's beginning that go in blocks.

    Attributes:
        cut: how.
        whole: whether a block goes through the loss and backward before the next comes.
        spans: when their entries run, forward and backward: from a time to below another.
        shared: when what lives beyond a block is read or written by some block.
        gradients, losses: the memory of what all blocks yield.
        memory: bytes of what lives within a block.
    """

    def __init__(self, cut: Cut, whole: bool, batch_size: int, itemsize: int) -> None:
        count = -(-batch_size // cut.size)
        self.cut, self.whole, self.memory = cut, whole, 0
        self.spans, self.shared = list[tuple[int, int]](), list[tuple[int, int]]()
        self.gradients, self.losses = Storage(max(1, count * cut.sums * itemsize)), Storage(8 * count)

    def run(self, time: int, operations: int, covers: int) -> None:
        """So many operations' entries from a time on are theirs; the entry before stands for them, and perhaps for a loss's."""
        self.spans.append((time, time + operations))
        self.shared.append((time - 1, time + covers))
        if self.whole or len(self.spans) > 1:  # backward
            for storage in (self.gradients, self.losses):
                storage.used(time - 1)
                storage.used(time + covers - 1)

    def together(self) -> list[tuple[int, int]]:
        """How long what several blocks share must be theirs: through a loss, one may be backward while another is forward."""
        return [(self.shared[0][0], self.shared[-1][1])] if self.whole else self.shared


def cut(operations: list[Operation], batch_size: int) -> Cut | None:
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
    return Cut(count, size, products > 0, sums) if suits else None


def live_in_blocks(rows: Sequence[Blocks], batch_size: int, storages: Iterable[Storage]) -> None:
    """Let what lives within a block stand in its own memory, and what blocks share live while any block may need it."""
    roots = [storage for storage in storages if storage.place_of is None and storage.first >= 0]
    for row in rows:
        within = [s for s in roots if any(begin <= s.first and s.last < stop for begin, stop in row.spans)]
        for storage in within:
            storage.own, storage.size = True, storage.size // batch_size * row.cut.size
        row.memory = placed(within)
    for row in sorted(rows, key=lambda row: not row.whole):
        for storage in roots:
            first, last = storage.first, storage.last
            if not storage.own and any(first < stop and last >= begin for begin, stop in row.shared):
                for begin, stop in row.together():
                    if first < stop and last >= begin:
                        storage.used(begin)
                        storage.used(stop - 1)
