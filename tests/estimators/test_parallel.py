"""Fits of clones in several threads and processes, and predictions of one estimator, give the bits of one thread."""

import threading

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (the sklearn extra)")

import joblib
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV

from fastdl import callbacks, nn
from fastdl.estimators import MLPClassifier, MLPRegressor, NetClassifier
from tests.nn.python_layer import Scale

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 4)).astype(np.float32)
Y = RNG.integers(0, 3, 120)
OPTIONS = {"max_iter": 4, "batch_size": 16, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def in_python(n_outputs, rng):
    return nn.Sequential(nn.Linear(4, 6, rng=rng), Scale(), nn.Dropout(0.2), nn.Linear(6, n_outputs, rng=rng))


ESTIMATORS = {
    "layers of all kinds": MLPClassifier((8, 6), dropout=0.2, batch_norm=True, **OPTIONS),
    "lbfgs": MLPClassifier((6,), solver="lbfgs", max_iter=10, random_state=0),
    "weights": MLPClassifier((6,), early_stopping=True, class_weight="balanced", **OPTIONS),
    "a state": MLPClassifier((6,), max_iter=3, random_state=np.random.RandomState(3)),
    "a model": NetClassifier(nn.Sequential(nn.Linear(4, 5, rng=0), nn.Dropout(0.1), nn.Linear(5, 3, rng=1)), **OPTIONS),
    "a layer in Python": NetClassifier(in_python, **OPTIONS),
    "callbacks": MLPClassifier((6,), callbacks=[callbacks.EarlyStopping("loss", 1)], **OPTIONS),
    "numbers": MLPRegressor(hidden_layer_sizes=(6,), dropout=0.1, **OPTIONS),
}


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
def test_clones_fitted_in_threads_are_those_fitted_one_by_one(estimator):
    wanted = clone(estimator).fit(X, Y).predict(X)
    clones = [clone(estimator) for _ in range(6)]
    for each in joblib.Parallel(4, backend="threading")(joblib.delayed(each.fit)(X, Y) for each in clones):
        np.testing.assert_array_equal(each.predict(X), wanted)


@pytest.mark.parametrize("backend", ["loky", "threading"])
@pytest.mark.parametrize("name", ["layers of all kinds", "a model", "numbers"])
def test_a_search_is_the_same_by_every_backend(name, backend):
    searches = []
    for jobs in (1, 2):
        with joblib.parallel_config(backend):
            search = GridSearchCV(
                ESTIMATORS[name], {"alpha": [1e-4, 1.0], "solver": ["adam", "sgd"]}, cv=2, n_jobs=jobs
            )
            searches.append(search.fit(X, Y))
    np.testing.assert_array_equal(*(search.cv_results_["mean_test_score"] for search in searches))
    np.testing.assert_array_equal(*(search.predict(X) for search in searches))


def test_an_ensemble_fits_its_parts_in_threads():
    found = []
    for jobs in (1, 4):
        with joblib.parallel_config("threading"):
            ensemble = BaggingClassifier(ESTIMATORS["layers of all kinds"], 4, random_state=0, n_jobs=jobs)
            found.append(ensemble.fit(X, Y).predict_proba(X))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("name", ["layers of all kinds", "a layer in Python"])
def test_one_estimator_predicts_in_several_threads_from_the_first_on(name):
    estimator = clone(ESTIMATORS[name]).fit(X, Y)
    wanted = clone(ESTIMATORS[name]).fit(X, Y).predict_proba(X)
    barrier, found = threading.Barrier(6, timeout=60), []

    def run():
        barrier.wait()
        found.extend(estimator.predict_proba(X) for _ in range(5))

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 30
    for each in found:
        np.testing.assert_array_equal(each, wanted)
