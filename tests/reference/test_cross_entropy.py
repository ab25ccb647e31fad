"""The reference's losses over classes against closed forms and differences, and at the extremes."""

import math

import numpy as np
import pytest

from fastdl.reference import cross_entropy
from tests.reference.against import central_difference, close, near, numpy_softmax, returned

INF, NAN = math.inf, math.nan


@pytest.fixture
def classes(rng):
    """Scores, targets (one of them ignored), class weights and the gradient of the unreduced loss."""
    x, target = rng.normal(size=(3, 4, 2)), rng.integers(0, 4, size=(3, 2))
    target[1, 0] = -100
    return x, target, rng.uniform(1, 2, 4), rng.normal(size=(3, 2))


def one_hot(target, C):
    return (target[:, None, :] == np.arange(C)[:, None]).astype(float)


@pytest.mark.parametrize("weighted", [False, True])
def test_nll_is_minus_the_targets_entry(classes, weighted):
    x, target, weight, gy = classes
    w = weight[:, None] if weighted else 1
    argument = weight if weighted else None
    y = returned(cross_entropy.nll_forward, x, target, argument, -100, shape=(3, 2))
    close(y, -(one_hot(target, 4) * w * x).sum(1))
    gx = returned(cross_entropy.nll_backward, target, argument, -100, gy, shape=x.shape)
    close(gx, -one_hot(target, 4) * w * gy[:, None])


def test_nll_ignores_a_real_class_too(classes):
    x, target, _, gy = classes
    target[:] = [[0, 1], [2, 3], [2, 2]]
    y = returned(cross_entropy.nll_forward, x, target, None, 2, shape=(3, 2))
    close(y, [[-x[0, 0, 0], -x[0, 1, 1]], [0, -x[1, 3, 1]], [0, 0]])
    gx = returned(cross_entropy.nll_backward, target, None, 2, gy, shape=x.shape)
    assert np.count_nonzero(gx) == 3
    assert not gx[:, 2].any()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("probabilities", [False, True])
def test_cross_entropy_is_its_closed_form_and_backward_its_derivative(rng, classes, weighted, smoothing, probabilities):
    x, target, weight, gy = classes
    w = weight[:, None] if weighted else 1
    if probabilities:
        t = numpy_softmax(rng.normal(size=x.shape))
        q = (1 - smoothing) * t + smoothing / 4
        arguments = (t, weight if weighted else None, smoothing)
        forward, backward = (
            cross_entropy.cross_entropy_probabilities_forward,
            cross_entropy.cross_entropy_probabilities_backward,
        )
    else:
        q = ((1 - smoothing) * one_hot(target, 4) + smoothing / 4) * (target != -100)[:, None]
        arguments = (target, weight if weighted else None, -100, smoothing)
        forward, backward = cross_entropy.cross_entropy_forward, cross_entropy.cross_entropy_backward

    def f():
        return -(q * w * np.log(numpy_softmax(x))).sum(1)

    p, y = np.empty_like(x), np.empty((3, 2))
    forward(x, *arguments, p, y)
    close(p, numpy_softmax(x))
    close(y, f())
    gx = returned(backward, p, *arguments, gy, shape=x.shape)
    near(gx, central_difference(lambda: (gy * f()).sum(), x))


@pytest.mark.parametrize(
    ("x", "target", "smoothing", "value", "gradient"),
    [
        ([1000, 0], 1, 0.0, 1000, [1, -1]),
        ([-INF, 0], 1, 0.0, 0, [0, 0]),
        ([-INF, 0], 0, 0.0, INF, [-1, 1]),
        ([-INF, 0], 1, 0.1, INF, [-0.05, 0.05]),
        ([NAN, 0], 1, 0.0, NAN, [NAN, NAN]),
        ([INF, 0], 0, 0.0, NAN, [NAN, NAN]),
        ([NAN, 0], -100, 0.0, 0, [0, 0]),
    ],
)
def test_cross_entropy_at_extremes(x, target, smoothing, value, gradient):
    x, target = np.array(x, dtype=float).reshape(1, 2, 1), np.array([[target]])
    p, y = np.empty_like(x), np.empty((1, 1))
    cross_entropy.cross_entropy_forward(x, target, None, -100, smoothing, p, y)
    close(y[0, 0], value)
    gx = returned(
        cross_entropy.cross_entropy_backward, p, target, None, -100, smoothing, np.ones((1, 1)), shape=x.shape
    )
    close(gx.ravel(), gradient)
