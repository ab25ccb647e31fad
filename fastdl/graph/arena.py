"""The arena: one block of memory for all arrays of a frame, used again as soon as an array is dead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fastdl._kernels.program.placement import place

LINE = 64


@dataclass(eq=False, slots=True)
class Storage:
    """An array in the arena: so many bytes, from its first use to its last."""

    size: int
    first: int = -1
    last: int = -1
    offset: int = -1
    place_of: Storage | None = None
    # Whether it stands in a block's own memory.
    own: bool = False

    def used(self, time: int) -> None:
        """Extend the lifetime to this time."""
        root = self if self.place_of is None else self.root()
        if root.first < 0 or time < root.first:
            root.first = time
        if time > root.last:
            root.last = time

    def root(self) -> Storage:
        """The storage whose memory this one takes."""
        root = storage = self
        while root.place_of is not None:
            root = root.place_of
        while storage is not root:  # the way is short the next time
            storage.place_of, storage = root, storage.place_of or root
        return root

    def take_place_of(self, earlier: Storage) -> None:
        """Stand from now on where an array of the same size stood that nobody needs any more."""
        self.place_of = earlier
        earlier.used(self.first)
        earlier.used(self.last)


def placed(storages: Iterable[Storage]) -> int:
    """Give each storage the lowest place that is free for its lifetime, the largest first; returns the bytes of all."""
    own = {id(s): s for s in storages if s.place_of is None and s.first >= 0}
    ordered = sorted(own.values(), key=lambda s: (-s.size, s.first))
    arrays = np.array([(rounded(s.size), s.first, s.last) for s in ordered], np.int64).reshape(-1, 3)
    offsets = np.empty(len(ordered), np.int64)
    size = place(arrays, offsets)
    for storage, offset in zip(ordered, offsets.tolist(), strict=True):
        storage.offset = offset
    return size


def rounded(size: int) -> int:
    """The size in whole cache lines."""
    return -(-size // LINE) * LINE
