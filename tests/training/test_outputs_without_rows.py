"""Models with outputs that have no row for each sample: weights, numbers, statistics of a batch."""

from contextlib import nullcontext

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((12, 3)), RNG.standard_normal((12, 3))
ENGINES = pytest.mark.parametrize("eager", [False, True], ids=["native", "eager"])


class Beside(nn.Module):
    """A layer's output, and something beside it."""

    def __init__(self, beside):
        self.linear = nn.Linear(3, 3, rng=0, dtype=np.float64)
        self.beside = beside

    def forward(self, x):
        y = self.linear(x)
        return y, self.beside(self, y)


def weights(model, output):
    return np.sum(model.linear.weight**2, axis=1)


def number(model, output):
    return np.sum(model.linear.weight**2)


def statistics(model, output):
    return np.mean(output, axis=0)


def matrix(model, output):
    return 0.01 * output.T @ output


def loss(output, target):
    return np.mean((output[0] - target) ** 2) + np.mean(output[1] ** 2)


def of_samples(output, target):
    return np.mean((output[0] - target) ** 2, axis=1) + np.mean(output[1] ** 2)


BESIDE = pytest.mark.parametrize("beside", [weights, number, statistics, matrix])


def made(beside, criterion=loss, **options):
    model = Beside(beside)
    return Trainer(model, criterion, optim.SGD(model.parameters(), lr=0.01), **options)


def mode(eager):
    return fastdl.eager() if eager else nullcontext()


@ENGINES
@BESIDE
@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 5, 6])
def test_predictions_are_those_of_all_samples(beside, batch_size, eager):
    trainer = made(beside)
    with mode(eager):
        for found, wanted in zip(trainer.predict(X, batch_size=batch_size), trainer.model(X), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-12)


@ENGINES
@BESIDE
@pytest.mark.parametrize("criterion", [loss, of_samples])
def test_a_loss_does_not_depend_on_the_size_of_batches(beside, criterion, eager):
    trainer = made(beside, criterion)
    with mode(eager):
        whole = trainer.evaluate(X, Y)["loss"]
        assert whole == pytest.approx(np.mean(criterion(trainer.model(X), Y)), rel=1e-12)
        for size in (3, 4, 5, 6):
            assert trainer.evaluate(X, Y, batch_size=size)["loss"] == pytest.approx(whole, rel=1e-12)


@ENGINES
@BESIDE
def test_they_are_validated_in_a_fit(beside, eager):
    x, y = np.repeat(X, 100, 0), np.repeat(Y, 100, 0)
    trainer = made(beside)
    with mode(eager):
        history = trainer.fit(x, y, epochs=2, batch_size=100, validation_data=(x, y))
        assert history["val_loss"][-1] == pytest.approx(trainer.evaluate(x, y)["loss"], rel=1e-12)


@ENGINES
@BESIDE
def test_metrics_are_given_those_of_the_latest_step(beside, eager):
    seen = []

    def metric(output, target):
        seen.append([np.shape(each) for each in output])
        return np.sum(output[1])

    trainer, plain = made(beside, metrics={"beside": metric}), made(beside)
    with mode(eager):
        history = trainer.fit(X, Y, epochs=1, batch_size=5, shuffle=False)
        wanted = plain.fit(X, Y, epochs=1, batch_size=5, shuffle=False)
    assert history["loss"] == pytest.approx(wanted["loss"], rel=1e-12)
    assert history.engine.startswith("plain")
    assert seen[-1][0] == (12, 3)
    before = made(beside)
    with mode(eager):
        before.fit(X[:10], Y[:10], epochs=1, batch_size=5, shuffle=False)
    assert history["beside"][0] == pytest.approx(np.sum(before.model(X[10:])[1]), rel=1e-10)


def test_batches_of_as_many_rows_as_there_are_weights_are_told_apart():
    trainer = made(weights)
    shapes = [found.shape for found in trainer.predict(X, batch_size=3)]
    assert shapes == [(12, 3), (3,)]


def test_metrics_of_outputs_with_rows_stay_native():
    trainer = made(lambda model, output: output[:, 0], metrics={"first": lambda output, target: output[1].mean()})
    history = trainer.fit(X, Y, epochs=2, batch_size=5)
    assert history.engine.startswith("native")


def test_metrics_without_targets_are_given_none():
    model = nn.Sequential(nn.Linear(3, 2, rng=0, dtype=np.float64))
    metrics = {"none": lambda output, target: float(target is None)}
    trainer = Trainer(model, lambda output: np.mean(output**2), optim.SGD(model.parameters(), lr=0.01), metrics=metrics)
    with fastdl.eager():
        assert trainer.fit(X, epochs=1, batch_size=5)["none"] == [1.0]
