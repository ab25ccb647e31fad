"""Random numbers, uniform between 0 and 1, of the words that also decide on dropout."""

import numpy as np

from fastdl.reference.dropout import group_of_four
from fastdl.reference.elements import flat


def uniform_forward(seed: int, call: int, y: np.ndarray) -> None:
    """y[i] = (w + 1/2) 2^-23 of word i's upper 23 bits in float32, (w + 1/2) 2^-32 of all its bits in float64."""
    single = y.dtype == np.float32
    (y,) = flat(y)
    for i in range(len(y)):
        word = group_of_four(seed, call, i // 4)[i % 4]
        y[i] = ((word >> 9) + 0.5) / 2**23 if single else (word + 0.5) / 2**32
