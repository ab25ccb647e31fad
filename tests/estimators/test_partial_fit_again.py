"""`partial_fit` again and again: its trainer stays as long as it trains the same."""

import copy
import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (the sklearn extra)")

from sklearn.base import clone

from fastdl import nn
from fastdl.estimators import MLPClassifier, MLPRegressor

rng = np.random.default_rng(0)
X, Y, LABELS = rng.standard_normal((60, 4)), rng.standard_normal((60, 2)), rng.integers(0, 3, 60)
OPTIONS = {"hidden_layer_sizes": (8,), "batch_size": 20, "random_state": 0}


def made(kind=MLPRegressor, **options):
    return kind(**OPTIONS, **options)


def weights(model):
    return [parameter.data.copy() for parameter in model.model_.parameters()]


CHANGES = [
    {},
    {"loss": "absolute_error"},
    {"loss": "huber"},
    {"loss": nn.HuberLoss("sum", 0.1)},
    {"alpha": 0.5},
    {"batch_size": 7},
    {"shuffle": False},
]


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("change", CHANGES, ids=map(str, CHANGES))
def test_it_is_as_with_a_new_trainer_each_time(change, solver):
    kept, anew = made(solver=solver), made(solver=solver)
    for calls in range(4):
        if calls == 2:
            kept.set_params(**change)
            anew.set_params(**change)
        kept.partial_fit(X, Y)
        vars(anew).pop("_trainer", None)
        anew.partial_fit(X, Y)
        # Smaller batches go through what was made for larger ones, which may round otherwise.
        tolerance = 1e-5 if "batch_size" in change else 0
        assert kept.loss_ == pytest.approx(anew.loss_, rel=tolerance)
        for one, other in zip(weights(kept), weights(anew), strict=True):
            np.testing.assert_allclose(one, other, rtol=tolerance)


@pytest.mark.parametrize(("kind", "y"), [(MLPRegressor, Y), (MLPClassifier, LABELS), (MLPClassifier, LABELS > 0)])
def test_the_trainer_stays(kind, y):
    model = made(kind)
    options = {} if kind is MLPRegressor else {"classes": np.unique(y)}
    model.partial_fit(X, y, **options)
    trainer = model._trainer
    model.partial_fit(X[:30], y[:30])
    assert model._trainer is trainer
    if kind is MLPRegressor:
        model.set_params(loss="huber").partial_fit(X, y)
        assert model._trainer is not trainer


def test_a_changed_loss_of_ones_own_counts():
    loss = nn.HuberLoss("mean", 1.0)
    model, other = made(loss=loss), made(loss=nn.HuberLoss("mean", 1.0))
    model.partial_fit(X, Y)
    other.partial_fit(X, Y)
    model.loss = nn.HuberLoss("mean", 0.01)
    model.partial_fit(X, Y)
    other.partial_fit(X, Y)
    assert model.loss_ != other.loss_


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_go_on_alike_and_apart(duplicate):
    model = made().partial_fit(X, Y)
    twin = duplicate(model)
    assert "_trainer" not in vars(twin)
    model.partial_fit(X, Y)
    twin.partial_fit(X, Y)
    assert all(map(np.array_equal, weights(model), weights(twin)))
    assert "_trainer" not in vars(clone(model))


def test_a_failure_leaves_all_as_it_was():
    model, other = made().partial_fit(X, Y), made().partial_fit(X, Y)
    before = weights(model)
    with pytest.raises(ValueError, match="finite"):
        model.partial_fit(X * 1e30, Y * 1e30)
    assert all(map(np.array_equal, weights(model), before))
    model.partial_fit(X, Y)
    other.partial_fit(X, Y)
    assert all(map(np.array_equal, weights(model), weights(other)))
