"""Parameters and buffers in traced code have the operators of arrays, and are sequences of their rows."""

import numpy as np
import pytest

import fastdl
from fastdl import nn

X = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((3, 3)).astype(np.float32)


class Of(nn.Module):
    """A function of the module and the input."""

    def __init__(self, function):
        self.function = function
        self.weight, self.one = nn.Parameter(W.copy()), nn.Parameter(np.full((), 2, np.float32))
        self.mask, self.ids = nn.Buffer(np.array([True, False, True])), nn.Buffer(np.array([6, 3, 12]))

    def forward(self, x):
        return self.function(self, x)


ROWS = {
    "a sum of rows": (lambda m, x: x * sum(row for row in m.weight), X * W.sum(0)),
    "len": (lambda m, x: x * len(m.weight), X * 3),
    "unpacked": (lambda m, x: next(a + b + c for a, b, c in [m.weight]) * x, X * W.sum(0)),
    "reversed": (lambda m, x: x * next(reversed(m.weight)), X * W[2]),
    "enumerated": (lambda m, x: x * sum(n * row for n, row in enumerate(m.ids)), X * 27),
    "not": (lambda m, x: x * ~m.mask, X * [0, 1, 0]),
    "not of bits": (lambda m, x: x * ~m.ids, X * [-7, -4, -13]),
    "bits": (
        lambda m, x: x * ((m.ids & 6) + (1 | m.ids) + (m.ids ^ m.ids[::-1])),
        X * [6 + 7 + 10, 2 + 3 + 0, 4 + 13 + 10],
    ),
    "shifts": (lambda m, x: x * ((m.ids << 1) + (64 >> m.ids)), X * [13, 14, 24]),
    "divmod": (lambda m, x: x * sum(divmod(m.ids, 5)), X * [2, 3, 4]),
    "plus": (lambda m, x: x @ +m.weight, X @ W),
    "round": (lambda m, x: x @ round(m.weight, 1), X @ W.round(1)),
}


@pytest.mark.parametrize("name", ROWS)
def test_operators_and_rows_are_those_of_the_arrays(name):
    function, want = ROWS[name]
    np.testing.assert_allclose(Of(function)(X), want, rtol=1e-5)
    with fastdl.eager():
        np.testing.assert_allclose(Of(function)(X), want, rtol=1e-5)


REFUSED = {
    "a branch": (lambda m, x: x if m.one else -x, "got if, and, or or not, on a traced value; write np.where"),
    "in": (lambda m, x: x * (1 in m.weight), "got in, on a traced value; write np.any"),
    "len of a number": (lambda m, x: x * len(m.one), "expected a value with axes for len, got one of shape ()"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_values_refuse_parameters_refuse(name):
    function, message = REFUSED[name]
    with pytest.raises(TypeError, match=r"^test_traced_parameters\.py:\d+: ") as error:
        Of(function)(X)
    assert message in str(error.value)


def test_outside_of_traced_code_the_array_is_data():
    model = Of(None)
    assert len(model.weight) == 3
    assert model.weight
    for use in (iter, list, lambda p: 1 in p, lambda p: ~p, lambda p: p & 1, lambda p: +p):
        with pytest.raises(TypeError, match=r"^Parameter: expected traced code for .*; write parameter\.data$"):
            use(model.weight)
    with pytest.raises(TypeError):
        model.weight += 1
