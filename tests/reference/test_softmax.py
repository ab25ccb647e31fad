"""The reference's softmax and log-softmax against NumPy and differences, and at the extremes."""

import math

import numpy as np
import pytest

from fastdl.reference import softmax
from tests.reference.against import central_difference, close, near, numpy_softmax, returned

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 1, 1), (0, 3, 1), (2, 3, 0)])
def test_softmax_is_over_the_middle_axis(rng, shape):
    x = rng.normal(size=shape)
    close(returned(softmax.softmax_forward, x, shape=shape), numpy_softmax(x))
    close(returned(softmax.log_softmax_forward, x, shape=shape), np.log(numpy_softmax(x)))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_backward_is_the_derivative(rng, name):
    forward, backward = getattr(softmax, f"{name}_forward"), getattr(softmax, f"{name}_backward")
    x, gy = rng.normal(size=(2, 3, 2)), rng.normal(size=(2, 3, 2))
    y = returned(forward, x, shape=x.shape)
    difference = central_difference(lambda: (gy * returned(forward, x, shape=x.shape)).sum(), x)
    near(returned(backward, gy, y, shape=x.shape), difference)


@pytest.mark.parametrize(
    ("x", "p", "log_p"),
    [
        ([1000, 1000], [0.5, 0.5], [-math.log(2)] * 2),
        ([-1000, 0], [0, 1], [-1000, 0]),
        ([-INF, 0], [0, 1], [-INF, 0]),
        ([-INF, -INF], [NAN, NAN], [NAN, NAN]),
        ([INF, 0], [NAN, NAN], [NAN, NAN]),
        ([0, NAN], [NAN, NAN], [NAN, NAN]),
        ([NAN, 0], [NAN, NAN], [NAN, NAN]),
    ],
)
def test_softmax_at_extremes(x, p, log_p):
    x = np.array(x, dtype=float).reshape(1, 2, 1)
    close(returned(softmax.softmax_forward, x, shape=x.shape).ravel(), p)
    close(returned(softmax.log_softmax_forward, x, shape=x.shape).ravel(), log_p)
