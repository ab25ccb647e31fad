"""Buffers and scalars: what changes from step to step without being trained."""

import copy
import pickle
from contextlib import nullcontext

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 3))


class Centred(nn.Module):
    """Weighs the distance to a running mean, which backward reads as it was before the forward."""

    def __init__(self, dtype=np.float64):
        self.mean = nn.Buffer(np.zeros(3, dtype))
        self.seen = nn.Buffer(0)
        self.weight = nn.Parameter(np.ones(3, dtype))

    def forward(self, x):
        y = x * self.mean * self.weight
        if self.training:
            self.mean.update(0.75 * self.mean + 0.25 * np.mean(x, axis=0))
            self.seen.update(self.seen + len(x))
        return y - self.mean


def in_numpy(x, mean, weight):
    """The same: output, gradients for ones, and the next mean."""
    after = 0.75 * mean + 0.25 * x.mean(axis=0)
    gx = mean * weight - 0.25
    return x * mean * weight - after, np.broadcast_to(gx, x.shape), (x * mean).sum(axis=0), after


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_forwards_update_and_backwards_have_the_values_of_before(dtype, eager):
    model, mean, tolerance = Centred(dtype), np.zeros(3), 1e-5 if dtype == np.float32 else 1e-12
    records = []
    for n in (20, 5, 1):
        with fastdl.eager() if eager else nullcontext():
            y, pullback = model.vjp(X[:n].astype(dtype))
        wanted = in_numpy(X[:n], mean, np.ones(3))
        np.testing.assert_allclose(y, wanted[0], atol=tolerance)
        records.append((pullback, y, wanted))
        mean = wanted[3]
        np.testing.assert_allclose(model.mean.data, mean, atol=tolerance)
    assert model.seen.data == 26
    for pullback, y, wanted in records:
        model.zero_grad()
        np.testing.assert_allclose(pullback(np.ones_like(y)), wanted[1], atol=tolerance)
        np.testing.assert_allclose(model.weight.grad, wanted[2], rtol=1e-5, atol=1e-5)


def test_nothing_but_forwards_in_training_updates():
    model = Centred()
    trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.0))
    before = model.state_dict()

    def unchanged():
        return all(np.array_equal(before[name], value) for name, value in model.state_dict().items())

    model.eval()
    model(X)
    model.train()
    trainer.predict(X)
    trainer.evaluate(X, X)
    model.summary(3)
    assert unchanged()
    mean = np.zeros(3)
    history = trainer.fit(X, X, epochs=2, batch_size=7, shuffle=False, validation_data=(X, X))
    for first in (0, 7, 14) * 2:
        mean = in_numpy(X[first : min(first + 7, 20)], mean, 1)[3]
    np.testing.assert_allclose(model.mean.data, mean, rtol=1e-12)
    assert model.seen.data == 40
    assert history.engine.startswith("native")
    with fastdl.no_grad():
        model(X)
    assert model.seen.data == 60


def test_a_fit_that_is_refused_or_breaks_off_leaves_what_its_steps_have_left():
    model = Centred()
    trainer = Trainer(model, lambda y, t: np.mean(y - t), optim.SGD(model.parameters(), lr=0.0))
    with pytest.raises(ValueError, match="Trainer"):
        trainer.fit(X, X[:5], epochs=1, batch_size=5)
    assert model.seen.data == 0
    wrong = X.copy()
    wrong[12] = np.nan
    with pytest.raises(FloatingPointError):
        trainer.step(wrong, X)
    assert model.seen.data == 20


class Counting(nn.Module):
    """Updates twice, and reads in between."""

    def __init__(self):
        self.count = nn.Buffer(np.zeros(2, np.float32))

    def forward(self, x):
        first = x + self.count
        self.count.update(self.count + 1)
        second = x + self.count
        self.count.update(self.count * 2 + np.mean(x))
        return first, second, x + self.count


def test_lines_see_what_lines_before_have_updated():
    model, x = Counting(), np.zeros((1, 2), np.float32)
    np.testing.assert_array_equal(model(x), [[[0, 0]], [[1, 1]], [[2, 2]]])
    np.testing.assert_array_equal(model(x), [[[2, 2]], [[3, 3]], [[6, 6]]])
    model.count.update(np.ones(2))
    with fastdl.eager():
        np.testing.assert_array_equal(model(x), [[[1, 1]], [[2, 2]], [[4, 4]]])
    np.testing.assert_array_equal(model.count.data, [4, 4])


