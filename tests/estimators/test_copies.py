"""Estimators pickle, copy and persist with joblib and skops, fitted or not, alone and inside pipelines and searches."""

import copy
import functools
import io
import pickle
import re
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (the sklearn extra)")

import joblib
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastdl import callbacks, nn
from fastdl.estimators import MLPClassifier, MLPRegressor, NetClassifier, NetRegressor

X, Y = load_iris(return_X_y=True)
X = X[::3]
Y = Y[::3]
LABELS = np.stack([Y == 0, Y > 0], axis=1).astype(int)
OPTIONS = {"max_iter": 3, "random_state": 0, "batch_size": 20}


def made(n_outputs, rng):
    return nn.Sequential(nn.Linear(4, 5, rng=rng), nn.Tanh(), nn.Linear(5, n_outputs, rng=rng))


def images():
    layers = (
        nn.Conv2d(1, 2, 2, weight_init=nn.init.kaiming_uniform(), rng=0),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.Flatten(),
    )
    return nn.Sequential(*layers, nn.Dropout(0.1), nn.Linear(2, 3, rng=1))


ESTIMATORS = {
    "classifier": (MLPClassifier(**OPTIONS), Y),
    "strings": (MLPClassifier((5,), **OPTIONS), np.array(["a", "b", "c"])[Y]),
    "objects": (MLPClassifier((5,), **OPTIONS), np.array(["a", "b", "c"], object)[Y]),
    "labels": (MLPClassifier((5,), **OPTIONS), LABELS),
    "sgd": (MLPClassifier((5,), solver="sgd", learning_rate="adaptive", **OPTIONS), Y),
    "lbfgs": (MLPClassifier((5,), solver="lbfgs", max_iter=3, random_state=np.random.RandomState(1)), Y),
    "all options": (
        MLPClassifier((5, 4), ["gelu", "tanh"], solver="rmsprop", dropout=0.1, batch_norm=True, **OPTIONS),
        Y,
    ),
    "early stopping": (MLPClassifier((5,), early_stopping=True, **OPTIONS), Y),
    "a loss": (MLPClassifier((5,), loss=nn.CrossEntropyLoss(label_smoothing=0.1), **OPTIONS), Y),
    "callbacks": (MLPClassifier((5,), callbacks=[callbacks.EarlyStopping("loss")], **OPTIONS), Y),
    "class weights": (MLPClassifier((5,), class_weight={0: 1.0, 1: 2.0, 2: 3.0}, **OPTIONS), Y),
    "regressor": (MLPRegressor(hidden_layer_sizes=(5,), **OPTIONS), X[:, 0]),
    "poisson": (MLPRegressor("poisson", (5,), **OPTIONS), X[:, 0]),
    "several outputs": (MLPRegressor(hidden_layer_sizes=(5,), **OPTIONS), X[:, :2]),
    "a net": (NetClassifier(**OPTIONS), Y),
    "a model": (NetClassifier(images(), input_shape=(1, 2, 2), **OPTIONS), Y),
    "a function": (NetClassifier(made, **OPTIONS), Y),
    "a net of numbers": (NetRegressor(made, **OPTIONS), X[:, 1]),
    "a pipeline": (make_pipeline(StandardScaler(), MLPClassifier((5,), **OPTIONS)), Y),
    "a search": (GridSearchCV(MLPClassifier((5,), **OPTIONS), {"alpha": [0.1, 1.0]}, cv=2), Y),
    "a search of pipelines": (
        GridSearchCV(
            make_pipeline(StandardScaler(), NetClassifier(made, **OPTIONS)), {"netclassifier__alpha": [1.0]}, cv=2
        ),
        Y,
    ),
}


def by_pickle(protocol, estimator):
    return pickle.loads(pickle.dumps(estimator, protocol))


def by_joblib(estimator):
    file = io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    return joblib.load(file)


def by_skops(estimator):
    io = pytest.importorskip("skops.io", reason="skops is not installed")
    data = io.dumps(estimator)
    return io.loads(data, trusted=io.get_untrusted_types(data=data))


