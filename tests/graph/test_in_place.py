"""In-place operators in traced code: NumPy's results, or an error where NumPy would have changed something else, too."""

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.data.nested import leaves

X = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)


class Of(nn.Module):
    """A function of the input, its layer and a parameter."""

    def __init__(self, function):
        self.layer, self.row, self.function = nn.Linear(3, 3, rng=0), nn.Parameter(np.ones(3, np.float32)), function
        self.identity, self.drop = nn.Identity(), nn.Dropout(0.5).eval()
        self.mean = nn.Buffer(np.zeros(3, np.float32))

    def forward(self, x):
        return self.function(self, x)


def each_operator(model, x):
    h, i = x * 2, x.astype(int)
    h += 1
    h -= x
    h *= x
    h /= 3
    h **= 2
    h //= 0.5
    h %= 0.7
    i &= 6
    i |= 8
    i ^= 3
    i <<= 2
    i >>= 1
    b = x > 0
    b &= x < 1
    return h + i + b


def matrices(model, x):
    h = x * 1
    h @= np.eye(3)[::-1]
    return h


def sums(model, x):
    total, loss = np.zeros_like(x), np.mean(x)
    for n in range(3):
        total += x * n
    loss += np.mean(total)
    before = loss
    loss *= 2
    other = np.zeros_like(x)
    other += loss
    return total + other + before


def copies(model, x):
    found = []
    for copy in (
        lambda x: x.copy(),
        lambda x: +x,
        lambda x: x * 1,
        lambda x: x.astype(np.float32),
        lambda x: x.astype(np.float64, copy=False),
        lambda x: x.astype(int, copy=False),
        lambda x: x.flatten().reshape(-1, 3),
        lambda x: np.roll(x, 0, axis=1),
        lambda x: np.tile(x, (1, 1)),
        lambda x: np.repeat(x, 1, axis=0),
        lambda x: np.pad(x, 0),
        lambda x: np.clip(x, None, None),
        lambda x: np.nan_to_num(x),
        lambda x: x[:, [0, 1, 2]],
        lambda x: np.concatenate([x]),
        lambda x: x.reshape(-1, copy=True).reshape(-1, 3),
        lambda x: np.reshape(x, (-1, 3), copy=True),
    ):
        h = copy(x)
        h += 1
        found.append(h + x)
    return np.concatenate(found)


def views_that_nothing_else_reads(model, x):
    h = (x * 2)[:, :2]
    h += 1
    k = np.tanh(x).T
    k *= 2
    last = k[:1]
    last -= 1
    return np.concatenate([h.T, last])


def residual(model, x):
    h = model.layer(x)
    h += x
    k = model.layer(h)
    k += h
    k += model.row
    return k


def a_function_with_a_result(model, x):
    def add(q):
        q += 1
        return q

    h = add(x * 1)
    return add(h) * 2


@pytest.mark.parametrize(
    "function", [each_operator, matrices, sums, copies, views_that_nothing_else_reads], ids=lambda each: each.__name__
)
def test_results_are_numpys(function):
    model, want = Of(function), function(None, X.copy())
    np.testing.assert_allclose(model(X), want, rtol=1e-5, atol=1e-6)
    with fastdl.eager():
        np.testing.assert_allclose(model(X), want, rtol=1e-5, atol=1e-6)


def test_gradients_go_through_in_place_operators():
    model, other = Of(residual), Of(lambda m, x: m.layer(m.layer(x) + x) + (m.layer(x) + x) + m.row)
    (y, pull), (want, pull_other) = model.vjp(X), other.vjp(X)
    np.testing.assert_allclose(y, want, rtol=1e-5)
    np.testing.assert_allclose(pull(np.ones_like(y)), pull_other(np.ones_like(y)), rtol=1e-5)
    np.testing.assert_allclose(model.layer.weight.grad, other.layer.weight.grad, rtol=1e-5)
    np.testing.assert_array_equal(Of(a_function_with_a_result)(X), (X + 2) * 2)


