"""scikit-learn's own checks of an estimator."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (the sklearn extra)")

from sklearn.base import clone, is_regressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastdl.estimators import MLPClassifier, MLPRegressor, NetClassifier, NetRegressor

ESTIMATORS = [
    MLPClassifier((50,), learning_rate_init=0.005, max_iter=60),
    MLPRegressor(hidden_layer_sizes=(50,), learning_rate_init=0.005, max_iter=60),
    MLPClassifier((10,), solver="lbfgs", max_iter=30),
    NetClassifier(learning_rate_init=0.005, max_iter=40),
    NetRegressor(learning_rate_init=0.005, max_iter=40),
]


# The pairs as a list: scikit-learn up to 1.7 gives a generator, which newer pytest warns of.
CHECKS = parametrize_with_checks(ESTIMATORS).mark
# A classifier and a regressor of different layers take every check; for the others they are slow.
SHORT = [repr(ESTIMATORS[0]), repr(ESTIMATORS[4])]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    CHECKS.args[0],
    [
        pytest.param(*pair, marks=() if repr(pair[0]) in SHORT else pytest.mark.slow)
        for pair in (getattr(each, "values", each) for each in CHECKS.args[1])
    ],
    **CHECKS.kwargs,
)
def test_scikit_learns_checks_pass(estimator, check):
    # Predictions in float64 come out of a network in float32, whose sums depend on the number of rows; see below.
    if is_regressor(estimator) and "check_methods_subset_invariance" in str(check):
        pytest.skip("holds to float32's precision, which the check asks of float32 only")
    check(estimator)


@pytest.mark.filterwarnings("ignore:.*Maximum iterations")
@pytest.mark.parametrize("estimator", [each for each in ESTIMATORS if is_regressor(each)], ids=str)
def test_predictions_of_some_rows_are_those_of_all(estimator):
    X = np.random.default_rng(0).normal(size=(40, 3))
    fitted = clone(estimator).set_params(random_state=0).fit(X, X[:, 0])
    want = fitted.predict(X)
    assert want.dtype == np.float64
    for rows in (slice(0, 1), slice(7, 20), slice(None, None, -1)):
        np.testing.assert_allclose(fitted.predict(X[rows]), want[rows], rtol=2e-6, atol=2e-6)
