"""split: every row once, drawn, and class by class."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdl.data import split
from fastdl.random import manual_seed


@given(
    y=st.lists(st.integers(-2, 4), min_size=2, max_size=60).map(np.array),
    fraction=st.floats(0.001, 0.999),
    seed=st.integers(0, 100),
)
def test_every_row_is_dealt_once_and_each_class_gives_its_share(y, fraction, seed):
    x = np.arange(len(y))
    (x1, y1), (x2, y2) = split(x, y, fraction, rng=seed)
    assert sorted([*x1, *x2]) == list(x)
    assert (y[x1] == y1).all()
    assert (y[x2] == y2).all()
    assert len(x2) == min(max(round(len(y) * fraction), 1), len(y) - 1)
    for label in set(y.tolist()):
        due = (y == label).sum() * fraction
        assert np.floor(due - 1e-9) <= (y2 == label).sum() <= np.floor(due + 1e-9) + 1


@pytest.mark.parametrize(
    ("sizes", "fraction", "shares"),
    [
        ([10, 20, 30], 0.1, [1, 2, 3]),
        ([9, 7], 0.2, [2, 1]),  # 1.8 and 1.4, three in all
        ([7, 9], 0.2, [1, 2]),
        ([12, 1], 0.45, [6, 0]),  # 5.4 and 0.45: a class keeps its last row
        ([1, 12], 0.45, [0, 6]),
        ([100, 2], 0.01, [1, 0]),
        ([1, 1, 2], 0.75, [1, 1, 1]),
    ],
)
def test_what_rounding_leaves_goes_to_the_largest_remainders(sizes, fraction, shares):
    y = np.repeat(np.arange(len(sizes)), sizes)
    for seed in range(10):
        _, (_, y2) = split(y, y, fraction, rng=seed)
        assert np.bincount(y2, minlength=len(sizes)).tolist() == shares


def test_floats_are_dealt_as_they_come():
    y = np.arange(10.0)
    (_, y1), (_, y2) = split(y, y, 0.3, rng=0)
    assert sorted([*y1, *y2]) == y.tolist()
    assert len(y2) == 3


def test_rows_keep_shape_and_dtype():
    x, y = np.zeros((10, 3, 4, 4), np.float32), np.arange(10) % 2
    (x1, y1), (x2, y2) = split(x, y, 0.5, rng=0)
    assert x1.shape == x2.shape == (5, 3, 4, 4)
    assert x1.dtype == np.float32
    assert y1.dtype == y2.dtype == np.int64
    assert not np.shares_memory(x1, x)


@pytest.mark.parametrize(
    "y", [np.zeros(50, int), np.zeros(50), np.arange(50)], ids=["classes", "values", "all different"]
)
def test_every_row_has_the_same_chance(y):
    counts = np.zeros(50)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        _, (drawn, _) = split(np.arange(50), y, 0.2, rng)
        counts[drawn] += 1
    assert np.abs(counts - 400).max() < 5 * np.sqrt(400)


def test_both_sets_are_shuffled():
    (x1, _), (x2, _) = split(np.arange(100), np.repeat([0, 1], 50), 0.5, rng=0)
    assert (np.diff(x1) < 0).any()
    assert (np.diff(x2) < 0).any()


def test_a_seed_repeats_the_split_and_a_generator_goes_on():
    x = np.arange(40)
    rng = np.random.default_rng(3)
    first, second = split(x, x % 4, 0.25, rng), split(x, x % 4, 0.25, rng)
    assert (first[1][0] == split(x, x % 4, 0.25, 3)[1][0]).all()
    assert (first[1][0] != second[1][0]).any()
    manual_seed(3)
    assert (first[1][0] == split(x, x % 4, 0.25)[1][0]).all()


def test_a_fraction_next_to_1_leaves_a_row():
    (x1, _), _ = split(np.arange(3), np.zeros(3, int), np.nextafter(1, 0), rng=0)
    assert len(x1) == 1


X, Y = np.zeros((4, 2)), np.zeros(4, int)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((X, Y[:3], 0.5), ValueError, "expected as many rows in x as in y, got 4 and 3"),
        ((X[:1], Y[:1], 0.5), ValueError, "expected at least two rows, got 1"),
        ((X[:0], Y[:0], 0.5), ValueError, "expected at least two rows, got 0"),
        ((X, Y, 0), ValueError, "expected a fraction between 0 and 1, got 0"),
        ((X, Y, 1.0), ValueError, "expected a fraction between 0 and 1, got 1"),
        ((X, Y, 2), ValueError, "expected a number from 0 to 1 for fraction, got 2"),
        ((X, Y, np.nan), ValueError, "fraction"),
        ((X, Y, "0.5"), TypeError, "expected a number for fraction, got '0.5'"),
        ((X.tolist(), Y, 0.5), TypeError, "expected x to be an array, got list"),
        ((X, np.array(1), 0.5), ValueError, "expected y to have rows, got a single value"),
        ((X, Y, 0.5, "seed"), TypeError, "rng"),
    ],
)
def test_a_bad_call_says_so(arguments, kind, message):
    with pytest.raises(kind, match=message):
        split(*arguments)
