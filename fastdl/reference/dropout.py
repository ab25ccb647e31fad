"""Dropout, whose mask is a function of (seed, call, place): words of Philox4x32-10.

J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011.
"""

import numpy as np

from fastdl.reference.elements import flat

LOW = 0xFFFFFFFF


def group_of_four(seed: int, call: int, index: int) -> tuple[int, int, int, int]:
    """The four words for counter (index, call), 64 bits each, and key seed."""
    c0, c1, c2, c3 = index & LOW, index >> 32, call & LOW, call >> 32
    k0, k1 = seed & LOW, seed >> 32
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & LOW, (p0 >> 32) ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + 0x9E3779B9) & LOW, (k1 + 0xBB67AE85) & LOW
    return c0, c1, c2, c3


def philox(seed: int, call: int, first: int, words: np.ndarray) -> None:
    """words[i] = word i mod 4 of group `first` + i / 4."""
    (words,) = flat(words)
    for i in range(len(words)):
        words[i] = group_of_four(seed, call, (first + i // 4) % 2**64)[i % 4]


def dropout_forward(x: np.ndarray, p: float, seed: int, call: int, run: int, y: np.ndarray) -> None:
    """y = x / (1 - p) where the word of the element's run is at least p 2^32, else 0 (as a product, so a NaN stays)."""
    x, y = flat(x, y)
    threshold = int(p * 2**32 + 0.5)
    for i in range(len(x)):
        word = group_of_four(seed, call, i // run // 4)[i // run % 4]
        y[i] = x[i] * (0.0 if word < threshold else 1 / (1 - p))


def dropout_backward(gy: np.ndarray, p: float, seed: int, call: int, run: int, gx: np.ndarray) -> None:
    """gx = gy / (1 - p) where the forward kept the element, else 0."""
    dropout_forward(gy, p, seed, call, run, gx)
