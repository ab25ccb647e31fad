"""The reference's activations against closed forms and differences, and at the extremes."""

import math

import numpy as np
import pytest

from fastdl.reference import activation
from tests.reference.against import central_difference, close, near, returned

INF, NAN = math.inf, math.nan


erf = np.vectorize(math.erf)
CLOSED_FORMS = {
    "relu": (0.0, 0.0, lambda x: np.maximum(x, 0)),
    "leaky_relu": (0.2, 0.0, lambda x: np.maximum(x, 0) + 0.2 * np.minimum(x, 0)),
    "elu": (1.5, 0.0, lambda x: np.where(x > 0, x, 1.5 * (np.exp(x) - 1))),
    "tanh": (0.0, 0.0, lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1)),
    "sigmoid": (0.0, 0.0, lambda x: (1 + np.tanh(x / 2)) / 2),
    "gelu": (0.0, 0.0, lambda x: x / 2 * (1 + erf(x / np.sqrt(2)))),
    "gelu_tanh": (0.0, 0.0, lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))),
    "silu": (0.0, 0.0, lambda x: x * (1 + np.tanh(x / 2)) / 2),
    "softplus": (2.0, 3.0, lambda x: np.where(2 * x > 3, x, np.log(1 + np.exp(2 * x)) / 2)),
}


@pytest.mark.parametrize("kind", CLOSED_FORMS)
def test_activation_is_its_closed_form(kind):
    alpha, beta, f = CLOSED_FORMS[kind]
    x = np.linspace(-4, 4, 36).reshape(2, 3, 6)
    y = returned(activation.activation_forward, x, kind, alpha, beta, shape=x.shape)
    close(y, f(x))
    single = returned(activation.activation_forward, x, kind, alpha, beta, shape=x.shape, dtype=np.float32)
    np.testing.assert_array_equal(single, y.astype(np.float32))


@pytest.mark.parametrize("kind", activation.ACTIVATIONS)
def test_activation_backward_is_the_derivative(rng, kind):
    alpha, beta, _ = CLOSED_FORMS.get(kind, (2.0, 3.0, None))
    x = np.linspace(-4, 4, 36).reshape(2, 3, 6)
    gy = rng.normal(size=x.shape)

    def f():
        return returned(activation.activation_forward, x, kind, alpha, beta, shape=x.shape)

    kept = (None, f()) if kind in activation.KEEPS_OUTPUT else (x, None)
    gx = returned(activation.activation_backward, gy, *kept, kind, alpha, beta, shape=x.shape)
    near(gx, central_difference(lambda: (gy * f()).sum(), x))


EXTREMES = [-INF, -800.0, -0.0, 0.0, 800.0, INF, NAN]
AT_EXTREMES = {
    "relu": ([0, 0, 0, 0, 800, INF, NAN], [0, 0, 0, 0, 1, 1, 1]),
    "leaky_relu": ([-INF, -160, 0, 0, 800, INF, NAN], [0.2, 0.2, 0.2, 0.2, 1, 1, 0.2]),
    "elu": ([-1.5, -1.5, 0, 0, 800, INF, NAN], [0, 0, 1.5, 1.5, 1, 1, NAN]),
    "tanh": ([-1, -1, 0, 0, 1, 1, NAN], [0, 0, 1, 1, 0, 0, NAN]),
    "sigmoid": ([0, 0, 0.5, 0.5, 1, 1, NAN], [0, 0, 0.25, 0.25, 0, 0, NAN]),
    "gelu": ([0, 0, 0, 0, 800, INF, NAN], [0, 0, 0.5, 0.5, 1, 1, NAN]),
    "gelu_tanh": ([0, 0, 0, 0, 800, INF, NAN], [0, 0, 0.5, 0.5, 1, 1, NAN]),
    "silu": ([0, 0, 0, 0, 800, INF, NAN], [0, 0, 0.5, 0.5, 1, 1, NAN]),
    "softplus": ([0, 0, np.log(2) / 2, np.log(2) / 2, 800, INF, NAN], [0, 0, 0.5, 0.5, 1, 1, NAN]),
}


@pytest.mark.parametrize("kind", AT_EXTREMES)
def test_activation_at_extremes(kind):
    alpha, beta, _ = CLOSED_FORMS[kind]
    values, derivatives = AT_EXTREMES[kind]
    x = np.array(EXTREMES)
    y = returned(activation.activation_forward, x, kind, alpha, beta, shape=x.shape)
    close(y, values, atol=1e-300)
    kept = (None, y) if kind in activation.KEEPS_OUTPUT else (x, None)
    gx = returned(activation.activation_backward, np.ones(7), *kept, kind, alpha, beta, shape=x.shape)
    close(gx, derivatives, atol=1e-300)
    lost = returned(activation.activation_backward, np.full(7, NAN), *kept, kind, alpha, beta, shape=x.shape)
    assert np.isnan(lost).all()


def test_softplus_is_linear_only_beyond_its_threshold():
    x = np.array([1.5])
    close(returned(activation.activation_forward, x, "softplus", 2.0, 3.0, shape=1), np.log(1 + np.exp(3)) / 2)
    gx = returned(activation.activation_backward, np.ones(1), x, None, "softplus", 2.0, 3.0, shape=1)
    close(gx, 1 / (1 + np.exp(-3)))


def test_softplus_without_a_threshold_does_not_overflow():
    y = returned(activation.activation_forward, np.array([1000.0, INF]), "softplus", 1.0, INF, shape=2)
    close(y, [1000, INF])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("sigmoid", math.exp(-40)),
        ("silu", -40 * math.exp(-40)),
        ("softplus", math.exp(-40)),
        ("gelu", -40 * 0.5 * math.erfc(40 / math.sqrt(2))),
        ("gelu_tanh", -40 * math.exp(-2 * math.sqrt(2 / math.pi) * (40 + 0.044715 * 40**3))),
    ],
)
def test_activation_keeps_its_digits_in_the_left_tail(kind, expected):
    y = returned(activation.activation_forward, np.array([-40.0]), kind, 1.0, 20.0, shape=1)
    close(y, [expected], rtol=1e-13, atol=0)
