"""The arena: arrays lie apart while they live, and each at the lowest place, as a naive search finds it."""

from itertools import pairwise

import numpy as np
import pytest

from fastdl.graph.arena import LINE, Storage, placed, rounded


def drawn(seed):
    rng = np.random.default_rng(seed)
    storages = []
    for _ in range(rng.integers(0, 60)):
        first = int(rng.integers(0, 40))
        size = int(rng.choice([0, 1, LINE, 100, 4096, rng.integers(1, 9999)]))
        storages.append(Storage(size, first, first + int(rng.integers(0, 12))))
    return storages


def alive_together(one, other):
    return one.first <= other.last and other.first <= one.last


def lowest(storage, others):
    """The lowest offset, a multiple of a line, at which a storage meets none of the others that live with it."""
    present = [other for other in others if alive_together(storage, other)]
    ends = [0, *(other.offset + rounded(other.size) for other in present)]
    return min(
        start
        for start in ends
        if all(start + rounded(storage.size) <= o.offset or o.offset + rounded(o.size) <= start for o in present)
    )


@pytest.mark.parametrize("seed", range(40))
def test_each_lies_at_the_lowest_place_that_is_free(seed):
    storages = drawn(seed)
    size = placed(storages)
    ordered = sorted(storages, key=lambda s: (-s.size, s.first))
    for number, storage in enumerate(ordered):
        if storage.size:  # nothing may lie anywhere
            assert storage.offset == lowest(storage, [other for other in ordered[:number] if other.size])
    assert size == max((s.offset + rounded(s.size) for s in storages), default=0)
    assert all(storage.offset % LINE == 0 for storage in storages)


def test_those_that_take_anothers_place_or_are_not_used_have_none():
    one, other, unused = Storage(100, 0, 3), Storage(100, 4, 6), Storage(100)
    other.take_place_of(one)
    assert placed([one, other, unused]) == rounded(100)
    assert (one.last, other.root(), unused.offset) == (6, one, -1)


def test_many_are_placed():
    storages = [Storage(64 + n % 7 * 64, n, n + 3) for n in range(5000)]
    size = placed(storages)
    assert size < 64 * 7 * 8
    for one, other in pairwise(storages):
        assert one.offset + rounded(one.size) <= other.offset or other.offset + rounded(other.size) <= one.offset
