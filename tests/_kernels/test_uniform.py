"""Uniform random numbers against the reference."""

import numpy as np
import pytest

import fastdl
from fastdl import reference
from fastdl._kernels.uniform import uniform_forward


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [0, 1, 3, 255, 256, 257, 1000, 9001])
def test_numbers_are_the_references(dtype, n, threads):
    wanted = np.empty(n, dtype)
    reference.uniform.uniform_forward(2**63 + 5, 2**40 + 3, wanted)
    for count in (1, 2, 4):
        fastdl.set_num_threads(count)
        found = np.empty(n, dtype)
        uniform_forward(2**63 + 5, 2**40 + 3, found)
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_they_lie_between_0_and_1_and_spread_evenly(dtype):
    u = np.empty(200_000, dtype)
    uniform_forward(1, 2, u)
    assert 0 < u.min() < 1e-4
    assert 1 - 1e-4 < u.max() < 1
    np.testing.assert_allclose(np.histogram(u, 20, (0, 1))[0] / len(u), 0.05, atol=0.003)
    bits = 2**23 if dtype == np.float32 else 2**32
    assert dtype((bits - 0.5) / bits) < 1
