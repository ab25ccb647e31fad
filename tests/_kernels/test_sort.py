"""Nodes that number elements in ascending order, against np.argsort."""

import numpy as np
import pytest

from fastdl.reference import sort
from tests._kernels.nodes import run


def argsort(x, dtype):
    out = np.empty(x.shape, np.int64)
    assert run("argsort", {}, x.shape, [out, x], dtype) == 0
    return out


@pytest.mark.parametrize("n", [0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 100, 1000, 4097])
def test_the_order_is_numpys(level, dtype, n):
    rng = np.random.default_rng(n)
    x = rng.standard_normal((3, n)).astype(dtype)
    holes = np.where(rng.uniform(size=x.shape) < 0.2, np.nan, x).astype(dtype)
    zeros = np.where(x > 0, 0.0, -0.0).astype(dtype)
    few = rng.integers(-3, 4, x.shape)
    infinite = np.where(few == 0, np.inf, np.where(few == 1, -np.inf, few)).astype(dtype)
    for each in (x, holes, zeros, few, few.astype(dtype), few > 0, infinite, np.sort(x), np.sort(x)[:, ::-1]):
        np.testing.assert_array_equal(argsort(each, dtype), np.argsort(each, -1, kind="stable"))
        np.testing.assert_array_equal(argsort(each.T, dtype), np.argsort(each.T, -1, kind="stable"))


def test_the_order_is_the_references(level, dtype):
    x = np.random.default_rng(0).integers(-3, 3, (3, 4, 20)).astype(dtype)
    x[x == 2] = np.nan
    want = np.empty(x.shape, np.int64)
    sort.argsort(x, want)
    np.testing.assert_array_equal(argsort(x, dtype), want)
