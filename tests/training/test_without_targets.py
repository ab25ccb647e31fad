"""Losses of outputs alone."""

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
