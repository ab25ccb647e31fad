"""The order of an epoch's samples: Fisher and Yates over words of Philox, bounded by Lemire's method."""

import numpy as np

from fastdl.reference.dropout import group_of_four
from fastdl.reference.elements import flat

STREAM = 2**64 - 1


def shuffle(seed: int, order: np.ndarray) -> None:
    """order = 0, 1, ..., each from the last on exchanged with one at or before its place."""
    (order,) = flat(order)
    used = 0

    def word() -> int:
        nonlocal used
        used += 1
        return group_of_four(seed, STREAM, (used - 1) // 4)[(used - 1) % 4]

    for i in range(len(order)):
        order[i] = i
    for i in range(len(order) - 1, 0, -1):
        product = word() * (i + 1)
        while product % 2**32 < 2**32 % (i + 1):
            product = word() * (i + 1)
        j = product >> 32
        order[i], order[j] = order[j], order[i]
