"""Activations and losses where they are nearly nothing: right to some units in the last place while they are normal numbers."""

from math import erfc

import numpy as np
import pytest

from fastdl import nn
from fastdl._kernels.activation import activation_backward, activation_forward
from fastdl._kernels.loss import loss_backward, loss_forward

LONG = np.longdouble
# Values that no longer fit into float64's range need a longer type to be distinguished.
longer = pytest.mark.skipif(np.finfo(LONG).eps == np.finfo(float).eps, reason="no type longer than float64")
PI = LONG("3.14159265358979323846264338327950288")
ROOT = 2 * np.sqrt(2 / PI)
CUBIC = LONG("0.044715")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def upper_tail(x):
    """1 - Phi(x): near 0 from the standard library, then as a continued fraction."""
    a = np.maximum(x, 1) / np.sqrt(LONG(2))
    fraction = a.copy()
    for k in range(1000, 0, -1):
        fraction = a + k / LONG(2) / fraction
    far = np.exp(-a * a) / (2 * np.sqrt(PI) * fraction)
    near = np.array([erfc(v) / 2 for v in (x / np.sqrt(LONG(2))).astype(float)], LONG)
    return np.where(x > 1, far, near)


def density(x):
    return np.exp(-x * x / 2) / np.sqrt(2 * PI)


def twice_u(x):
    return ROOT * (x + CUBIC * x**3)


# The function and its derivative.
FUNCTIONS = {
    "elu": (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), lambda x: np.exp(np.minimum(x, 0))),
    "gelu": (lambda x: x * upper_tail(-x), lambda x: upper_tail(-x) + x * density(x)),
    "gelu_tanh": (
        lambda x: x * sigmoid(twice_u(x)),
        lambda x: sigmoid(twice_u(x)) * (1 + x * sigmoid(-twice_u(x)) * ROOT * (1 + 3 * CUBIC * x * x)),
    ),
    "silu": (lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * sigmoid(-x))),
    "softplus": (lambda x: np.logaddexp(LONG(0), x), sigmoid),
    "sigmoid": (sigmoid, None),
    "tanh": (np.tanh, None),
}


def grid(dtype):
    """Numbers of both signs over the whole range and where exponentials end, and subnormal ones."""
    rng = np.random.default_rng(0)
    limits = np.finfo(dtype)
    end = -float(np.log(limits.tiny))
    magnitudes = [
        np.exp(rng.uniform(np.log(limits.tiny), 5, 1000)),
        rng.uniform(0, 5, 1000),
        rng.uniform(5, 40, 1000),
        rng.uniform(0, 1.1 * end, 2000),
        np.array([0, limits.smallest_subnormal, limits.tiny / 3, limits.tiny, 13, 88, 708.5, 1e4, 1e30, limits.max]),
    ]
    x = np.concatenate(magnitudes).astype(dtype)
    return np.concatenate([x, -x])


def assert_few_ulps(got, want, dtype, most, scale=0):
    """Within `most` units in the last place of the true value, or of `scale` where terms of that size cancel."""
    limits = np.finfo(dtype)
    want = np.asarray(want, LONG)
    finite = np.abs(want) <= limits.max
    size = np.maximum(np.abs(want), scale)
    normal = finite & (size >= limits.tiny)
    error = np.abs(got.astype(LONG) - want)[normal] / (size[normal] * LONG(limits.eps))
    assert error.max() <= most, f"{error.max():.1f} units at number {np.flatnonzero(normal)[error.argmax()]}"
    assert np.abs(got[finite & ~normal]).max(initial=0) <= 1.01 * limits.tiny  # subnormal values may be flushed