def changed(code):
    """forward, of code that changes `h` in place and uses what shares the array."""
    names = {"np": np, "fastdl": fastdl}
    lines = "".join(f"    {line}\n" for line in code.split("; "))
    exec(compile(f"def forward(self, x):\n    h = x * 2\n{lines}", "net.py", "exec"), names)
    return Of(names["forward"])


STALE = [
    "v = np.einsum('ij->ij', h); v += 1; return h",
    "v = np.einsum('ij->ji', h); h += 1; return v",
    "v = np.einsum(h, [0, 1]); v += 1; return h",
    "v = h.astype(h.dtype, copy=False); v += 1; return h",
    "v = h.astype(np.float32, 'K', 'unsafe', True, False); h += 1; return v",
    "c = h[:, :1]; c += 100; return h",
    "v = h; v += 1; return h",
    "v = h; v += 1; return v + h",
    "v = h.T; v *= 2; return h",
    "v = h.reshape(-1); v *= 2; return h.sum()",
    "v = h.ravel(); v *= 2; return np.sum(h)",
    "v = h[:, None]; v -= 1; return h * 2",
    "v = np.squeeze(h[:, None]); v -= 1; return h * 2",
    "v = h[::-1].T[:2]; v /= 2; return {'y': h}",
    "v, _ = np.split(h, [1], axis=1); v /= 2; return (v, h)",
    "v = np.swapaxes(h, 0, 1); v **= 2; return np.tanh(h)",
    "v = h.copy; v = h; v @= np.eye(3); return h",
    "c = h[:, :1]; h += 100; return c",
    "c = h.T; h += 100; return h.T + c",
    "a, b = h[:, 0], h[:, 1]; a += 1; return b",
    "v = self.identity(h); v += 1; return h",
    "v = self.drop(h); v += 1; return h",
    "v = fastdl.stop_gradient(h); v += 1; return h",
    "add = lambda q: q.__iadd__(1); add(h); return h",
    "add = lambda q: q.__iadd__(1); v = add(h.T); return self.layer(h)",
]


@pytest.mark.parametrize("code", STALE)
def test_what_shares_the_array_is_not_there_afterwards(code):
    message = (
        r"expected a value that is as it was, got one whose array net\.py:\d+ changes in place; "
        r"write y = x \+ 1 there instead of x \+= 1$"
    )
    model = changed(code)
    with pytest.raises(TypeError, match=message):
        _differentiated(model)
    with fastdl.eager(), pytest.raises(TypeError, match=message):
        _differentiated(model)
    with pytest.raises(TypeError, match=message):
        model(X)
    # Without a gradient, code that cannot be followed runs as it is written there.
    with fastdl.eager():
        found = leaves(model(X))
    for (_, got), (_, want) in zip(found, leaves(model.function(model, X.copy())), strict=True):
        np.testing.assert_array_equal(got, want)


def _differentiated(model):
    y, pull = model.vjp(X)
    return pull(y)


def _eagerly(model):
    with fastdl.eager():
        return model(X)


ARRAYS = ["np.asarray(h)", "np.asanyarray(h.T)", "np.ascontiguousarray(h)", "np.asarray(h)[:1]", "np.asarray(h[:1])"]


@pytest.mark.parametrize("array", ARRAYS)
def test_arrays_of_eager_values_are_changed_neither_by_themselves_nor_with_the_value(array):
    with fastdl.eager():
        with pytest.raises(ValueError, match="read-only"):
            changed(f"v = {array}; v += 1; return h")(X)
        message = (
            r"^net\.py:4: expected in-place operators on arrays that no other stands for, got \+= on one that net\.py:3 "
            r"has made an array of; write y = x \+ \.\.\.$"
        )
        with pytest.raises(TypeError, match=message):
            _differentiated(changed(f"v = {array}; h += 1; return h + np.sum(v)"))
        # Without a gradient, it runs as it is written.
        model = changed(f"v = {array}; h += 1; return h + np.sum(v)")
        np.testing.assert_array_equal(model(X), model.function(model, X.copy()))


