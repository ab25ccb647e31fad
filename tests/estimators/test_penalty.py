"""The penalty of alpha: on weights alone, as in scikit-learn."""

import copy

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from fastdl.estimators import MLPRegressor


def test_the_loss_counts_the_weights_and_no_intercepts():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 3)), rng.standard_normal(30)
    options = {"solver": "sgd", "learning_rate_init": 1e-12, "max_iter": 1, "batch_size": 30, "random_state": 0}
    plain, penalized = (
        MLPRegressor(hidden_layer_sizes=(4,), alpha=alpha, **options).partial_fit(X, y) for alpha in (0, 8)
    )
    norm = sum(np.sum(np.square(W)) for W in penalized.coefs_)
    assert penalized.loss_ - plain.loss_ == pytest.approx(0.5 * 8 * norm / 30, rel=1e-4)


def test_a_model_that_is_put_in_is_the_one_that_partial_fit_trains():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 3)), rng.standard_normal(30)
    estimator = MLPRegressor(hidden_layer_sizes=(4,), solver="sgd", random_state=0).partial_fit(X, y).partial_fit(X, y)
    other = copy.deepcopy(estimator.model_)
    old, before = estimator.model_, [p.data.copy() for p in estimator.model_.parameters()]
    estimator.model_, estimator._optimizer = other, type(estimator._optimizer)(other.parameters(), lr=0.1)
    estimator.partial_fit(X, y)
    assert all(np.array_equal(p.data, values) for p, values in zip(old.parameters(), before, strict=True))
    assert not np.array_equal(next(iter(other.parameters())).data, before[0])
