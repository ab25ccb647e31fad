"""Rows of several kinds in one trainer: other keys, places, shapes and dtypes than those of the batch before."""

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim

F32 = np.float32
RNG = np.random.default_rng(0)
A, B, Y = (RNG.standard_normal((6, 3)).astype(F32) for _ in range(3))


class Weighed(nn.Module):
    def __init__(self):
        self.w = nn.Parameter(np.ones(3, F32))

    def forward(self, a, b):
        return a * self.w - 2 * b


class Optional(Weighed):
    def forward(self, a, b=None):
        return a * self.w if b is None else a * self.w - 2 * b


class InOrder(Weighed):
    def forward(self, **inputs):
        first, second = inputs.values()
        return first * self.w - 2 * second


class Sequences(nn.Module):
    def __init__(self):
        self.linear = nn.Linear(3, 2, rng=0)

    def forward(self, x):
        return self.linear(x).mean(axis=1)


def trainer(model, criterion=None):
    return Trainer(model, nn.MSELoss() if criterion is None else criterion, optim.SGD(model.parameters(), lr=0.0))


def difference(output, target):
    return np.mean((output - target["one"]) ** 2 + target["other"])


def step(of, x, y):
    return of.step(x, y)


def fit(of, x, y):
    return of.fit(lambda: iter([(x, y)]), epochs=1)["loss"][0]


@pytest.mark.parametrize("way", [step, fit])
def test_inputs_are_matched_by_name_in_every_batch(way):
    same = trainer(Weighed())
    losses = [way(same, x, Y) for x in ({"a": A, "b": B}, {"b": B, "a": A}, {"a": A, "b": B})]
    assert losses == [pytest.approx(np.mean((A - 2 * B - Y) ** 2), rel=1e-5)] * 3


@pytest.mark.parametrize("way", [step, fit])
def test_names_in_another_order_are_those_that_forward_is_given(way):
    same = trainer(InOrder())
    losses = [way(same, x, Y) for x in ({"a": A, "b": B}, {"b": B, "a": A})]
    np.testing.assert_allclose(losses, [np.mean((A - 2 * B - Y) ** 2), np.mean((B - 2 * A - Y) ** 2)], rtol=1e-5)


@pytest.mark.parametrize("way", [step, fit])
def test_targets_are_matched_by_name_in_every_batch(way):
    same = trainer(nn.Sequential(nn.Linear(3, 3, rng=0)), difference)
    losses = [way(same, A, y) for y in ({"one": Y, "other": B}, {"other": B, "one": Y})]
    assert losses[0] == losses[1]


def test_batches_of_one_fit_are_matched_by_name():
    one, other = ({"a": A, "b": B}, Y), ({"b": B, "a": A}, Y)
    losses = [trainer(Weighed()).fit(lambda p=p: iter(p), epochs=1)["loss"][0] for p in ([one, one], [one, other])]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("way", [step, fit])
@pytest.mark.parametrize(
    ("x", "y", "kind", "message"),
    [
        ({"a": A, "z": B}, Y, TypeError, r"Weighed.forward: expected inputs for its arguments \(a, b\), got a, z"),
        ({"a": A}, Y, TypeError, r"expected inputs for its arguments \(a, b\), got a$"),
        ((A, B, B), Y, TypeError, r"expected inputs for its arguments \(a, b\), got 3"),
    ],
    ids=["another", "missing", "extra"],
)
def test_what_a_first_batch_is_refused_for_a_later_one_is(way, x, y, kind, message):
    same = trainer(Weighed())
    way(same, {"a": A, "b": B}, Y)
    with pytest.raises(kind, match=message):
        way(same, x, y)


def test_a_target_that_is_missing_later_is_missed():
    same = trainer(nn.Sequential(nn.Linear(3, 3, rng=0)), difference)
    same.step(A, {"one": Y, "other": B})
    with pytest.raises(KeyError, match="other"):
        same.step(A, {"one": Y})


@pytest.mark.parametrize("in_python", [False, True], ids=["native", "eager"])
def test_steps_take_sequences_of_several_lengths(in_python):
    same, losses = trainer(Sequences()), []
    for length in (4, 5, 4, 1, 5):
        x = RNG.standard_normal((2, length, 3)).astype(F32)
        wanted = np.mean(same.model.linear(x.reshape(-1, 3)).reshape(2, length, 2).mean(axis=1) ** 2)
        with fastdl.eager() if in_python else fastdl.no_grad():
            losses.append((same.step(x, np.zeros((2, 2), F32)), wanted))
    np.testing.assert_allclose(*zip(*losses, strict=True), rtol=1e-5)
    if not in_python:
        assert len(same._step_engines) == 3


def test_an_engine_stays_for_each_of_a_few_lengths():
    same, y = trainer(Sequences()), np.zeros((2, 2), F32)
    rows = {length: np.ones((2, length, 3), F32) for length in range(1, 13)}
    same.step(rows[1], y)
    first = next(iter(same._step_engines.values()))
    for length in (2, 3, 1):
        same.step(rows[length], y)
    assert first in same._step_engines.values()
    for length in rows:
        same.step(rows[length], y)
    assert len(same._step_engines) == 8


def test_batches_of_a_fit_keep_their_engines_by_kind(monkeypatch):
    from fastdl.training import fit_loop

    made, engine_for = [], fit_loop.engine_for
    monkeypatch.setattr(fit_loop, "engine_for", lambda *given: made.append(1) or engine_for(*given))
    same = trainer(Optional())
    pairs = [({"a": A, "b": B}, Y), ({"a": A}, Y)] * 3
    losses = same.fit(lambda: iter(pairs), epochs=2)["loss"]
    assert losses[0] == pytest.approx((np.mean((A - 2 * B - Y) ** 2) + np.mean((A - Y) ** 2)) / 2, rel=1e-5)
    assert len(made) == 2
    same.fit(lambda: iter(pairs), epochs=1)
    assert len(made) == 2


def test_an_input_may_come_in_other_forms():
    same = trainer(Optional())
    wanted = np.mean((A - Y) ** 2), np.mean((A - 2 * B - Y) ** 2)
    losses = [same.step(x, Y) for x in (A, {"a": A}, (A,), (A, B), {"a": A, "b": B}, A)]
    np.testing.assert_allclose(losses, [wanted[n] for n in (0, 0, 0, 1, 1, 0)], rtol=1e-5)


def test_a_target_of_another_shape_is_what_the_loss_says():
    same = trainer(nn.Sequential(nn.Linear(3, 3, rng=0)))
    same.step(A, Y)
    with pytest.raises(ValueError, match="MSELoss"):
        same.step(A, Y[:, :2].copy())


class AsksForLength(Weighed):
    def forward(self, x):
        return x * self.w + np.arange(len(x))[:, None]


def test_the_engine_names_the_line_that_asks_for_the_length_of_a_batch():
    line = AsksForLength.forward.__code__.co_firstlineno + 1
    history = trainer(AsksForLength()).fit(A, Y, epochs=1, batch_size=4)
    assert history.engine.endswith(
        f"one for each length of a batch, which is asked for at test_kinds_of_rows.py:{line}"
    )