def test_in_evaluation_and_in_dry_runs_nothing_is_updated():
    model, x = Counting(), np.zeros((7, 2), np.float32)
    model.weight = nn.Parameter(np.ones(2, np.float32))
    trainer = Trainer(model, lambda y: np.mean(y[0] * model.weight), optim.SGD(model.parameters(), lr=0.1))
    model.eval()
    for _ in range(5):
        model(x)
    with fastdl.eager():
        model(x)
    model.train()
    trainer.predict(x)
    model.summary(2)
    trainer.fit(x, epochs=0, batch_size=6)  # which tries the last row alone, as training would
    assert not model.count.data.any()


class Looks(nn.Module):
    """A table of numbers, a mask, and whole numbers."""

    def __init__(self):
        self.table = nn.Buffer(RNG.normal(size=(5, 3)))
        self.mask = nn.Buffer(np.array([True, False, True]))
        self.order = nn.Buffer(np.array([2, 0, 1], np.int32))
        self.scale = nn.Parameter(np.full(3, 2.0))

    def forward(self, index):
        rows = self.table[index] * self.scale
        return np.where(self.mask, rows, -1.0)[:, np.argsort(self.order)]


def test_tables_masks_and_integers_are_read():
    model, index = Looks(), np.array([4, 0, 0, 2])
    wanted = np.where(model.mask.data, model.table.data[index] * 2, -1.0)[:, [1, 2, 0]]
    np.testing.assert_allclose(model(index), wanted)
    model.backward(np.ones((4, 3)))
    grad = np.where(model.mask.data, model.table.data[index].sum(axis=0), 0.0)
    np.testing.assert_allclose(model.scale.grad, grad)
    assert model.order.dtype == np.int64
    with pytest.raises(IndexError, match="expected indices within the axis"):
        model(np.array([5]))
    model.table.data = np.zeros((5, 3))
    model.mask.data = np.array([0, 1, 0])
    np.testing.assert_array_equal(model(index), [[0, -1, -1]] * 4)


class Weighed(nn.Module):
    def __init__(self, dtype):
        self.layer, self.beta = nn.Linear(3, 1, rng=0, dtype=dtype), nn.Scalar(0.5)
        self.traces = []

    def forward(self, x):
        traces.append(1)
        return self.layer(x) * self.beta


traces = []


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_scalar_changes_without_another_trace(dtype):
    model, alpha = Weighed(dtype), nn.Scalar(2.0)
    trainer = Trainer(model, lambda y, t: alpha * np.mean((y - t) ** 2), optim.SGD(model.parameters(), lr=0.0))
    y = np.zeros((20, 1), dtype)
    x = X.astype(dtype)
    once = trainer.step(x, y)
    model(x)
    traces.clear()
    for factor in (3.0, 0.25):
        model.beta.value *= factor
        alpha.value /= factor
        assert trainer.step(x, y) == pytest.approx(once * model.beta.value**2 / 0.25 * alpha.value / 2, rel=1e-5)
        np.testing.assert_allclose(model(x), model.layer(x) * model.beta.value, rtol=1e-6)
    model.load_state_dict(model.state_dict() | {"beta": np.array(-1.0)})
    np.testing.assert_allclose(model(x), -model.layer(x), rtol=1e-6)
    assert not traces
    assert repr(model.beta) == "Scalar(-1.0)"
    assert model.astype(np.float32)(x.astype(np.float32)).dtype == np.float32


def test_a_pullback_refuses_buffers_that_were_assigned_since():
    model = Looks()
    y, pullback = model.vjp(np.array([1, 2]))
    pullback(np.ones_like(y))
    model.table.data = model.table.data + 1
    with pytest.raises(RuntimeError, match="others: they were changed since"):
        pullback(np.ones_like(y))


DUPLICATES = {"deepcopy": copy.deepcopy, "pickle": lambda each: pickle.loads(pickle.dumps(each))}


@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES)
def test_copies_have_buffers_of_their_own(duplicate):
    model = Centred()
    model(X)
    twin = duplicate(model)
    np.testing.assert_array_equal(twin.mean.data, model.mean.data)
    twin(X)
    assert (model.seen.data, twin.seen.data) == (20, 40)
    twin.mean.data[...] = 7  # the view is of the array that is read
    assert twin.eval()(np.zeros((1, 3)))[0, 0] == -7
    scalar = duplicate(nn.Scalar(3.0))
    scalar.value = 4.0
    assert scalar.value == scalar._single._data == 4.0


