"""Nodes of running sums, against np.cumsum."""

import numpy as np
import pytest

from fastdl.reference import scan
from tests._kernels.nodes import run


def cumsum(x, dtype, out=None):
    out = np.empty(x.shape, x.dtype) if out is None else out
    assert run("cumsum", {}, x.shape, [out, x], dtype) == 0
    return out


@pytest.mark.parametrize("shape", [(0,), (1,), (5,), (3, 4), (2, 3, 100), (4, 0), (0, 4), (1000,)], ids=str)
def test_running_sums_are_numpys(level, dtype, shape):
    for x in (np.random.default_rng(0).standard_normal(shape).astype(dtype), np.arange(np.prod(shape)).reshape(shape)):
        turned = np.moveaxis(x[..., None], 0, -1)
        for each in (x, x[..., ::-1], x[..., ::2], turned):
            np.testing.assert_array_equal(cumsum(each, dtype), np.cumsum(each, -1))
            out = np.empty(each.shape[::-1], each.dtype).T
            np.testing.assert_array_equal(cumsum(each, dtype, out), np.cumsum(each, -1))


def test_running_sums_are_the_references(level, dtype):
    x = np.random.default_rng(0).standard_normal((3, 4, 9)).astype(dtype)
    want = np.empty_like(x)
    scan.cumsum(x, want)
    np.testing.assert_array_equal(cumsum(x, dtype), want)
