"""An epoch, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.random import as_generator, permutation
from fastdl.validation import positive_integer, refuse_special, true_or_false


def batches(
    x: np.ndarray,
    y: np.ndarray,
    batch_size: int,
    *,
    shuffle: bool = True,
    rng: int | np.random.Generator | None = None,
    drop_last: bool = False,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One epoch over x and y: every row once, `batch_size` rows at a time.

    Shuffled, the rows come in an order drawn anew at each call, and each batch is gathered into arrays of its own;
    unshuffled, the batches are views of x and y.

    Args:
        x: inputs.
        y: targets.
        batch_size: rows of a batch; the last has what is left.
        shuffle: whether the order is drawn.
        rng: None, a seed (the same order at each call) or a `numpy.random.Generator` (goes on from call to call).
        drop_last: leave out a last batch that is smaller.

    Shapes:
        x (n, ...), y (n, ...); batches (batch_size, ...) of each.

    Raises:
        TypeError: at the call, if x or y is no array, batch_size no integer, or shuffle or drop_last no bool.
        ValueError: at the call, if x and y differ in rows, or batch_size is below 1.

    Example:
        >>> x, y = np.arange(5.0), np.arange(5)
        >>> [yb.tolist() for xb, yb in batches(x, y, 2, shuffle=False)]
        [[0, 1], [2, 3], [4]]
        >>> sorted(int(i) for xb, yb in batches(x, y, 2, rng=0) for i in yb)
        [0, 1, 2, 3, 4]

    Source: torch.utils.data.DataLoader.
    """
    for name, rows in (("x", x), ("y", y)):
        refuse_special(rows, name, "batches")
        if not isinstance(rows, np.ndarray):
            raise InvalidTypeError("batches", f"{name} to be an array", type(rows).__name__)
        if rows.ndim == 0:
            raise InvalidValueError("batches", f"{name} to have rows", "a single value")
    if len(x) != len(y):
        raise InvalidValueError("batches", "as many rows in x as in y", f"{len(x)} and {len(y)}")
    batch_size = positive_integer(batch_size, "batch_size", "batches")
    shuffle, drop_last = true_or_false(shuffle, "shuffle", "batches"), true_or_false(drop_last, "drop_last", "batches")
    n = len(x)
    starts = range(0, n - batch_size + 1 if drop_last else n, batch_size)
    if not shuffle:
        return ((x[i : i + batch_size], y[i : i + batch_size]) for i in starts)
    order = permutation(n, as_generator(rng))
    parts = (order[i : i + batch_size] for i in starts)
    return ((x.take(part, axis=0), y.take(part, axis=0)) for part in parts)