def test_they_are_entries_of_the_state():
    model = Centred()
    model(X)
    assert list(model.state_dict()) == ["mean", "seen", "weight"]
    assert [name for name, _ in model.named_buffers()] == ["mean", "seen"]
    assert [name for name, _ in model.named_parameters()] == ["weight"]
    other = Centred()
    other.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(other.mean.data, model.mean.data)
    assert other.seen.data == 20
    assert other.mean.version == 1
    single = model.astype(np.float32)
    assert (single.mean.dtype, single.seen.dtype) == (np.float32, np.int64)
    assert single(X.astype(np.float32)).dtype == np.float32
    assert single.seen.data == 40


def test_a_resumed_fit_goes_on_with_them(tmp_path):
    def trainer():
        model = Centred()
        return Trainer(model, nn.MSELoss(), optim.Adam(model.parameters(), lr=0.1))

    whole, first, second = trainer(), trainer(), trainer()
    whole.fit(X, X, epochs=4, batch_size=6, seed=0)
    first.fit(X, X, epochs=2, batch_size=6, seed=0)
    first.save(tmp_path / "state")
    second.load(tmp_path / "state")
    second.fit(X, X, epochs=4, batch_size=6, seed=0, resume=True)
    for name, value in whole.model.state_dict().items():
        np.testing.assert_array_equal(second.model.state_dict()[name], value)


def test_updates_have_the_same_bits_with_any_number_of_threads(threads):
    found = []
    for count in (1, 2, 4):
        fastdl.set_num_threads(count)
        model = Centred()
        Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.01)).fit(
            np.tile(X, (50, 1)), np.tile(X, (50, 1)), epochs=2, batch_size=300, seed=0
        )
        found.append(model.mean.data.tobytes())
    assert len(set(found)) == 1


def of(forward, **attributes):
    """A module with such a forward and these attributes."""
    module = type("Own", (nn.Module,), {"forward": forward})()
    module.weight = nn.Parameter(np.ones(3))
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def updating(value):
    return lambda self, x: (self.b.update(value(x)), x * self.weight)[1]


WRONG = {
    "a shape": (
        of(updating(lambda x: x), b=nn.Buffer(np.zeros(3))),
        ValueError,
        r"\.py:\d+: Buffer\.update: expected a value of",
    ),
    "a kind": (of(updating(lambda x: x[0]), b=nn.Buffer(np.zeros(3, int))), TypeError, "expected a value of int64"),
    "a scalar": (of(updating(lambda x: x[0, 0]), b=nn.Scalar(1.0)), TypeError, "write nn.Buffer"),
    "another dtype": (
        of(lambda self, x: x * self.weight * self.b, b=nn.Buffer(np.zeros(3, np.float32))),
        TypeError,
        "as the model",
    ),
    "in a list": (
        of(lambda self, x: x, b=[nn.Buffer(np.zeros(3))]),
        TypeError,
        "each Buffer in an attribute of its own",
    ),
}


@pytest.mark.parametrize(("model", "kind", "message"), WRONG.values(), ids=WRONG)
def test_wrong_uses_are_errors_of_one_sentence(model, kind, message):
    before = model.b.data.copy() if isinstance(model.b, nn.Buffer) else None
    with pytest.raises(kind, match=message) as caught:
        Trainer(model, lambda y: np.mean(y), optim.SGD([model.weight])).step(X)
    assert "\n" not in str(caught.value)
    if before is not None:
        np.testing.assert_array_equal(model.b.data, before)


def test_what_is_no_array_of_numbers_is_refused():
    for wrong in (np.array(["a"]), np.zeros(3, np.float16), np.zeros(3, complex), None):
        with pytest.raises(TypeError, match="Buffer: expected an array of float32"):
            nn.Buffer(wrong)
    for wrong in (np.zeros(2), "a", True):
        with pytest.raises(TypeError, match="Scalar: expected a number for value"):
            nn.Scalar(wrong)
    buffer = nn.Buffer(np.zeros(2))
    with pytest.raises(ValueError, match=r"Buffer\.data: expected shape \(2,\)"):
        buffer.data = np.zeros(3)
    with pytest.raises(ValueError, match="read-only"):
        nn.Scalar(1.0).data[...] = 2
