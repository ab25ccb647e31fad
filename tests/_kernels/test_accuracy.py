"""The elementary functions on registers are good to four units in the last place, on every CPU level."""

from math import erf

import numpy as np
import pytest

from fastdl._kernels.activation import activation_backward, activation_forward
from fastdl._kernels.loss import loss_forward

LIMITS = {np.float32: 87.0, np.float64: 700.0}


def ulps(got, want, dtype):
    """The largest error in units in the last place of the true value, which is given in higher precision."""
    want = np.asarray(want, dtype=np.longdouble)
    unit = np.spacing(np.abs(want).astype(dtype)).astype(np.longdouble)
    return float(np.max(np.abs(got.astype(np.longdouble) - want) / unit))


def apply(kind, x, alpha=1.0, beta=0.0):
    y = np.empty_like(x)
    activation_forward(x, kind, alpha, beta, y)
    return y


def spread(low, high, dtype):
    """Points over the interval, and near zero down to the smallest normal numbers."""
    rng = np.random.default_rng(0)
    tiny = 10.0 ** rng.uniform(-30, 0, 2000) * np.sign(rng.standard_normal(2000))
    points = np.concatenate([rng.uniform(low, high, 20000), tiny[(tiny > low) & (tiny < high)]])
    return points.astype(dtype)


def test_tanh(level, dtype):
    x = spread(-15, 15, dtype)
    assert ulps(apply("tanh", x), np.tanh(x.astype(np.longdouble)), dtype) <= 4


def test_sigmoid(level, dtype):
    x = spread(-LIMITS[dtype], LIMITS[dtype], dtype)
    assert ulps(apply("sigmoid", x), 1 / (1 + np.exp(-x.astype(np.longdouble))), dtype) <= 4


def test_exp(level, dtype):
    x = spread(-LIMITS[dtype], 0, dtype)
    y = np.empty_like(x)
    activation_backward(np.ones_like(x), x, None, "elu", 1.0, 0.0, y)
    assert ulps(y, np.exp(x.astype(np.longdouble)), dtype) <= 4


def test_expm1(level, dtype):
    x = spread(-LIMITS[dtype], 0, dtype)
    assert ulps(apply("elu", x), np.expm1(x.astype(np.longdouble)), dtype) <= 4


def test_log(level, dtype):
    x = np.concatenate([spread(0, 1, dtype), np.exp(-np.linspace(0, 80, 5000)).astype(dtype)])
    x, y = x[x > 0], np.empty_like(x[x > 0])
    loss_forward(x, np.ones_like(x), None, None, "bce", 0.0, y)
    assert ulps(y, -np.log(x.astype(np.longdouble)), dtype) <= 4


def test_softplus(level, dtype):
    x = spread(-LIMITS[dtype], 30, dtype)
    assert ulps(apply("softplus", x, 1.0, 1e6), np.logaddexp(0, x.astype(np.longdouble)), dtype) <= 8


def test_erf(level, dtype):
    x = np.abs(spread(0, 5, dtype))
    want = np.array([v * (1 + erf(v / 2**0.5)) / 2 for v in x.astype(float)])
    assert ulps(apply("gelu", x), want, dtype) <= 4


@pytest.mark.parametrize("kind", ["tanh", "sigmoid", "elu", "softplus"])
def test_signed_zeros_and_infinities_are_numpys(level, dtype, kind):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan] * 4, dtype)
    want = {
        "tanh": [0.0, -0.0, 1, -1, np.nan],
        "sigmoid": [0.5, 0.5, 1, 0, np.nan],
        "elu": [0.0, -0.0, np.inf, -1, np.nan],
        "softplus": [np.log(2), np.log(2), np.inf, 0, np.nan],
    }[kind]
    got = apply(kind, x, 1.0, 20.0)
    np.testing.assert_allclose(got, np.array(want * 4, dtype), rtol=1e-6)
    np.testing.assert_array_equal(np.signbit(got[:2]), np.signbit(np.array(want[:2], dtype)))