COPIES = {"copy": copy.copy, "deepcopy": copy.deepcopy, "joblib": by_joblib, "skops": by_skops} | {
    f"protocol {number}": functools.partial(by_pickle, number) for number in (0, 2, 5)
}


def fitted(name):
    estimator, y = ESTIMATORS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return clone(estimator).fit(X, y), y


def goes_on(estimator, y):
    """Its predictions after another pass, or another fit, where it can have one."""
    estimator = copy.deepcopy(estimator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if hasattr(estimator, "partial_fit") and not estimator.early_stopping:
            estimator.partial_fit(X, y)
        else:
            estimator.fit(X, y)
    return estimator.predict(X)


@pytest.mark.parametrize(
    "duplicate",
    [
        pytest.param(copies, id=name, marks=pytest.mark.slow if name in ("copy", "protocol 0", "protocol 2") else ())
        for name, copies in COPIES.items()
    ],
)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_fitted_estimator_predicts_and_goes_on_the_same(name, duplicate):
    estimator, y = fitted(name)
    twin = duplicate(estimator)
    assert re.sub("0x[0-9A-Fa-f]+", "", repr(twin)) == re.sub("0x[0-9A-Fa-f]+", "", repr(estimator))
    np.testing.assert_array_equal(twin.predict(X), estimator.predict(X))
    assert twin.predict(X).dtype == estimator.predict(X).dtype
    if hasattr(estimator, "predict_proba"):
        np.testing.assert_array_equal(twin.predict_proba(X), estimator.predict_proba(X))
    assert twin.score(X, y) == estimator.score(X, y)
    np.testing.assert_array_equal(goes_on(twin, y), goes_on(estimator, y))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, by_joblib, by_skops])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_one_that_is_not_fitted_stays_so_and_fits_the_same(name, duplicate):
    estimator, y = ESTIMATORS[name]
    twin = duplicate(clone(estimator))
    with pytest.raises(NotFittedError):
        twin.predict(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(twin.fit(X, y).predict(X), fitted(name)[0].predict(X))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, by_joblib, by_skops])
@pytest.mark.parametrize("name", ["classifier", "a model", "a function"])
def test_a_copy_trains_apart(name, duplicate):
    estimator, y = fitted(name)
    before = estimator.predict_proba(X)
    duplicate(estimator).partial_fit(X, y)
    np.testing.assert_array_equal(estimator.predict_proba(X), before)


@pytest.mark.parametrize("name", ["classifier", "lbfgs", "a model"])
def test_a_pickle_holds_no_gradient_and_does_not_grow_by_predictions(name):
    estimator, _ = fitted(name)
    assert not any(parameter.grad.any() for parameter in estimator.model_.parameters())
    size = len(pickle.dumps(estimator))
    for _ in range(6):
        estimator.predict(X)
    assert len(pickle.dumps(estimator)) < size + 20


def test_a_memory_mapped_estimator_predicts_and_goes_on(tmp_path):
    estimator, y = fitted("all options")
    joblib.dump(estimator, tmp_path / "estimator")
    mapped = joblib.load(tmp_path / "estimator", mmap_mode="r")
    np.testing.assert_array_equal(mapped.predict_proba(X), estimator.predict_proba(X))
    np.testing.assert_array_equal(goes_on(mapped, y), goes_on(estimator, y))


def test_large_models_are_searched_in_processes_that_map_them():
    model = nn.Sequential(nn.Linear(4, 600, rng=0), nn.ReLU(), nn.Linear(600, 600, rng=1), nn.Linear(600, 3, rng=2))
    scores = []
    for jobs in (1, 2):
        search = GridSearchCV(NetClassifier(model, **OPTIONS), {"alpha": [0.1, 1.0]}, cv=2, n_jobs=jobs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scores.append(search.fit(X, Y).cv_results_["mean_test_score"])
    np.testing.assert_array_equal(scores[0], scores[1])