def test_arrays_that_are_copies_or_that_nobody_holds_any_more_refuse_nothing():
    with fastdl.eager():
        for code in (
            "v = np.array(h); v += 1; h += 1; return h + v",
            "v = np.asarray(h, np.float64); v += 1; h += 1; return h + v",
            "v = float(np.asarray(h).sum()); h += 1; return h + v",
            "v = np.asarray(np.sum(h)); v += 1; return h + v",
        ):
            model = changed(code)
            np.testing.assert_allclose(_eagerly(model), model.function(model, X.copy()), rtol=1e-6)
            np.testing.assert_allclose(model.vjp(X)[1](np.ones_like(X)), 2 * np.ones_like(X))


GIVEN = [
    ("x += 1; return x", r"\+=", "an argument"),
    ("x *= h; return x", r"\*=", "an argument"),
    ("v = x[:, :1]; v -= 1; return h", "-=", "an argument"),
    ("v = x.T; v /= 2; return h", "/=", "an argument"),
    ("w = self.row; w += 1; return h", r"\+=", "a parameter or buffer"),
    ("w = self.layer.weight.T; w += 1; return h", r"\+=", "a parameter or buffer"),
    ("w = self.mean; w += h[0]; return h", r"\+=", "a parameter or buffer"),
    ("self.row += 1; return h", r"\+=", "a parameter or buffer"),
]


@pytest.mark.parametrize(("code", "symbol", "what"), GIVEN, ids=[code for code, *_ in GIVEN])
def test_what_the_code_was_given_stays_as_it_is(code, symbol, what):
    expected = "expected in-place operators on arrays that the traced code has made"
    for call in (lambda model: model(X), _eagerly):
        model = changed(code)
        with pytest.raises(TypeError, match=rf"^net\.py:\d: {expected}, got {symbol} on {what}.*; write y = x "):
            call(model)
    np.testing.assert_array_equal(model.row.data, 1)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "c = h[:, :1]; c += h; return c",
            r"x \+= y: expected a result of the shape of .*\(N, 1\).*, got shape \(N, 3\)",
        ),
        ("i = h.astype(int); i += 0.5; return i", r"x \+= y: expected a result of int64, got float32"),
        ("i = h.astype(int); i /= 2; return i", "x /= y: expected a result of int64, got float32"),
        ("b = h > 0; b += 1; return b", r"x \+= y: expected a result of bool, got int64"),
    ],
)
def test_results_that_numpy_refuses_are_refused(code, message):
    with pytest.raises((TypeError, ValueError), match=rf"^net\.py:\d: {message}; write y = x "):
        changed(code)(X)


def test_outputs_and_targets_stay_as_they_are_in_losses():
    def criterion(output, target):
        output -= target
        return np.mean(output**2)

    model = nn.Sequential(nn.Linear(3, 3, rng=0))
    trainer = Trainer(model, criterion, optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(
        TypeError, match=r"test_in_place\.py:\d+: expected in-place operators on .*, got -= on an argument"
    ):
        trainer.fit(X, X, epochs=1, batch_size=5)


def test_outputs_of_a_module_in_python_share_nothing():
    class Two(nn.Module):
        traced = False

        def forward(self, x):
            return x * 2, x * 3

    two = Two()

    def first_changed(model, x):
        a, b = two(model.layer(x))
        a += 1
        return a * b

    model = Of(first_changed)
    y, pull = model.vjp(X)
    h = model.layer(X)
    np.testing.assert_allclose(y, (2 * h + 1) * 3 * h, rtol=1e-5)
    np.testing.assert_allclose(pull(np.ones_like(y)), (12 * h + 3) @ model.layer.weight.data, rtol=1e-4)


def test_a_module_may_change_an_argument_that_nobody_reads_afterwards():
    class Inner(nn.Module):
        def forward(self, x):
            x += 1
            return x * 3

    inner = Inner()
    np.testing.assert_allclose(Of(lambda m, x: inner(x * 2))(X), (X * 2 + 1) * 3, rtol=1e-6)
    with pytest.raises(TypeError, match="changes in place"):
        _differentiated(Of(lambda m, x: (lambda h: inner(h) + h)(x * 2)))
    with pytest.raises(TypeError, match="on an argument"):
        inner(X)
