"""scikit-learn's own checks of an estimator."""

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (the sklearn extra)")

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


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)
