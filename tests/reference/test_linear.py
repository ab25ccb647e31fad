"""The reference's matrix product and linear layer against NumPy, and their gradients against differences."""

import numpy as np
import pytest

from fastdl.reference import gemm, linear
from tests.reference.against import central_difference, close, near, returned


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_gemm_is_the_matrix_product(rng, transpose_a, transpose_b, accumulate, biased):
    a, b, c = rng.normal(size=(3, 4)), rng.normal(size=(4, 5)), rng.normal(size=(3, 5))
    bias = rng.normal(size=5) if biased else None
    expected = a @ b + accumulate * c + (bias if biased else 0)
    a, b = (a.T.copy() if transpose_a else a), (b.T.copy() if transpose_b else b)
    gemm.gemm(a, b, bias, transpose_a, transpose_b, accumulate, None, 0.0, 0.0, c)
    close(c, expected)


def test_gemm_applies_the_activation_last(rng):
    a, b, c, bias = rng.normal(size=(3, 4)), rng.normal(size=(4, 5)), rng.normal(size=(3, 5)), rng.normal(size=5)
    z = a @ b + c + bias
    assert (z < 0).any()
    gemm.gemm(a, b, bias, False, False, True, "leaky_relu", 0.2, 0.0, c)
    close(c, np.where(z > 0, z, 0.2 * z))


def test_gemm_of_no_inner_dimension_is_the_bias():
    c = np.full((2, 2), 7.0)
    gemm.gemm(np.empty((2, 0)), np.empty((0, 2)), np.array([1.0, 2.0]), False, False, False, None, 0.0, 0.0, c)
    close(c, [[1, 2], [1, 2]])


@pytest.mark.parametrize("leading", [(), (3,), (2, 3), (0,)])
def test_linear_is_x_times_the_transposed_weights_plus_b(rng, leading):
    x, W, b = rng.normal(size=(*leading, 4)), rng.normal(size=(5, 4)), rng.normal(size=5)
    close(returned(linear.linear_forward, x, W, b, shape=(*leading, 5)), x @ W.T + b)
    close(returned(linear.linear_forward, x, W, None, shape=(*leading, 5)), x @ W.T)


def test_linear_backward_is_the_derivative_and_accumulates(rng):
    x, W, b, gy = rng.normal(size=(2, 3, 4)), rng.normal(size=(5, 4)), rng.normal(size=5), rng.normal(size=(2, 3, 5))

    def f():
        return (gy * returned(linear.linear_forward, x, W, b, shape=gy.shape)).sum()

    gx, gW, gb = np.full(x.shape, 7.0), np.full(W.shape, 10.0), np.full(b.shape, 20.0)
    linear.linear_backward(gy, x, W, True, gx, gW, gb)
    near(gx, central_difference(f, x))
    near(gW - 10, central_difference(f, W))
    near(gb - 20, central_difference(f, b))
    alone = np.full(W.shape, 10.0)
    linear.linear_backward(gy, x, W, True, None, alone, None)
    close(alone, gW)


def test_sums_are_taken_in_double_precision():
    x, W = np.array([[1e8, 1, -1e8]], np.float32), np.ones((1, 3), np.float32)
    assert returned(linear.linear_forward, x, W, None, shape=(1, 1), dtype=np.float32) == 1
