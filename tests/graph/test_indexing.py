"""x[...] of traced values: what NumPy's indexing gives, and errors where an index names what is not there."""

from contextlib import nullcontext

import numpy as np
import pytest

import fastdl
from fastdl import nn

X = np.random.default_rng(0).standard_normal((6, 3))
T = np.random.default_rng(1).standard_normal((2, 3, 4))


class Of(nn.Module):
    """A function of a number for each sample, of the input, and of an index."""

    def __init__(self, function):
        self.scale, self.function = nn.Parameter(np.ones(1)), function

    def forward(self, x, *index):
        return self.function(x * self.scale, *index)


KEYS = {
    "an integer, a slice and an array": (0, slice(None), [1, 2, 2]),
    "an array, a slice and an integer": ([0, 1], slice(1, None), 2),
    "an integer, None and an array": (1, None, [0, 2]),
    "an integer beside an array": (slice(None), 1, [0, 3]),
    "an array beside an integer": (slice(None), [0, 2], 1),
    "None behind an array of two axes": ([[0, 1], [1, 0]], None),
    "None before an array of two axes": (None, slice(None), [[0, 1, 2]]),
    "an Ellipsis between": (0, ..., [1, 1]),
    "an empty list": [],
    "no element of an axis": (slice(None), [], 0),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_axes_are_where_numpy_has_them(key):
    np.testing.assert_array_equal(Of(lambda x: x[key])(T), T[key])
    with fastdl.eager():
        np.testing.assert_array_equal(Of(lambda x: x[key])(T), T[key])


@pytest.mark.parametrize(
    ("rows", "columns"),
    [([0, -1, -6, 5], [-1, 0, -3, 2]), ([[0], [-1]], [0, 1, -1]), ([1], [[0, 1]]), ([], [])],
    ids=["of both ends", "broadcast", "one row", "none"],
)
def test_pairs_count_from_either_end(rows, columns):
    rows, columns = np.array(rows, int), np.array(columns, int)
    for model in (Of(lambda x: x[rows, columns]), Of(lambda x: x[rows.tolist(), columns])):
        np.testing.assert_array_equal(model(X), X[rows, columns])
    each = [0, -1, 2, 1, 0, -2]
    np.testing.assert_array_equal(Of(lambda x, i, j: x[i, j])(X, np.arange(6) - 6, np.array(each)), X[range(6), each])


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize(("row", "column"), [(0, 3), (0, -4), (6, 0), (-7, 0), (5, 3), (-7, 3)])
def test_pairs_beyond_either_axis_are_errors(row, column, eager):
    model = Of(lambda x, i, j: x[i, j])
    rows, columns = np.full(6, row), np.full(6, column)
    with (
        fastdl.eager() if eager else nullcontext(),
        pytest.raises(IndexError, match=r"^test_indexing\.py:\d+: expected indices within the axis"),
    ):
        model(X, rows, columns)


def test_pairs_beyond_an_axis_are_errors_of_the_trace_where_they_are_constants():
    with pytest.raises(
        ValueError, match=r"^test_indexing\.py:\d+: x\[\.\.\.\]: expected indices below 3 along axis 1, got 3$"
    ):
        Of(lambda x: x[[0, 1], [0, 3]])(X)


def test_gradients_of_pairs_go_where_they_were_taken():
    rows, columns = np.array([0, 5, 0, -1]), np.array([2, -1, 2, 0])
    gradient = fastdl.grad(lambda x: np.sum(x[rows, columns] * np.arange(1.0, 5)))(X)
    wanted = np.zeros_like(X)
    np.add.at(wanted, (rows, columns), np.arange(1.0, 5))
    np.testing.assert_array_equal(gradient, wanted)


@pytest.mark.parametrize(
    "key", [True, False, np.True_, [True] * 6, (slice(None), np.array([True, False, True]))], ids=str
)
def test_truth_values_are_no_integers(key):
    with pytest.raises(TypeError, match=r"^test_indexing\.py:\d+: expected .*, got x\[mask\], .*; write np\.where"):
        Of(lambda x: x[key])(X)


@pytest.mark.parametrize("key", [0.5, "a", (slice(None), 1.0), (0, {})], ids=str)
def test_what_is_no_index_is_refused(key):
    with pytest.raises(
        TypeError, match=r"^test_indexing\.py:\d+: x\[\.\.\.\]: expected integers, slices, None, .* as an index, got "
    ):
        Of(lambda x: x[key])(X)
