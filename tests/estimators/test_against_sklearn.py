"""MLPClassifier and MLPRegressor do what scikit-learn's do: same start, same steps, same stopping."""

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (the sklearn extra)")

import inspect

from sklearn import neural_network as theirs
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning

from fastdl import estimators as ours

X, Y = load_iris(return_X_y=True)
X = ((X - X.mean(0)) / X.std(0)).astype(np.float32)
TWO = Y[Y > 0]
# What scikit-learn up to 1.7 calls in newer SciPy.
pytestmark = pytest.mark.filterwarnings("ignore:scipy.optimize. The `disp` and `iprint` options:DeprecationWarning")
LABELS = np.stack([Y == 0, Y > 0, X[:, 0] > 0], axis=1).astype(int)
TARGETS = {"three classes": (X, Y), "two classes": (X[Y > 0], TWO), "labels": (X, LABELS)}


def both(kind, *data, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return [getattr(library, kind)(random_state=3, **options).fit(*data) for library in (theirs, ours)]


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_their_arguments_are_there_with_their_defaults_and_in_their_places(kind):
    wanted = inspect.signature(getattr(theirs, kind)).parameters
    found = inspect.signature(getattr(ours, kind)).parameters
    if kind == "MLPRegressor" and "loss" not in wanted:
        pytest.skip("this scikit-learn has no loss, which comes first since 1.7")
    assert {name: found[name].default for name in wanted} == {name: each.default for name, each in wanted.items()}
    positional = [name for name, each in wanted.items() if each.kind is each.POSITIONAL_OR_KEYWORD]
    assert [name for name, each in found.items() if each.kind is each.POSITIONAL_OR_KEYWORD] == positional


@pytest.mark.parametrize("data", TARGETS.values(), ids=TARGETS)
def test_equal_weights_give_equal_probabilities(data):
    their, our = both("MLPClassifier", *data, hidden_layer_sizes=(7, 5), activation="tanh", max_iter=3)
    our.coefs_, our.intercepts_ = their.coefs_, their.intercepts_
    np.testing.assert_allclose(our.predict_proba(X), their.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(our.predict_log_proba(X), their.predict_log_proba(X), atol=1e-5)
    assert (our.predict(X) == their.predict(X)).all()


@pytest.mark.parametrize("data", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_ten_steps_on_all_samples_lead_to_the_same_weights_and_losses(data, solver, activation):
    options = {"activation": activation, "alpha": 0.3, "max_iter": 10, "learning_rate_init": 0.01}
    their, our = both("MLPClassifier", *data, solver=solver, hidden_layer_sizes=(6,), **options)
    for one, other in zip(their.coefs_ + their.intercepts_, our.coefs_ + our.intercepts_, strict=True):
        np.testing.assert_allclose(other, one, atol=2e-4)
    np.testing.assert_allclose(our.loss_curve_[1:], their.loss_curve_[1:], rtol=0.01)


def test_adams_epsilon_stands_where_theirs_does():
    options = {"hidden_layer_sizes": (6,), "max_iter": 10, "learning_rate_init": 0.01, "epsilon": 0.01}
    their, our = both("MLPClassifier", X, Y, **options)
    np.testing.assert_allclose(our.coefs_[0], their.coefs_[0], atol=1e-5)


def test_batches_in_the_order_of_the_data_lead_to_the_same_weights():
    their, our = both("MLPClassifier", X, Y, solver="sgd", shuffle=False, batch_size=50, max_iter=20, alpha=0.5)
    for one, other in zip(their.coefs_, our.coefs_, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-4)


@pytest.mark.parametrize("learning_rate", ["invscaling", "adaptive"])
def test_rates_change_as_theirs_and_velocities_keep_the_rate_of_their_steps(learning_rate):
    options = {"solver": "sgd", "learning_rate": learning_rate, "learning_rate_init": 0.5, "power_t": 0.1}
    their, our = both("MLPClassifier", X, Y, **options, tol=0.02, n_iter_no_change=2, max_iter=60)
    assert our.n_iter_ == their.n_iter_
    np.testing.assert_allclose(our.coefs_[0], their.coefs_[0], atol=1e-3)


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_regression_takes_their_steps(columns, solver):
    x, y = load_diabetes(return_X_y=True)
    y = np.stack([y, -y], 1)[:, :columns] / 100
    y = y[:, 0] if columns == 1 else y
    their, our = both("MLPRegressor", x, y, solver=solver, shuffle=False, max_iter=8, hidden_layer_sizes=(9,))
    np.testing.assert_allclose(our.predict(x), their.predict(x), atol=2e-3)
    np.testing.assert_allclose(our.loss_curve_, their.loss_curve_, rtol=2e-3)


def test_poisson_regression_takes_their_steps():
    x, y = load_diabetes(return_X_y=True)
    if "loss" not in inspect.signature(theirs.MLPRegressor).parameters:
        pytest.skip("this scikit-learn has no loss='poisson'")
    their, our = both("MLPRegressor", x, y / 100, loss="poisson", shuffle=False, max_iter=8, hidden_layer_sizes=(9,))
    np.testing.assert_allclose(our.predict(x), their.predict(x), atol=2e-3)
    np.testing.assert_allclose(our.loss_curve_, their.loss_curve_, rtol=2e-3)


def test_lbfgs_from_an_equal_start_ends_at_an_equal_loss():
    options = {"hidden_layer_sizes": (5,), "activation": "tanh", "solver": "lbfgs", "alpha": 1.0, "max_iter": 500}
    their, our = both("MLPClassifier", X.astype(np.float64), Y, **options)
    assert our.loss_ == pytest.approx(their.loss_, rel=1e-4)
    np.testing.assert_allclose(our.predict_proba(X), their.predict_proba(X), atol=0.01)


def test_weighted_samples_are_weighted_as_theirs():
    weights = 1.0 + Y
    their, our = [
        library.MLPClassifier((5,), solver="lbfgs", activation="tanh", alpha=1.0, random_state=3)
        for library in (theirs, ours)
    ]
    if "sample_weight" not in inspect.signature(their.fit).parameters:
        pytest.skip("this scikit-learn's MLPClassifier takes no weights")
    their.fit(X.astype(np.float64), Y, weights)
    our.fit(X, Y, weights)
    assert our.loss_ == pytest.approx(their.loss_, rel=1e-3)


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_early_stopping_sets_the_same_samples_aside_and_scores_them_alike(kind):
    options = {"early_stopping": True, "solver": "sgd", "learning_rate_init": 0.05, "max_iter": 60}
    their, our = both(kind, X, Y, **options)
    np.testing.assert_allclose(our.validation_scores_, their.validation_scores_, atol=1e-3)
    assert our.best_validation_score_ == pytest.approx(their.best_validation_score_, abs=1e-3)


def test_fitted_attributes_are_theirs():
    their, our = both("MLPClassifier", X, Y, max_iter=2)
    mine = {name for name in dir(our) if name.endswith("_") and not name.startswith("_")}
    assert {name for name in vars(their) if name.endswith("_") and not name.startswith("_")} <= mine
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(our, name) == getattr(their, name), name