@longer
@pytest.mark.parametrize("kind", FUNCTIONS)
def test_activations_are_right_as_long_as_they_are_normal_numbers(level, dtype, kind):
    f, derivative = FUNCTIONS[kind]
    x = grid(dtype)
    y, gx = np.empty_like(x), np.empty_like(x)
    long = x.astype(LONG)
    long[np.abs(x) < np.finfo(dtype).tiny] = 0
    with np.errstate(all="ignore"):
        want = f(long)
        # Threshold of Softplus: a larger one than any value.
        activation_forward(x, kind, 1.0, np.inf, y)
        assert_few_ulps(y, np.where(np.isnan(want), 0, want), dtype, 8)
        if derivative is None:
            return
        slope = derivative(long)
        slope = np.where(np.isnan(slope), x > 0, slope)
        activation_backward(np.ones_like(x), x, None, kind, 1.0, np.inf, gx)
        root = kind in ("gelu", "gelu_tanh", "silu") and (x > -2) & (x < 0)
        assert_few_ulps(gx, slope, dtype, 8, np.where(root, 1, 0))


@pytest.mark.parametrize("kind", ["gelu", "gelu_tanh", "silu"])
def test_activations_have_their_limits_at_infinities(level, dtype, kind):
    x = np.array([-np.inf, np.inf, np.nan, -0.0, 0.0] * 5, dtype)
    y, gx = np.empty_like(x), np.empty_like(x)
    activation_forward(x, kind, 0.0, 0.0, y)
    activation_backward(np.ones_like(x), x, None, kind, 0.0, 0.0, gx)
    np.testing.assert_array_equal(y, np.array([0, np.inf, np.nan, 0, 0] * 5))
    np.testing.assert_array_equal(np.signbit(y[3:5]), [True, False])
    np.testing.assert_array_equal(gx, np.array([0, 1, np.nan, 0.5, 0.5] * 5))


def test_layers_are_not_zero_where_the_true_value_is_a_normal_number(level):
    for layer, at, want in (
        (nn.SiLU(), -88, -88 * np.exp(-88.0)),
        (nn.GELU(), -13, -13 * erfc(13 / 2**0.5) / 2),
        (nn.GELU("tanh"), -10, -10 * np.exp(-10 * 2 * np.sqrt(2 / np.pi) * (1 + 0.044715 * 100))),
        (nn.Softplus(0.1), -880, np.exp(-88.0) * 10),
        (nn.ELU(), -1e-30, -1e-30),
    ):
        x = np.full((3, 5), at, np.float32)
        np.testing.assert_allclose(layer(x), np.full((3, 5), want), rtol=1e-5)
    layer = nn.ELU(alpha=1e9)
    layer(np.full((1, 3), -100, np.float32))
    np.testing.assert_allclose(layer.backward(np.ones((1, 3), np.float32)), 1e9 * np.exp(-100.0), rtol=1e-5)


@longer
@pytest.mark.parametrize(("target", "positive"), [(0.0, 1.0), (1.0, 1.0), (0.25, 1.0), (1.0, 1e3), (0.5, 3.0)])
def test_bce_with_logits_keeps_small_losses_and_gradients(level, dtype, target, positive):
    x = grid(dtype)
    x = x[np.abs(x) < 1e30]
    t, weight, y = np.full_like(x, target), np.full_like(x, positive), np.empty_like(x)
    long = np.where(np.abs(x) < np.finfo(dtype).tiny, 0, x.astype(LONG))
    with np.errstate(over="ignore", under="ignore"):
        loss = LONG(positive) * target * np.logaddexp(LONG(0), -long) + (1 - LONG(target)) * np.logaddexp(LONG(0), long)
        loss_forward(x, t, None, weight, "bce_with_logits", 0.0, y)
        # What is weighed vanishes where its logarithm does.
        kept = (np.abs(long) < -np.log(LONG(np.finfo(dtype).tiny))) if positive > 1 else x == x
        assert_few_ulps(y[kept], loss[kept], dtype, 8)
        parts = (1 - LONG(target)) * sigmoid(long), LONG(positive) * target * sigmoid(-long)
        loss_backward(x, t, None, weight, "bce_with_logits", 0.0, 1.0, y)
        assert_few_ulps(y, parts[0] - parts[1], dtype, 8, np.maximum(*parts))


