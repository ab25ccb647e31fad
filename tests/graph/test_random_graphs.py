"""Random computations of up to 30 operations: the graph computes what NumPy does, and its gradients are slopes, twice."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fastdl.graph.differentiate import grad, value_and_grad

RNG = np.random.default_rng(0)
X, Y = RNG.uniform(-1, 1, (3, 4)), RNG.uniform(-1, 1, (1, 4))
W = RNG.uniform(-0.5, 0.5, (4, 4))
MASK = RNG.random((3, 4)) > 0.5
INDEX = RNG.integers(0, 4, (3, 4))

# Smooth operations; each takes two of the earlier values, of a shape that broadcasts to (3, 4), and makes another.
OPERATIONS = [
    lambda a, b: a + b,
    lambda a, b: a - 0.5 * b,
    lambda a, b: a * b,
    lambda a, b: a / (2 + b * b),
    lambda a, b: np.tanh(a),
    lambda a, b: np.sin(a + b),
    lambda a, b: np.exp(-a * a),
    lambda a, b: np.log1p(a * a) * b,
    lambda a, b: np.sqrt(1 + a * a),
    lambda a, b: np.logaddexp(a, b),
    lambda a, b: np.arctan2(a, 3 + np.tanh(b)),
    lambda a, b: np.where(MASK, a, b),
    lambda a, b: np.tanh(a @ W),
    lambda a, b: np.sum(a, axis=-1, keepdims=True) * 0.3,
    lambda a, b: np.mean(a) * b,
    lambda a, b: np.var(a + b, axis=0, keepdims=True),
    lambda a, b: np.flip(a, -1) * b,
    lambda a, b: np.concatenate([a, b[:1]])[: len(a)] if a.shape[1] == b.shape[1] else a,
    lambda a, b: np.roll(a, 1, axis=-1),
    lambda a, b: np.cumsum(a, axis=-1) * 0.3,
    lambda a, b: (a + 0 * X).T.reshape(4, 3).T,
    lambda a, b: np.take_along_axis(a + 0 * X, INDEX, axis=1),
    lambda a, b: (a + 0 * X)[:, [0, 0, 3, 1]],
    lambda a, b: np.pad((a + 0 * X)[:, 1:], ((0, 0), (1, 0))),
    lambda a, b: np.einsum("ij,kj->ik", a + 0 * X, b + 0 * X) @ np.ones((3, 4)) * 0.1,
]
STEPS = st.lists(
    st.tuples(st.integers(0, len(OPERATIONS) - 1), st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=30
)


def computation(steps):
    """A function of two arrays; values stay small, for each step ends in a bounded one."""

    def run(x, y):
        values = [x, y, x * y]
        for number, one, other in steps:
            made = OPERATIONS[number](values[one % len(values)], values[other % len(values)])
            values.append(made / np.sqrt(1 + 0.1 * made * made))
        return np.sum(values[-1] * np.cos(values[len(values) // 2])) + np.sum(values[-1] ** 2) * 0.1

    return run


def slope(function, x, direction, step):
    return (function(x + step * direction) - function(x - step * direction)) / (2 * step)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(STEPS)
def test_values_and_gradients(steps):
    function = computation(steps)
    value, (gx, gy) = value_and_grad(function, (0, 1))(X, Y)
    np.testing.assert_allclose(value, function(X, Y), rtol=1e-12, atol=1e-12)
    to_x, to_y = RNG.standard_normal(X.shape), RNG.standard_normal(Y.shape)
    bound = 1e-6 * (1 + np.abs(gx).max() + np.abs(gy).max())
    np.testing.assert_allclose(np.sum(gx * to_x), slope(lambda x: function(x, Y), X, to_x, 1e-5), rtol=1e-5, atol=bound)
    np.testing.assert_allclose(np.sum(gy * to_y), slope(lambda y: function(X, y), Y, to_y, 1e-5), rtol=1e-5, atol=bound)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(STEPS)
def test_gradients_of_gradients(steps):
    function = computation(steps)
    first = grad(function)
    direction = np.random.default_rng(1).standard_normal(X.shape)
    second = grad(lambda x, y: np.sum(first(x, y) * direction))(X, Y)
    want = slope(lambda x: first(x, Y), X, direction, 1e-5)
    np.testing.assert_allclose(second, want, rtol=1e-4, atol=1e-5 * (1 + np.abs(want).max()))
