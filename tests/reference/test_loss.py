"""The reference's elementwise losses against closed forms and differences, and at the extremes."""

import math

import numpy as np
import pytest

from fastdl.reference import loss
from tests.reference.against import central_difference, close, near, returned

INF, NAN = math.inf, math.nan


DELTA = 0.7


def numpy_huber(d):
    return np.where(np.abs(d) <= DELTA, 0.5 * d**2, DELTA * (np.abs(d) - 0.5 * DELTA))


def numpy_logits(x, t, c):
    s = 1 / (1 + np.exp(-x))
    return -(c * t * np.log(s) + (1 - t) * np.log(1 - s))


NUMPY_LOSSES = {
    "mse": lambda x, t, c: (x - t) ** 2,
    "mae": lambda x, t, c: np.abs(x - t),
    "huber": lambda x, t, c: numpy_huber(x - t),
    "bce": lambda x, t, c: -(t * np.log(x) + (1 - t) * np.log(1 - x)),
    "bce_with_logits": numpy_logits,
}


@pytest.mark.parametrize("kind", loss.LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_is_its_closed_form_and_backward_its_derivative(rng, kind, weighted):
    x, t = rng.uniform(0.05, 0.95, (2, 3, 4)) * (1 if kind == "bce" else 3), rng.uniform(size=(2, 3, 4))
    weight = rng.uniform(1, 2, x.shape) if weighted else None
    c = rng.uniform(2, 3, x.shape) if weighted and kind == "bce_with_logits" else None

    def f():
        return returned(loss.loss_forward, x, t, weight, c, kind, DELTA, shape=x.shape)

    if kind in NUMPY_LOSSES:
        close(f(), (1 if weight is None else weight) * NUMPY_LOSSES[kind](x, t, 1 if c is None else c))
    close(loss.loss_sum(x, t, weight, c, kind, DELTA), f().sum())
    gx = returned(loss.loss_backward, x, t, weight, c, kind, DELTA, 0.25, shape=x.shape)
    near(gx, 0.25 * central_difference(lambda: f().sum(), x))


def test_the_loss_of_nothing_is_zero():
    total = loss.loss_sum(np.empty((0, 2)), np.empty((0, 2)), None, None, "mse", 1.0)
    assert total == 0
    assert isinstance(total, float)


@pytest.mark.parametrize(
    ("kind", "x", "t", "value", "derivative"),
    [
        ("mse", INF, 0, INF, INF),
        ("mse", NAN, 0, NAN, NAN),
        ("mae", 1, 1, 0, 0),
        ("mae", -INF, 0, INF, -1),
        ("huber", DELTA, 0, DELTA**2 / 2, DELTA),
        ("huber", -INF, 0, INF, -DELTA),
        ("huber", NAN, 0, NAN, NAN),
        ("bce", 0, 1, 100, -1e12),
        ("bce", 0, 0, 0, 0),
        ("bce", 1, 0, 100, 1e12),
        ("bce", 1, 1, 0, 0),
        ("bce", 1e-50, 0.5, 50, -0.5e12),
        ("bce", NAN, 0.5, NAN, NAN),
        ("bce", 1e-20, 0, 1e-20, 1e-8),
        ("bce_with_logits", 800, 0, 800, 1),
        ("bce_with_logits", 800, 1, 0, 0),
        ("bce_with_logits", -800, 1, 800, -1),
        ("bce_with_logits", -40, 0, math.exp(-40), math.exp(-40)),
        ("bce_with_logits", INF, 0, INF, 1),
        ("bce_with_logits", -INF, 0.3, INF, -0.3),
        ("bce_with_logits", NAN, 0, NAN, NAN),
    ],
)
def test_loss_at_extremes(kind, x, t, value, derivative):
    x, t = np.array([float(x)]), np.array([float(t)])
    # 1 + e^-40 - 1 is not e^-40: log(1 + e^x) loses it in the sum with (1 - t) x.
    atol = 1e-14 if kind == "bce_with_logits" else 0
    close(returned(loss.loss_forward, x, t, None, None, kind, DELTA, shape=1), value, atol=atol)
    close(returned(loss.loss_backward, x, t, None, None, kind, DELTA, 1.0, shape=1), derivative, atol=0)


def test_float32_overflow_is_infinity_without_a_warning():
    x = np.array([1e30], np.float32)
    y = returned(loss.loss_forward, x, -x, None, None, "mse", 1.0, shape=1, dtype=np.float32)
    assert y[0] == INF
