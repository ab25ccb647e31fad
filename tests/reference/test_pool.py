"""The reference's pooling against NumPy's sliding windows and differences, and by hand at the edges."""

import math

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from fastdl.reference import pool
from tests.reference.against import central_difference, close, near, returned

INF, NAN = math.inf, math.nan
# kernel_size, stride, padding, dilation
WINDOWS = [
    ((2, 2), (2, 2), (0, 0), (1, 1)),
    ((3, 2), (1, 2), (1, 0), (1, 1)),
    ((3, 3), (2, 3), (1, 1), (2, 1)),
    ((1, 4), (3, 1), (0, 2), (1, 2)),
]
UNDILATED = [pairs[:3] for pairs in WINDOWS]


def windows(x, kernel_size, stride, padding, dilation=(1, 1), fill=0.0):
    """Every window of x (N, C, H, W) as (N, C, OH, OW, places), the padding filled."""
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)), constant_values=fill)
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel_size, dilation, strict=True))
    every = sliding_window_view(x, reach, axis=(2, 3))
    every = every[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    return every.reshape(*every.shape[:4], -1)


def row_max(values, *options, outputs):
    """Maxima and their indices over a row of values; options are those along the row."""
    x = np.array(values, dtype=float).reshape(1, 1, 1, -1)
    y, index = np.full((1, 1, 1, outputs), 7.0), np.full((1, 1, 1, outputs), 7, np.int32)
    pairs = [(plain, given) for plain, given in zip((1, 1, 0, 1), options, strict=True)]
    pool.max_pool_forward(x, *pairs, y, index)
    return y.ravel().tolist(), index.ravel().tolist()


def row_mean(values, *options, include=True, divisor=None, outputs):
    x = np.array(values, dtype=float).reshape(1, 1, 1, -1)
    pairs = [(plain, given) for plain, given in zip((1, 1, 0), options, strict=True)]
    return returned(pool.avg_pool_forward, x, *pairs, include, divisor, shape=(1, 1, 1, outputs)).ravel()


@pytest.mark.parametrize("pairs", WINDOWS, ids=str)
def test_max_pooling_is_the_maximum_of_each_window(rng, pairs):
    x = rng.normal(size=(2, 3, 7, 8))
    want = windows(x, *pairs, fill=-INF).max(-1)
    y, index = np.full(want.shape, 7.0), np.zeros(want.shape, np.int32)
    pool.max_pool_forward(x, *pairs, y, index)
    close(y, want)
    close(np.take_along_axis(x.reshape(2, 3, -1), index.reshape(2, 3, -1), -1).reshape(want.shape), want)
    without_index = np.full(want.shape, 7.0)
    pool.max_pool_forward(x, *pairs, without_index, None)
    close(without_index, want)


@pytest.mark.parametrize("pairs", WINDOWS, ids=str)
def test_max_pooling_backward_is_the_derivative(rng, pairs):
    x = rng.normal(size=(1, 2, 7, 8))
    y = windows(x, *pairs, fill=-INF).max(-1)
    gy, index = rng.normal(size=y.shape), np.zeros(y.shape, np.int32)

    def f():
        pool.max_pool_forward(x, *pairs, y, index)
        return (gy * y).sum()

    difference = central_difference(f, x)
    f()
    near(returned(pool.max_pool_backward, gy, index, *pairs, shape=x.shape), difference)


def test_the_first_of_equal_maxima_and_the_last_nan_count():
    assert row_max([1, 3, 3, 2, 3, 3], 3, 3, 0, 1, outputs=2) == ([3, 3], [1, 4])
    assert row_max([-INF, -INF], 2, 2, 0, 1, outputs=1) == ([-INF], [0])
    y, index = row_max([NAN, 5, NAN, 6], 4, 4, 0, 1, outputs=1)
    assert math.isnan(y[0])
    assert index == [2]


def test_a_window_past_the_end_and_one_that_holds_nothing():
    assert row_max([4, 5, 6], 2, 2, 0, 1, outputs=2) == ([5, 6], [1, 2])
    assert row_max([4], 2, 1, 1, 2, outputs=1) == ([-INF], [-1])
    gx = returned(
        pool.max_pool_backward, np.ones((1, 1, 1, 1)), np.full((1, 1, 1, 1), -1), *[(1, 1)] * 4, shape=(1, 1, 1, 1)
    )
    assert gx == 0


@pytest.mark.parametrize("pairs", UNDILATED, ids=str)
@pytest.mark.parametrize(("include", "divisor"), [(True, None), (False, None), (True, 5), (False, 5)])
def test_average_pooling_is_the_mean_of_each_window(rng, pairs, include, divisor):
    x = rng.normal(size=(2, 3, 7, 8))
    every, counted = windows(x, *pairs), windows(np.ones_like(x), *pairs, fill=float(include))
    want = every.sum(-1) / (counted.sum(-1) if divisor is None else divisor)
    close(returned(pool.avg_pool_forward, x, *pairs, include, divisor, shape=want.shape), want)


@pytest.mark.parametrize("pairs", UNDILATED, ids=str)
@pytest.mark.parametrize(("include", "divisor"), [(True, None), (False, None), (True, 5)])
def test_average_pooling_backward_is_the_derivative(rng, pairs, include, divisor):
    x = rng.normal(size=(1, 2, 7, 8))
    gy = rng.normal(size=windows(x, *pairs).shape[:4])

    def f():
        return (gy * returned(pool.avg_pool_forward, x, *pairs, include, divisor, shape=gy.shape)).sum()

    near(returned(pool.avg_pool_backward, gy, *pairs, include, divisor, shape=x.shape), central_difference(f, x))


def test_a_mean_past_the_end_counts_the_padding_and_no_more():
    close(row_mean([2, 4, 6], 2, 2, 0, outputs=2), [3, 6])
    close(row_mean([2, 4, 6], 3, 2, 1, outputs=2), [2, 10 / 3])
    close(row_mean([2, 4, 6, 8], 3, 2, 1, outputs=3), [2, 6, 4])
    close(row_mean([2, 4, 6, 8], 3, 2, 1, include=False, outputs=3), [3, 6, 8])
    close(row_mean([2, 4, 6, 8], 3, 2, 1, divisor=2, outputs=3), [3, 9, 4])


@pytest.mark.parametrize(("sizes", "outputs"), [((7, 8), (1, 1)), ((6, 8), (3, 4)), ((7, 8), (3, 5)), ((2, 3), (5, 4))])
def test_adaptive_pooling_is_the_mean_of_each_share_and_its_derivative(rng, sizes, outputs):
    x, gy = rng.normal(size=(2, 1, *sizes)), rng.normal(size=(2, 1, *outputs))
    y = returned(pool.adaptive_avg_pool_forward, x, shape=gy.shape)
    for i, j in np.ndindex(*outputs):
        rows = slice(math.floor(i * sizes[0] / outputs[0]), math.ceil((i + 1) * sizes[0] / outputs[0]))
        columns = slice(math.floor(j * sizes[1] / outputs[1]), math.ceil((j + 1) * sizes[1] / outputs[1]))
        close(y[:, :, i, j], x[:, :, rows, columns].mean((2, 3)))

    def f():
        return (gy * returned(pool.adaptive_avg_pool_forward, x, shape=gy.shape)).sum()

    near(returned(pool.adaptive_avg_pool_backward, gy, shape=x.shape), central_difference(f, x))
