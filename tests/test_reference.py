"""The reference against closed forms in NumPy and central differences."""

import ast
import itertools
import math
from pathlib import Path

import numpy as np
import pytest

import fastdl.reference
from fastdl.reference import activation, gemm, ieee, linear, loss, network, optim, softmax

INF, NAN = math.inf, math.nan


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def central_difference(f, x, h=1e-6):
    """The gradient of the scalar f() with respect to the array x that it reads."""
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        kept = x[index]
        x[index] = kept + h
        above = f()
        x[index] = kept - h
        below = f()
        x[index] = kept
        gradient[index] = (above - below) / (2 * h)
    return gradient


def returned(function, *arguments, shape, dtype=np.float64):
    """What a function of one output array writes into it."""
    output = np.full(shape, 7.0, dtype)
    function(*arguments, output)
    return output


def close(actual, expected, rtol=1e-12, atol=1e-14):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


def near(actual, difference):
    np.testing.assert_allclose(actual, difference, rtol=1e-6, atol=1e-8)


def test_the_room_imports_numpy_the_standard_library_and_itself_alone():
    allowed = {"numpy", "math", "itertools", "collections.abc", "typing"}
    for file in Path(fastdl.reference.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert all(name in allowed or name.startswith("fastdl.reference") for name in names), (file.name, names)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (ieee.exp(1000.0), INF),
        (ieee.log(0.0), -INF),
        (ieee.log(-1.0), NAN),
        (ieee.log1p(-1.0), -INF),
        (ieee.log1p(-2.0), NAN),
        (ieee.sqrt(0.0), 0),
        (ieee.sqrt(-1.0), NAN),
        (ieee.divide(-2.0, 0.0), -INF),
        (ieee.divide(-2.0, -0.0), INF),
        (ieee.divide(0.0, 0.0), NAN),
        (ieee.divide(NAN, 0.0), NAN),
        (ieee.divide(1.0, 4.0), 0.25),
    ],
)
def test_functions_answer_with_infinity_and_nan_where_pythons_raise(actual, expected):
    np.testing.assert_equal(actual, expected)


# Matrix product and linear layer


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

    near(returned(linear.linear_backward_input, gy, W, shape=x.shape), central_difference(f, x))
    gW, gb = np.full(W.shape, 10.0), np.full(b.shape, 20.0)
    linear.linear_backward_weight(gy, x, gW, gb)
    near(gW - 10, central_difference(f, W))
    near(gb - 20, central_difference(f, b))
    alone = np.full(W.shape, 10.0)
    linear.linear_backward_weight(gy, x, alone, None)
    close(alone, gW)


def test_sums_are_taken_in_double_precision():
    x, W = np.array([[1e8, 1, -1e8]], np.float32), np.ones((1, 3), np.float32)
    assert returned(linear.linear_forward, x, W, None, shape=(1, 1), dtype=np.float32) == 1


# Activations

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


def test_every_activation_has_a_closed_form_here():
    assert CLOSED_FORMS.keys() == activation.ACTIVATIONS.keys()


@pytest.mark.parametrize("kind", CLOSED_FORMS)
def test_activation_is_its_closed_form(kind):
    alpha, beta, f = CLOSED_FORMS[kind]
    x = np.linspace(-4, 4, 36).reshape(2, 3, 6)
    y = returned(activation.activation_forward, x, kind, alpha, beta, shape=x.shape)
    close(y, f(x))
    single = returned(activation.activation_forward, x, kind, alpha, beta, shape=x.shape, dtype=np.float32)
    np.testing.assert_array_equal(single, y.astype(np.float32))


@pytest.mark.parametrize("kind", CLOSED_FORMS)
def test_activation_backward_is_the_derivative(rng, kind):
    alpha, beta, f = CLOSED_FORMS[kind]
    x = np.linspace(-4, 4, 36).reshape(2, 3, 6)
    gy = rng.normal(size=x.shape)
    kept = (None, f(x)) if kind in activation.KEEPS_OUTPUT else (x, None)
    gx = returned(activation.activation_backward, gy, *kept, kind, alpha, beta, shape=x.shape)
    near(gx, central_difference(lambda: (gy * f(x)).sum(), x))