@longer
def test_bce_keeps_small_losses(level, dtype):
    rng = np.random.default_rng(0)
    small = np.exp(rng.uniform(np.log(np.finfo(dtype).tiny), 0, 3000))
    x = np.concatenate([small, 1 - small, rng.random(1000), [0, 1, 0.5]]).astype(dtype)
    for target in (0.0, 1.0):
        y = np.empty_like(x)
        loss_forward(x, np.full_like(x, target), None, None, "bce", 0.0, y)
        with np.errstate(divide="ignore"):
            want = -np.log(x.astype(LONG)) if target else -np.log1p(-x.astype(LONG))
        assert_few_ulps(y, np.minimum(want, 100), dtype, 8)


@longer
@pytest.mark.parametrize("classes", [2, 3, 9, 17, 70])
def test_a_confident_row_keeps_its_loss_and_gradient(level, dtype, classes):
    """The largest score far above the others: its log-probability is -w / (1 + w), w what the others add to 1."""
    end = -np.log(np.finfo(dtype).tiny) - 40  # what is flushed below that is no part of w that counts
    apart = np.linspace(0, end, 60).astype(dtype)
    x = -np.repeat(apart[:, None], classes, axis=1)
    x -= np.arange(classes).astype(dtype)
    best = classes // 2
    x[:, best] = 0
    long = x.astype(LONG)
    w = np.exp(np.delete(long, best, axis=1)).sum(1)
    log_p = long - np.log1p(w)[:, None]
    assert_few_ulps(nn.LogSoftmax()(x)[:, best], log_p[:, best], dtype, 8)
    for shape in ((60, classes), (60, classes, 1), (30, classes, 2)):
        scores = x if len(shape) == 2 else np.ascontiguousarray(x.reshape(shape[0], shape[2], classes).swapaxes(1, 2))
        target = np.full((shape[0], *shape[2:]), best)
        criterion = nn.CrossEntropyLoss(reduction="none")
        loss = criterion(scores, target)
        assert_few_ulps(loss.reshape(60), -log_p[:, best], dtype, 8)
        gradient = criterion.backward()
        gradient = gradient if len(shape) == 2 else gradient.swapaxes(1, 2).reshape(60, classes)
        assert_few_ulps(gradient[:, best], -w / (1 + w), dtype, 12)


def test_equal_scores_share(level, dtype):
    for classes in (2, 5, 40):
        x = np.zeros((3, classes), dtype)
        np.testing.assert_allclose(nn.LogSoftmax()(x), -np.log(classes), rtol=1e-6)
        assert nn.CrossEntropyLoss()(x, np.zeros(3, int)) == pytest.approx(np.log(classes), rel=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "batchmean"])
@pytest.mark.parametrize("make", [nn.MSELoss, nn.MAELoss, nn.HuberLoss])
def test_a_loss_whose_sum_float32_cannot_hold_is_a_number(level, make, reduction):
    for scale in (1e20, 3e37):
        x = (np.random.default_rng(0).standard_normal((700, 20)) * scale).clip(-3e38, 3e38).astype(np.float32)
        t = np.zeros_like(x)
        criterion, double = make(reduction=reduction), make(reduction=reduction)
        assert criterion(x, t) == pytest.approx(double(x.astype(float), t.astype(float)), rel=1e-6)


WEIGHTS = np.random.default_rng(1).uniform(0.5, 2, (700, 20))


@pytest.mark.parametrize(
    "criterion",
    [
        nn.HuberLoss("sum", delta=0.25),
        nn.BCEWithLogitsLoss(WEIGHTS, "sum"),
        nn.BCEWithLogitsLoss(reduction="sum", pos_weight=WEIGHTS),
        nn.BCEWithLogitsLoss(WEIGHTS, "sum", WEIGHTS[::-1]),
    ],
    ids=["delta", "weight", "pos_weight", "both"],
)
def test_such_a_sum_is_weighed_element_by_element(level, criterion):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((700, 20)).clip(-3, 3) * 1e37).astype(np.float32)
    t = (rng.random((700, 20)) < 0.5).astype(np.float32)
    assert criterion(x, t) == pytest.approx(criterion(x.astype(float), t.astype(float)), rel=1e-5)
