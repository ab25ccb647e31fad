"""Fits that go on from the latest one: arguments that the model follows from may not change on the way."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (the sklearn extra)")

from sklearn.base import clone
from sklearn.datasets import load_iris

from fastdl import nn
from fastdl.estimators import MLPClassifier, MLPRegressor, NetClassifier

X, Y = load_iris(return_X_y=True)
X = ((X - X.mean(0)) / X.std(0)).astype(np.float32)
TWO = np.minimum(Y, 1)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def wide(n_outputs, rng):
    return nn.Sequential(nn.Linear(4, n_outputs, rng=rng))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"hidden_layer_sizes": (7,)},
            r"expected hidden_layer_sizes=\[5\] of the fit to go on from, got \[7\]; write fit",
        ),
        ({"hidden_layer_sizes": (5, 4)}, r"expected hidden_layer_sizes=\[5\] of the fit to go on from, got \[5, 4\];"),
        ({"hidden_layer_sizes": ()}, r"expected hidden_layer_sizes=\[5\] of the fit to go on from, got \[\];"),
        ({"activation": "tanh"}, r"expected activation=\['relu'\] of the fit to go on from, got \['tanh'\];"),
        ({"dropout": 0.5}, r"expected dropout=\[0.0\] of the fit to go on from, got \[0.5\];"),
        ({"batch_norm": True}, "expected batch_norm=False of the fit to go on from, got True;"),
    ],
)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_other_layers_are_refused_in_a_warm_fit(changed, message, solver):
    classifier = MLPClassifier((5,), solver=solver, warm_start=True, max_iter=2, random_state=0).fit(X, Y)
    before = classifier.predict_proba(X)
    with pytest.raises(ValueError, match=f"MLPClassifier: {message}"):
        classifier.set_params(**changed).fit(X, Y)
    np.testing.assert_array_equal(classifier.predict_proba(X), before)
    assert clone(classifier).set_params(solver="adam", warm_start=False).fit(X, Y).n_iter_ == 2


def test_other_layers_are_refused_in_partial_fit():
    regressor = MLPRegressor("squared_error", (5,)).partial_fit(X, X[:, 0])
    with pytest.raises(ValueError, match="MLPRegressor: expected hidden_layer_sizes="):
        regressor.set_params(hidden_layer_sizes=(6,)).partial_fit(X, X[:, 0])
    assert regressor.set_params(hidden_layer_sizes=[5]).partial_fit(X, X[:, 0]).t_ == 300


def test_the_same_layers_may_be_written_otherwise():
    classifier = MLPClassifier((5, 5), warm_start=True, max_iter=2).fit(X, Y)
    classifier.set_params(hidden_layer_sizes=np.array([5, 5]), activation=["relu", "relu"], dropout=[0, 0]).fit(X, Y)
    assert len(classifier.loss_curve_) == 4


def test_a_cold_fit_takes_other_layers():
    classifier = MLPClassifier((5,), max_iter=2).fit(X, Y)
    assert classifier.set_params(hidden_layer_sizes=(6,), activation="tanh").fit(X, Y).coefs_[0].shape == (4, 6)


def test_another_model_or_shape_is_refused_in_a_warm_fit():
    net = NetClassifier(wide, warm_start=True, max_iter=2).fit(X, Y)
    with pytest.raises(ValueError, match=r"NetClassifier: expected model=<function wide .* got None; write fit with"):
        net.set_params(model=None).fit(X, Y)
    with pytest.raises(ValueError, match=r"NetClassifier: expected input_shape=None of the fit .* got \(4,\); write"):
        net.set_params(model=wide, input_shape=(4,)).fit(X, Y)
    assert len(net.set_params(input_shape=None).fit(X, Y).loss_curve_) == 4


def test_a_loss_that_wants_other_outputs_is_refused_in_a_warm_fit():
    classifier = MLPClassifier((5,), warm_start=True, max_iter=2, random_state=0).fit(X, TWO)
    with pytest.raises(ValueError, match=r"expected loss='log_loss' for a model with one output for two classes, got"):
        classifier.set_params(loss=nn.CrossEntropyLoss()).fit(X, TWO)
    regressor = MLPRegressor("poisson", (5,), warm_start=True, max_iter=2).fit(X, Y)
    predicted = regressor.predict(X)
    with pytest.raises(
        ValueError, match=r"expected a loss for out_activation_='exp' of the fit to go on from, got 'hu"
    ):
        regressor.set_params(loss="huber").fit(X, Y)
    np.testing.assert_array_equal(regressor.predict(X), predicted)


def test_two_scores_for_two_classes_go_on_with_the_log_loss():
    classifier = MLPClassifier((5,), loss=nn.CrossEntropyLoss(), warm_start=True, random_state=0).fit(X, TWO)
    classifier.set_params(loss="log_loss").fit(X, TWO)
    assert classifier.score(X, TWO) > 0.95
    assert classifier.predict_proba(X).shape == (150, 2)


@pytest.mark.parametrize("shape", [5, "18", (2, 0), (1.5, 2)])
def test_an_input_shape_that_is_none_is_refused(shape):
    with pytest.raises((TypeError, ValueError), match=r"NetClassifier: expected .* for input_shape, got"):
        NetClassifier(wide, input_shape=shape).fit(X, Y)
