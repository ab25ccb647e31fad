"""Losses of outputs alone, and losses that leave out what they are given."""

from contextlib import nullcontext

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim

X = np.random.default_rng(0).standard_normal((10, 3))
ENGINES = pytest.mark.parametrize("eager", [False, True], ids=["native", "eager"])


class Dropped(optim.SGD):
    """An optimizer in Python."""

    native = ""


def squares(output):
    return np.mean(output**2)


def of_samples(output):
    return np.mean(output**2, axis=1)


def terms(output):
    return {"size": np.mean(output**2), "shift": 0.1 * np.mean(output)}


def made(criterion, kind=optim.SGD):
    model = nn.Sequential(nn.Linear(3, 2, rng=0, dtype=np.float64))
    return Trainer(model, criterion, kind(model.parameters(), lr=0.1))


def mode(eager):
    return fastdl.eager() if eager else nullcontext()


@pytest.mark.parametrize("kind", [optim.SGD, Dropped])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("criterion", [squares, of_samples, terms])
def test_both_engines_learn_the_same(criterion, accumulate, kind):
    found = []
    for eager in (False, True):
        trainer = made(criterion, kind if eager else optim.SGD)
        with mode(eager and kind is optim.SGD):
            history = trainer.fit(X, epochs=2, batch_size=4, accumulate=accumulate, seed=0)
            assert history.engine.startswith("plain" if eager else "native")
            own = [history[name] for name in history.names if name != "seconds"]
            found.append((own, trainer.step(X), trainer.model[0].weight.data))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)
    assert np.any(found[0][2] != made(criterion).model[0].weight.data)


@ENGINES
def test_a_loss_that_is_not_finite_takes_no_step(eager):
    trainer = made(lambda output: np.mean(np.log(output - 100)))
    before = trainer.model[0].weight.data.copy()
    with mode(eager), pytest.raises(FloatingPointError, match="the loss is nan in epoch 1, step 1"):
        trainer.fit(X, epochs=1, batch_size=4)
    np.testing.assert_array_equal(trainer.model[0].weight.data, before)


@ENGINES
@pytest.mark.parametrize("criterion", [squares, of_samples, terms])
def test_they_are_evaluated_and_validated(criterion, eager):
    trainer = made(criterion)
    with mode(eager):
        output = trainer.predict(X)
        found = criterion(output)
        wanted = sum(np.mean(each) for each in found.values()) if isinstance(found, dict) else np.mean(found)
        for batch_size in (3, 1024):
            assert trainer.evaluate(X, batch_size=batch_size)["loss"] == pytest.approx(wanted, rel=1e-12)
        history = trainer.fit(X, epochs=2, batch_size=4, validation_data=(X[:5], None))
        assert history["val_loss"][-1] == pytest.approx(trainer.evaluate(X[:5])["loss"], rel=1e-12)


@ENGINES
@pytest.mark.parametrize(
    "batch", [lambda x: x, lambda x: (x, None), lambda x: [x, None]], ids=["array", "pair", "list"]
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_batches_of_inputs_alone(batch, accumulate, eager):
    found = []
    for feed in ((X, {"batch_size": 4, "shuffle": False}), ([batch(X[i : i + 4]) for i in (0, 4, 8)], {})):
        trainer = made(squares)
        with mode(eager):
            history = trainer.fit(feed[0], epochs=2, accumulate=accumulate, **feed[1])
        found.append((history["loss"], trainer.model[0].weight.data))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_batches_of_dictionaries_alone():
    class Sum(nn.Module):
        def __init__(self):
            self.w = nn.Parameter(np.ones(3))

        def forward(self, a, b):
            return (a + b) * self.w

    model = Sum()
    trainer = Trainer(model, squares, optim.SGD(model.parameters(), lr=0.1))
    loss = trainer.fit([{"a": X, "b": X}], epochs=1)["loss"][0]
    assert loss == pytest.approx(np.mean((2 * X) ** 2), rel=1e-12)


@pytest.mark.parametrize("criterion", [nn.MSELoss(), {"y": nn.MSELoss()}], ids=["a loss", "a dictionary"])
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.evaluate(X), r"Trainer.evaluate: expected y beside x, got x alone; write evaluate\(x, y\)"),
        (lambda t: t.step(X), r"Trainer.step: expected y beside x, got x alone; write step\(x, y\)"),
        (lambda t: t.fit(X, epochs=1, batch_size=4), "Trainer.fit: expected y beside x, got ndarray alone"),
        (
            lambda t: t.fit(X, X[:, :2].copy(), epochs=1, batch_size=4, validation_data=(X, None)),
            r"validation_data: expected y beside x, got x alone; write validation_data=\(x, y\)",
        ),
        (lambda t: t.fit([X], epochs=1), r"Trainer.fit, epoch 1, batch 1: expected a pair \(x, y\), got ndarray"),
    ],
    ids=["evaluate", "step", "fit", "validation", "batches"],
)
def test_a_loss_of_outputs_and_targets_wants_them(call, message, criterion):
    with pytest.raises(TypeError, match=message):
        call(made(criterion))


