"""A data set cut in two."""

from __future__ import annotations

import numpy as np

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.random import as_generator
from fastdl.validation import real_number, refuse_special

Rows = tuple[np.ndarray, np.ndarray]


def split(
    x: np.ndarray, y: np.ndarray, fraction: float = 0.2, rng: int | np.random.Generator | None = None
) -> tuple[Rows, Rows]:
    """The rows of x and y dealt into two sets: every row once, in an order that is drawn.

    Integer labels, one a row, are dealt class by class: of a class's n rows the second set holds fraction * n without
    what is behind the point, or one more, and the last only where no other class has a row to spare. Other targets are
    dealt as they come.

    Args:
        x: inputs.
        y: targets.
        fraction: of the rows, for the second set; both sets hold at least one row.
        rng: None, a seed or a `numpy.random.Generator`, as for `fastdl.random.as_generator`.

    Shapes:
        x (n, ...), y (n, ...); the sets ((n - m, ...), (n - m, ...)) and ((m, ...), (m, ...)), m = fraction * n rounded.

    Raises:
        TypeError: if x or y is no array, or fraction no number.
        ValueError: if x and y differ in rows or have less than two, or fraction is not between 0 and 1.

    Example:
        >>> x, y = np.arange(10.0).reshape(10, 1), np.array([0, 1] * 5)
        >>> (train, labels), (test, test_labels) = split(x, y, 0.4, rng=0)
        >>> sorted(test_labels.tolist()), sorted([*train[:, 0].tolist(), *test[:, 0].tolist()]) == x[:, 0].tolist()
        ([0, 0, 1, 1], True)

    Source: sklearn.model_selection.train_test_split.
    """
    for name, rows in (("x", x), ("y", y)):
        refuse_special(rows, name, "split")
        if not isinstance(rows, np.ndarray):
            raise InvalidTypeError("split", f"{name} to be an array", type(rows).__name__)
        if rows.ndim == 0:
            raise InvalidValueError("split", f"{name} to have rows", "a single value")
    if len(x) != len(y):
        raise InvalidValueError("split", "as many rows in x as in y", f"{len(x)} and {len(y)}")
    n = len(x)
    if n < 2:
        raise InvalidValueError("split", "at least two rows", n)
    fraction = real_number(fraction, "fraction", "split", 0, 1)
    if fraction in (0, 1):
        raise InvalidValueError("split", "a fraction between 0 and 1", f"{fraction:g}")
    rng = as_generator(rng)
    size = min(max(round(n * fraction), 1), n - 1)
    order = rng.permutation(n)
    second = np.arange(n) < size
    if y.ndim == 1 and y.dtype.kind in "iu":
        second = _in_each_class(y[order], fraction, size, rng)
    first, last = order[~second], order[second]
    return (x.take(first, axis=0), y.take(first, axis=0)), (x.take(last, axis=0), y.take(last, axis=0))


def _in_each_class(labels: np.ndarray, fraction: float, size: int, rng: np.random.Generator) -> np.ndarray:
    """Which rows make up the second set: the first of each class, as many as are its due."""
    _, kinds, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    due = sizes * fraction
    counts = np.floor(due).astype(np.int64)
    # What rounding left over goes to the largest remainders, by lot where these are equal.
    given = np.lexsort((rng.random(len(sizes)), counts - due, counts + 1 == sizes))[: size - counts.sum()]
    counts[given] += 1
    by_class = np.argsort(kinds, kind="stable")
    place = np.empty(len(labels), np.int64)
    place[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return place < counts[kinds]