EXTREMES = [-INF, -800.0, -0.0, 0.0, 800.0, INF, NAN]
AT_EXTREMES = {
    "relu": ([0, 0, 0, 0, 800, INF, NAN], [0, 0, 0, 0, 1, 1, 0]),
    "leaky_relu": ([-INF, -160, 0, 0, 800, INF, NAN], [0.2, 0.2, 0.2, 0.2, 1, 1, 0.2]),
    "elu": ([-1.5, -1.5, 0, 0, 800, INF, NAN], [0, 0, 1.5, 1.5, 1, 1, NAN]),
    "tanh": ([-1, -1, 0, 0, 1, 1, NAN], [0, 0, 1, 1, 0, 0, NAN]),
    "sigmoid": ([0, 0, 0.5, 0.5, 1, 1, NAN], [0, 0, 0.25, 0.25, 0, 0, NAN]),
    "gelu": ([NAN, 0, 0, 0, 800, INF, NAN], [NAN, 0, 0.5, 0.5, 1, NAN, NAN]),
    "gelu_tanh": ([NAN, 0, 0, 0, 800, INF, NAN], [NAN, 0, 0.5, 0.5, 1, NAN, NAN]),
    "silu": ([NAN, 0, 0, 0, 800, INF, NAN], [NAN, 0, 0.5, 0.5, 1, NAN, NAN]),
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


# Softmax


def numpy_softmax(x, axis=1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


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


# Losses of single elements

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


def test_every_loss_has_a_closed_form_here():
    assert NUMPY_LOSSES.keys() == loss.LOSSES.keys()


@pytest.mark.parametrize("kind", NUMPY_LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_is_its_closed_form_and_backward_its_derivative(rng, kind, weighted):
    x, t = rng.uniform(0.05, 0.95, (2, 3, 4)) * (1 if kind == "bce" else 3), rng.uniform(size=(2, 3, 4))
    weight = rng.uniform(1, 2, x.shape) if weighted else None
    c = rng.uniform(2, 3, x.shape) if weighted and kind == "bce_with_logits" else None

    def f():
        return (1 if weight is None else weight) * NUMPY_LOSSES[kind](x, t, 1 if c is None else c)

    close(returned(loss.loss_forward, x, t, weight, c, kind, DELTA, shape=x.shape), f())
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
        ("bce_with_logits", -INF, 0.3, NAN, -0.3),
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


# Losses over classes


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
    y = returned(loss.nll_forward, x, target, argument, -100, shape=(3, 2))
    close(y, -(one_hot(target, 4) * w * x).sum(1))
    gx = returned(loss.nll_backward, target, argument, -100, gy, shape=x.shape)
    close(gx, -one_hot(target, 4) * w * gy[:, None])


def test_nll_ignores_a_real_class_too(classes):
    x, target, _, gy = classes
    target[:] = [[0, 1], [2, 3], [2, 2]]
    y = returned(loss.nll_forward, x, target, None, 2, shape=(3, 2))
    close(y, [[-x[0, 0, 0], -x[0, 1, 1]], [0, -x[1, 3, 1]], [0, 0]])
    gx = returned(loss.nll_backward, target, None, 2, gy, shape=x.shape)
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
        forward, backward = loss.cross_entropy_probabilities_forward, loss.cross_entropy_probabilities_backward
    else:
        q = ((1 - smoothing) * one_hot(target, 4) + smoothing / 4) * (target != -100)[:, None]
        arguments = (target, weight if weighted else None, -100, smoothing)
        forward, backward = loss.cross_entropy_forward, loss.cross_entropy_backward

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
    loss.cross_entropy_forward(x, target, None, -100, smoothing, p, y)
    close(y[0, 0], value)
    gx = returned(loss.cross_entropy_backward, p, target, None, -100, smoothing, np.ones((1, 1)), shape=x.shape)
    close(gx.ravel(), gradient)


# Optimizers

STEPS = 4
BOTH = list(itertools.product([False, True], repeat=2))


def decayed(g, p, lr, weight_decay, decoupled, maximize):
    g = -g if maximize else g
    return (g, p * (1 - lr * weight_decay)) if decoupled else (g + weight_decay * p, p)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("dampening", [0.0, 0.3])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(("decoupled", "maximize"), BOTH)
def test_sgd(rng, momentum, dampening, nesterov, decoupled, maximize):
    p = rng.normal(size=(2, 3))
    expected = p.copy()
    buffer, velocity = (np.full_like(p, 7.0), None) if momentum else (None, None)
    for step in range(STEPS):
        g = rng.normal(size=p.shape)
        d, expected = decayed(g, expected, 0.1, 0.05, decoupled, maximize)
        if momentum:
            velocity = d if velocity is None else momentum * velocity + (1 - dampening) * d
            d = d + momentum * velocity if nesterov else velocity
        expected = expected - 0.1 * d
        optim.sgd_step(g, 0.1, momentum, dampening, 0.05, nesterov, decoupled, maximize, step == 0, p, buffer)
    close(p, expected)
    if momentum:
        close(buffer, velocity)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(("decoupled", "maximize"), BOTH)
def test_rmsprop(rng, momentum, centered, inside, decoupled, maximize):
    p = rng.normal(size=(2, 3))
    expected, square, mean, velocity = p.copy(), 0, 0, 0
    square_avg, grad_avg = np.zeros_like(p), np.zeros_like(p) if centered else None
    buffer = np.zeros_like(p) if momentum else None
    for _ in range(STEPS):
        g = rng.normal(size=p.shape)
        d, expected = decayed(g, expected, 0.1, 0.05, decoupled, maximize)
        square, mean = 0.8 * square + 0.2 * d**2, 0.8 * mean + 0.2 * d
        variance = square - mean**2 if centered else square
        velocity = momentum * velocity + d / (np.sqrt(variance + 0.01) if inside else np.sqrt(variance) + 0.01)
        expected = expected - 0.1 * velocity
        optim.rmsprop_step(
            g, 0.1, 0.8, 0.01, 0.05, decoupled, momentum, maximize, inside, p, square_avg, grad_avg, buffer
        )
    close(p, expected)
    close(square_avg, square)
    if centered:
        close(grad_avg, mean)


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(("decoupled", "maximize"), BOTH)
def test_adam(rng, amsgrad, inside, decoupled, maximize):
    p = rng.normal(size=(2, 3))
    expected, m, v, largest = p.copy(), 0, 0, 0
    exp_avg, exp_avg_sq, max_exp_avg_sq = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p) if amsgrad else None
    for step in range(1, STEPS + 1):
        g = rng.normal(size=p.shape) / step**2
        d, expected = decayed(g, expected, 0.1, 0.05, decoupled, maximize)
        m, v = 0.9 * m + 0.1 * d, 0.7 * v + 0.3 * d**2
        largest = np.maximum(largest, v) if amsgrad else v
        m_hat, v_hat = m / (1 - 0.9**step), largest / (1 - 0.7**step)
        expected = expected - 0.1 * m_hat / (np.sqrt(v_hat + 0.01) if inside else np.sqrt(v_hat) + 0.01)
        optim.adam_step(
            g, 0.1, 0.9, 0.7, 0.01, 0.05, decoupled, maximize, inside, step, p, exp_avg, exp_avg_sq, max_exp_avg_sq
        )
    close(p, expected)
    close(exp_avg, m)
    close(exp_avg_sq, v)
    if amsgrad:
        close(max_exp_avg_sq, largest)
        assert (largest > v).any()


def test_the_first_step_of_adam_is_the_rate_whatever_the_gradient():
    p = np.zeros(3)
    optim.adam_step(
        np.array([1e-3, -5, 1e3]), 0.1, 0.9, 0.999, 0.0, 0.0, False, False, False, 1, p, np.zeros(3), np.zeros(3), None
    )
    close(p, [-0.1, 0.1, -0.1])


def test_zero_over_zero_is_nan_and_does_not_raise():
    p = np.zeros(2)
    optim.rmsprop_step(np.array([0.0, 1.0]), 0.1, 0.0, 0.0, 0.0, False, 0.0, False, False, p, np.zeros(2), None, None)
    close(p, [NAN, -0.1])


def test_what_is_done_to_a_gradient():
    g = np.array([[3.0, -4.0]])
    assert optim.squared_norm(g) == 25
    assert optim.squared_norm(np.empty(0)) == 0
    optim.scale(0.5, g)
    close(g, [[1.5, -2]])
    g = np.array([-INF, -2.0, 0.5, 2.0, INF, NAN])
    optim.clamp(-1.0, 1.5, g)
    close(g, [-1, -1, 0.5, 1.5, 1.5, NAN])


# The naive network


def matrix_outputs(net, x):
    for layer, (W, b) in enumerate(zip(net.W, net.b, strict=True)):
        x = (np.maximum(x, 0) if layer else x) @ np.asarray(W).T + b
    return x


@pytest.mark.parametrize("kind", [network.Network, network.ListNetwork])
def test_network_predicts_what_its_matrices_give(rng, kind):
    net, x = kind([2, 4, 5, 3], rng=1, dtype=np.float64), rng.normal(size=(6, 2))
    close(net.predict(x), matrix_outputs(net, x))


def test_network_backward_is_the_derivative(rng):
    net = network.Network([2, 4, 5, 3], rng=1, dtype=np.float64)
    x, gy = rng.normal(size=2), rng.normal(size=3)
    net.forward(x)
    gx = net.backward(gy)
    gradients = [g.copy() for g in net.gW + net.gb]

    def f():
        return (gy * net.forward(x)).sum()

    near(gx, central_difference(f, x))
    for gradient, p in zip(gradients, net.W + net.b, strict=True):
        near(gradient, central_difference(f, p))


def test_network_trains_on_the_mean_squared_error_one_sample_at_a_time(rng):
    net, x, t = network.Network([2, 4, 3], rng=1, dtype=np.float64), rng.normal(size=(2, 2)), rng.normal(size=(2, 3))
    twin = network.Network([2, 4, 3], rng=1, dtype=np.float64)
    squared_errors = []
    for n in range(2):
        error = twin.forward(x[n]) - t[n]
        squared_errors.append((error**2).mean())
        twin.backward(2 * error / 3)
        for p, g in zip(twin.W + twin.b, twin.gW + twin.gb, strict=True):
            p -= 0.1 * g
    close(net.train(x, t, lr=0.1, epochs=1), [np.mean(squared_errors)])
    for p, q in zip(net.W + net.b, twin.W + twin.b, strict=True):
        close(p, q)


def test_the_network_over_lists_is_the_network_over_arrays(rng):
    x, t = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    nets = [kind([2, 4, 2], rng=1, dtype=np.float64) for kind in (network.Network, network.ListNetwork)]
    losses = [net.train(x, t, lr=0.05, epochs=3) for net in nets]
    close(*losses)
    assert losses[0][2] < losses[0][0]
    for p, q in zip(nets[0].W + nets[0].b, nets[1].W + nets[1].b, strict=True):
        assert isinstance(q, list)
        close(p, q)


def test_network_starts_within_torchs_bounds():
    net = network.Network([16, 200, 1], rng=0)
    for n_in, W, b in zip([16, 200], net.W, net.b, strict=True):
        assert W.dtype == np.float32
        assert 0.9 / math.sqrt(n_in) < np.abs(W).max() <= np.float32(1 / math.sqrt(n_in))
        assert np.abs(b).max() <= np.float32(1 / math.sqrt(n_in))