def logarithm(output):
    return np.mean(np.log(output - 100))


class Logarithm(nn.Module):
    def __init__(self):
        self.linear = nn.Linear(3, 2, rng=0, dtype=np.float64)

    def forward(self, x):
        h = self.linear(x)
        return np.log(h - 100)


@ENGINES
@pytest.mark.parametrize("where", ["model", "loss"])
def test_the_line_of_the_first_value_that_is_not_finite_is_named(where, eager):
    model = Logarithm() if where == "model" else nn.Sequential(nn.Linear(3, 2, rng=0, dtype=np.float64))
    trainer = Trainer(model, squares if where == "model" else logarithm, optim.SGD(model.parameters(), lr=0.1))
    line = (Logarithm.forward if where == "model" else logarithm).__code__.co_firstlineno + 1 + (where == "model")
    for train in (lambda: trainer.fit(X, epochs=1, batch_size=4), lambda: trainer.step(X)):
        with (
            mode(eager),
            pytest.raises(FloatingPointError, match=rf", first in log at test_without_targets.py:{line};"),
        ):
            train()


@ENGINES
@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        (lambda o, t: np.mean(o**2), "expected a criterion that uses the targets, got one that uses none of them"),
        (lambda o, t: np.mean(t**2), "expected a loss that depends on parameters, got one that depends on none"),
    ],
    ids=["targets", "outputs"],
)
def test_what_a_loss_leaves_out_is_refused(criterion, message, eager):
    trainer = made(criterion)
    before = trainer.model[0].weight.data.copy()
    for train in (lambda: trainer.fit(X, X[:, :2], epochs=1, batch_size=4), lambda: trainer.step(X, X[:, :2])):
        with mode(eager), pytest.raises(ValueError, match=message):
            train()
    np.testing.assert_array_equal(trainer.model[0].weight.data, before)


@ENGINES
@pytest.mark.parametrize(
    "criterion",
    [
        lambda o, t: np.mean((o - t) ** 2),
        lambda o, t: np.mean(np.abs(2 * o - t / 3)),
        lambda o, t: np.mean(np.where(o > t, o, t)),
    ],
)
@pytest.mark.parametrize("flat", ["outputs", "targets"])
def test_one_number_for_each_sample_with_a_column_is_refused(flat, criterion, eager):
    class Flat(nn.Module):
        def __init__(self):
            self.linear = nn.Linear(3, 1, rng=0, dtype=np.float64)

        def forward(self, x):
            return self.linear(x)[:, 0] if flat == "outputs" else self.linear(x)

    model = Flat()
    trainer = Trainer(model, criterion, optim.SGD(model.parameters(), lr=0.1))
    y = X[:, :1] if flat == "outputs" else X[:, 0]
    for call in (
        lambda: trainer.fit(X, y, epochs=1, batch_size=4),
        lambda: trainer.step(X, y),
        lambda: trainer.evaluate(X, y),
    ):
        with mode(eager), pytest.raises(ValueError, match=r"expected one shape of both, got \(N,\) and \(N, 1\)"):
            call()


@ENGINES
def test_columns_that_are_written_may_be_spread(eager):
    model = nn.Sequential(nn.Linear(3, 1, rng=0, dtype=np.float64))
    criterion = lambda o, t: np.mean((o[:, 0][None, :] - t[:, None]) ** 2)  # noqa: E731
    trainer = Trainer(model, criterion, optim.SGD(model.parameters(), lr=0.1))
    with mode(eager):
        wanted = np.mean((trainer.predict(X)[:, 0][None, :] - X[:, :1]) ** 2)
        assert trainer.step(X, X[:, 0]) == pytest.approx(wanted, rel=1e-12)
