"""Sizes that a trace leaves open: one graph for any number of samples, and an error that names who needs the number."""

import numpy as np
import pytest

import fastdl.graph.functions  # noqa: F401
from fastdl.errors import InvalidValueError
from fastdl.graph.gradient import gradient
from fastdl.graph.graph import Graph
from fastdl.graph.interpreter import run
from fastdl.graph.size import ObservedSizeError, Size, divided, numbers, same, total

N, T = Size(1, ("N",)), Size(1, ("T",))


def test_products_and_exact_quotients_stay_symbolic():
    assert repr(6 * N * T) == "6 N T"
    assert 6 * N // 2 == 3 * N
    assert 6 * N * T // N == 6 * T
    assert 6 * N // N == 6
    assert divided(3 * N, 2) is None
    assert divided(N, T) is None
    assert N * 0 == 0
    assert total((2, N, 3)) == 6 * N
    assert numbers((2, N * 3, T), {"N": 5, "T": 7}) == (2, 15, 7)
    assert same(N * 2, 2 * N)
    assert not same(N, 1)


@pytest.mark.parametrize(
    "ask",
    [
        lambda n: n == 1,
        lambda n: n < 3,
        lambda n: n <= 3,
        lambda n: n + 1,
        lambda n: 1 - n,
        lambda n: range(n),
        lambda n: int(n),
        lambda n: bool(n),
        lambda n: n % 2,
        lambda n: n // 2,
        lambda n: 6 // n,
        lambda n: n / 2,
        lambda n: np.arange(n),
        lambda n: n == T,
        lambda n: [0, 1][n],
    ],
)
def test_what_needs_the_number_says_so(ask):
    with pytest.raises(ObservedSizeError) as error:
        ask(N)
    assert "N" in error.value.symbols


def traced(function, *shapes):
    graph = Graph(np.float64)
    values = [graph.input(str(n), shape, np.float64) for n, shape in enumerate(shapes)]
    return graph, values, function(*values)


def loss(x, w):
    h = np.tanh(x @ w) - np.mean(x, axis=0, keepdims=True) @ w
    h = h.reshape(-1, 2, 3).sum(axis=1)
    h = np.concatenate([h, 2 * h], axis=0)
    return np.mean(h.var(axis=0)) + np.sum(h.max(axis=1)) / h.size + x.shape[1]


def test_one_graph_serves_every_number_of_samples():
    rng = np.random.default_rng(0)
    w = rng.standard_normal((4, 6))
    graph, (x, weights), output = traced(loss, (N, 4), (4, 6))
    gradients = gradient(output, [x, weights])
    for samples in (1, 2, 7):
        array = rng.standard_normal((samples, 4))
        value, gx, gw = run(graph, [output, *gradients], {"0": array, "1": w})
        assert value == pytest.approx(loss(array, w))
        for place in ((0, 0), (3, 5)):
            step = np.zeros_like(w)
            step[place] = 1e-6
            slope = (loss(array, w + step) - loss(array, w - step)) / 2e-6
            assert gw[place] == pytest.approx(slope, rel=1e-5, abs=1e-8)
        assert gx.shape == array.shape


def test_len_asks_for_the_number():
    with pytest.raises(ObservedSizeError):
        traced(lambda x: x[np.arange(len(x)), 0], (N, 4))


def test_values_of_one_axis_do_not_meet_columns_by_accident():
    words = r"^test_sizes.py:\d+: np.subtract: expected one shape of both, got \(N,\) and \(N, 1\)"
    with pytest.raises(InvalidValueError, match=words):
        traced(lambda x, y: np.mean((x - y) ** 2), (N,), (N, 1))
    for meant in (
        lambda x, y: x - y[:, 0],
        lambda x, y: x[None, :] - y,
        lambda x, y: x - y[:, 0][:, None],
        lambda x, y: x - np.sum(y, axis=1, keepdims=True),
    ):
        traced(meant, (N,), (N, 1))


def test_a_symbol_never_broadcasts_though_it_may_be_one():
    with pytest.raises(InvalidValueError, match="shapes that broadcast"):
        traced(lambda x, y: x + y, (N, 3), (4, 3))
    with pytest.raises(InvalidValueError, match="shapes that broadcast"):
        traced(lambda x, y: x + y, (N, 3), (T, 3))


def test_inputs_that_share_a_symbol_agree():
    graph, _, output = traced(lambda x, y: np.sum(x * y), (N, 3), (N, 3))
    with pytest.raises(InvalidValueError, match="expected shape"):
        run(graph, [output], {"0": np.ones((2, 3)), "1": np.ones((4, 3))})
