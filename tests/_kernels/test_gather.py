"""Nodes that read or add to the elements an index names, against np.take, np.take_along_axis and np.add.at."""

import numpy as np
import pytest

from fastdl.reference.gather import OUT_OF_RANGE, gather, scatter_add
from tests._kernels.nodes import elements, run


def take(x, index, axis, dtype):
    """np.take as a node: axes (*before, *index, *behind)."""
    before, behind = x.ndim and x.shape[:axis], x.shape[axis + 1 :]
    sizes = (*before, *index.shape, *behind)
    out = np.empty(sizes, x.dtype)
    steps = elements(x)
    strides = [
        elements(out),
        (*steps[:axis], *[0] * index.ndim, *steps[axis + 1 :]),
        (*[0] * axis, *elements(index), *[0] * len(behind)),
    ]
    return run("gather", {}, sizes, [out, x, index], dtype, (x.shape[axis], steps[axis]), strides), out


def take_along(x, index, axis, dtype):
    out = np.empty(index.shape, x.dtype)
    steps = list(elements(x))
    step, steps[axis] = steps[axis], 0
    strides = [elements(out), tuple(steps), elements(index)]
    return run("gather", {}, index.shape, [out, x, index], dtype, (x.shape[axis], step), strides), out


def put_along(x, index, axis, size, dtype):
    out = np.zeros((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)
    steps = list(elements(out))
    step, steps[axis] = steps[axis], 0
    strides = [tuple(steps), elements(x), elements(index)]
    return run("scatter_add", {}, index.shape, [out, x, index], dtype, (size, step), strides), out


def values(shape, kind):
    x = np.random.default_rng(0).integers(-9, 9, shape)
    return x > 0 if kind == np.bool_ else x.astype(kind)


@pytest.mark.parametrize("kind", [None, np.int64, np.bool_], ids=["floating", "whole", "truth"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_take_and_take_along(level, dtype, kind, axis):
    rng = np.random.default_rng(1)
    x = values((5, 6, 7), dtype if kind is None else kind)
    for each in (x, x[::-1, ::2, ::-1], np.ascontiguousarray(x.T).T):
        size = each.shape[axis]
        for index in (
            rng.integers(-size, size, (4,)),
            rng.integers(-size, size, (3, 2)),
            np.array(1),
            np.array([], int),
        ):
            status, got = take(each, index, axis, dtype)
            assert status == 0
            np.testing.assert_array_equal(got, np.take(each, index, axis))
        shape = list(each.shape)
        shape[axis] = 3
        index = rng.integers(-size, size, shape)
        status, got = take_along(each, index, axis, dtype)
        assert status == 0
        np.testing.assert_array_equal(got, np.take_along_axis(each, index, axis))


@pytest.mark.parametrize("kind", [None, np.int64], ids=["floating", "whole"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_put_along_adds_where_indices_are_the_same(level, dtype, kind, axis):
    x = values((5, 6, 7), dtype if kind is None else kind)
    index = np.random.default_rng(1).integers(-3, 3, x.shape)
    status, got = put_along(x, index, axis, 3, dtype)
    want = np.zeros_like(got)
    places = list(np.indices(x.shape))
    places[axis] = index
    np.add.at(want, tuple(places), x)
    assert status == 0
    np.testing.assert_array_equal(got, want)


def test_rows_of_a_table_are_added_to(level, dtype):
    """The gradient of an embedding: axes (*index, column)."""
    x, index = values((50, 8), dtype), np.random.default_rng(1).integers(0, 4, 50)
    out = np.zeros((4, 8), dtype)
    strides = [(0, 1), elements(x), (1, 0)]
    assert run("scatter_add", {}, x.shape, [out, x, index], dtype, (4, 8), strides) == 0
    want = np.zeros((4, 8), dtype)
    np.add.at(want, index, x)
    np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize("wrong", [4, -5, 2**62, -(2**62)])
def test_an_index_out_of_range_is_reported(level, dtype, wrong):
    x, index = values((4, 8), dtype), np.array([0, 1, wrong])
    assert take(x, index, 0, dtype)[0] == OUT_OF_RANGE
    assert take_along(x, np.broadcast_to(index[:, None], (3, 8)), 0, dtype)[0] == OUT_OF_RANGE
    assert put_along(np.ones((3, 8), dtype), np.broadcast_to(index[:, None], (3, 8)), 0, 4, dtype)[0] == OUT_OF_RANGE


def test_both_are_the_references(level, dtype):
    x, index = values((3, 4, 7), dtype), np.random.default_rng(0).integers(-7, 7, (3, 4))
    want = np.empty((3, 4), dtype)
    assert gather(x, index, want) == 0
    np.testing.assert_array_equal(take_along(x, index[..., None], 2, dtype)[1][..., 0], want)
    y, want = values((3, 4, 5), dtype), np.zeros((3, 4, 5, 3), dtype)
    index = np.random.default_rng(0).integers(-3, 3, (3, 4, 5))
    summed = np.zeros((3, 4, 3), dtype)
    assert scatter_add(y, index, want) == 0
    summed += want.sum(2)
    np.testing.assert_array_equal(put_along(y, index, 2, 3, dtype)[1], summed)
    assert gather(x, np.full((3, 4), 7), np.empty((3, 4), dtype)) == OUT_OF_RANGE
    assert scatter_add(y, np.full((3, 4, 5), -4), want) == OUT_OF_RANGE
