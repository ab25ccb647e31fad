"""Nodes that reduce axes, against NumPy: every operation, order of axes, kind and layout."""

from itertools import combinations

import numpy as np
import pytest

import fastdl
from fastdl.reference.reduce import reduce
from tests._kernels.nodes import reduced

SHAPES = [(1,), (7,), (64, 2), (5, 33), (3, 4, 5), (2, 17, 3, 9), (40, 70), (3000,), (2, 2050), (2050, 3)]


def subsets(shape):
    axes = range(len(shape))
    return [each for count in range(1, len(shape) + 1) for each in combinations(axes, count)]


def numbers(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def layouts(x):
    yield x
    yield x[(slice(None, None, -1),) * x.ndim]
    yield np.repeat(x, 2, -1)[..., ::2]
    yield np.ascontiguousarray(x.T).T


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_reductions_are_numpys(level, dtype, shape):
    for x in layouts(numbers(shape, dtype)):
        for axes in subsets(shape):
            for operation in ("max", "min"):
                np.testing.assert_array_equal(reduced(operation, x, axes, dtype), getattr(np, operation)(x, axis=axes))
            want, scale = np.sum(x, axis=axes, dtype=np.longdouble), np.sum(np.abs(x), axis=axes)
            assert (np.abs(reduced("sum", x, axes, dtype) - want) <= 8 * np.finfo(dtype).eps * scale).all()
            near_one = 1 + x / 1000
            np.testing.assert_allclose(
                reduced("prod", near_one, axes, dtype), np.prod(near_one, axis=axes, dtype=np.float64), rtol=1e-3
            )
        for axis in range(x.ndim):
            for operation in ("argmax", "argmin"):
                got = reduced(operation, x, (axis,), dtype, np.int64)
                np.testing.assert_array_equal(got, getattr(np, operation)(x, axis=axis))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_whole_numbers_and_truths(level, shape):
    for x in layouts(np.random.default_rng(0).integers(-4, 5, shape)):
        for axes in subsets(shape):
            for operation in ("sum", "prod", "max", "min"):
                np.testing.assert_array_equal(
                    reduced(operation, x, axes, np.float32), getattr(np, operation)(x, axis=axes)
                )
            for operation in ("any", "all"):
                for truths in (x == 0, x != 4, x == 9, x != 9):
                    got = reduced(operation, truths, axes, np.float32)
                    np.testing.assert_array_equal(got, getattr(np, operation)(truths, axis=axes))
        for axis in range(x.ndim):
            for operation in ("argmax", "argmin"):
                got = reduced(operation, x, (axis,), np.float32, np.int64)
                np.testing.assert_array_equal(got, getattr(np, operation)(x, axis=axis))


@pytest.mark.parametrize("n", [1, 3, 16, 17, 64, 100, 300])
def test_a_nan_and_an_infinity_stay(level, dtype, n):
    for special in (np.nan, np.inf, -np.inf):
        for place in {0, n // 2, n - 1}:
            x = numbers((n, n), dtype)
            x[place, place] = special
            for axis in (0, 1):
                for operation in ("max", "min", "sum"):
                    with np.errstate(all="ignore"):
                        want = getattr(np, operation)(x, axis=axis)
                    np.testing.assert_allclose(reduced(operation, x, (axis,), dtype), want, rtol=1e-3)
                for operation in ("argmax", "argmin"):
                    got = reduced(operation, x, (axis,), dtype, np.int64)
                    np.testing.assert_array_equal(got, getattr(np, operation)(x, axis=axis))


def test_nothing_comes_to_the_identity(level, dtype):
    x = np.empty((3, 0, 2), dtype)
    np.testing.assert_array_equal(reduced("sum", x, (1,), dtype), np.zeros((3, 2)))
    np.testing.assert_array_equal(reduced("prod", x, (0, 1), dtype), np.ones(2))
    np.testing.assert_array_equal(reduced("any", x > 0, (1,), dtype), np.zeros((3, 2), bool))
    np.testing.assert_array_equal(reduced("all", x > 0, (1,), dtype), np.ones((3, 2), bool))
    assert reduced("sum", x, (0,), dtype).shape == (0, 2)


def test_threads_and_neighbours_change_no_bit(level, dtype, threads):
    """An element is the same, however many there are beside it."""
    for shape in ((1111, 300), (1111, 3), (70, 40, 30), (300, 1111)):
        x = numbers(shape, dtype)
        for operation in ("sum", "prod"):
            found = []
            for n in (1, 2, 4):
                fastdl.set_num_threads(n)
                found.append([reduced(operation, x, axes, dtype) for axes in subsets(shape)])
            for other in found[1:]:
                for one, two in zip(found[0], other, strict=True):
                    np.testing.assert_array_equal(one, two)
            last = reduced(operation, x, (-1,), dtype)
            np.testing.assert_array_equal(reduced(operation, x[3:], (-1,), dtype), last[3:])


def test_a_long_sum_is_accurate(level, dtype):
    x = np.random.default_rng(0).uniform(0, 1, 1_000_003).astype(dtype)
    want = np.sum(x, dtype=np.longdouble)
    assert abs(reduced("sum", x, (0,), dtype) - want) <= 4 * np.finfo(dtype).eps * want


@pytest.mark.parametrize("operation", ["sum", "prod", "max", "min", "any", "all", "argmax", "argmin"])
def test_reductions_are_the_references(level, dtype, operation):
    for x in (numbers((3, 4, 5), dtype), np.random.default_rng(0).integers(-4, 5, (3, 4, 5))):
        x = x > 2 if operation in ("any", "all") else x
        found = np.int64 if operation.startswith("arg") else x.dtype
        want = np.empty((3, 4), found)
        reduce(operation, x, want)
        np.testing.assert_allclose(reduced(operation, x, (2,), dtype, found), want, rtol=8 * np.finfo(dtype).eps)
