"""A fit that fails leaves the estimator as it was; Ctrl-C ends a fit and keeps what was trained."""

import copy
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (the sklearn extra)")

from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from fastdl import nn
from fastdl.callbacks import Callback
from fastdl.errors import DivergenceError, InvalidValueError
from fastdl.estimators import MLPClassifier, MLPRegressor, NetClassifier, NetRegressor

X, Y = load_iris(return_X_y=True)
X = ((X - X.mean(0)) / X.std(0)).astype(np.float32)
TWO = np.minimum(Y, 1)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Raising(Callback):
    """Raises when so many more epochs are over."""

    def __init__(self, error, epochs):
        self.error, self.epochs = error, epochs

    def on_epoch_end(self, trainer, record):
        self.epochs -= 1
        if self.epochs == 0:
            raise self.error


def diverging(kind, **options):
    return kind(solver="sgd", learning_rate_init=1e30, random_state=0, **options)


def not_fitted(estimator):
    params = estimator.get_params()
    assert set(vars(estimator)) == set(params)
    with pytest.raises(NotFittedError):
        check_is_fitted(estimator)
    with pytest.raises(NotFittedError):
        estimator.predict(X)
    return True


FIRST = {
    "divergence": (diverging(MLPClassifier), X, Y, ValueError),
    "a callback": (MLPClassifier(callbacks=[Raising(RuntimeError("mine"), 2)]), X, Y, RuntimeError),
    "targets": (MLPClassifier(), X, X[:, 0], ValueError),
    "layers": (MLPClassifier((0,)), X, Y, ValueError),
    "a split": (MLPRegressor(early_stopping=True, validation_fraction=0.001), X, Y, ValueError),
    "lbfgs": (MLPClassifier(solver="lbfgs", dropout=0.5), X, Y, ValueError),
    "a model": (NetClassifier(nn.Sequential(nn.Linear(4, 2))), X, Y, ValueError),
    "a loss": (NetRegressor(loss="none"), X, Y, ValueError),
}


@pytest.mark.parametrize("case", FIRST.values(), ids=FIRST)
def test_an_estimator_is_not_fitted_when_its_first_fit_fails(case):
    estimator, x, y, error = case
    with pytest.raises(error):
        estimator.fit(x, y)
    assert not_fitted(estimator)


@pytest.mark.parametrize("warm_start", [False, True])
def test_a_fit_after_a_first_that_failed_is_a_first(warm_start):
    classifier = diverging(MLPClassifier, warm_start=warm_start, max_iter=5)
    with pytest.raises(ValueError, match="stay finite"):
        classifier.fit(X, Y)
    classifier.set_params(learning_rate_init=0.1).fit(X[:, :3], TWO)
    assert classifier.n_features_in_ == 3
    fresh = MLPClassifier(solver="sgd", learning_rate_init=0.1, max_iter=5, random_state=0).fit(X[:, :3], TWO)
    np.testing.assert_array_equal(classifier.coefs_[0], fresh.coefs_[0])


def test_a_pass_after_a_first_that_failed_is_a_first():
    classifier = diverging(MLPClassifier, batch_size=20)
    for _ in range(2):
        with pytest.raises(ValueError, match="stay finite"):
            classifier.partial_fit(X, Y, classes=[0, 1, 2, 3])
        assert not_fitted(classifier)
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        classifier.partial_fit(X, Y)
    assert classifier.set_params(learning_rate_init=0.1).partial_fit(X, Y, classes=[0, 1, 2]).n_iter_ == 1
    assert classifier.classes_.tolist() == [0, 1, 2]


def state_of(estimator):
    arrays = estimator.model_.state_dict()
    names = ["classes_", "n_features_in_", "n_outputs_", "n_iter_", "t_", "loss_", "loss_curve_", "best_loss_"]
    return arrays, {name: copy.copy(getattr(estimator, name, None)) for name in [*names, "validation_scores_"]}


def is_as(estimator, state):
    arrays, attributes = state_of(estimator)
    assert list(arrays) == list(state[0])
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, state[0][name])
    assert pickle.dumps(attributes) == pickle.dumps(state[1])
    assert not estimator.model_.training
    assert estimator.predict(X).shape == (150,)
    return True


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_later_fit_that_fails_leaves_what_was_fitted(warm_start, early_stopping):
    options = {"warm_start": warm_start, "early_stopping": early_stopping, "max_iter": 5, "random_state": 0}
    classifier = MLPClassifier((6,), batch_norm=True, **options).fit(X, Y)
    before = state_of(classifier)
    few = [0, 1, 2, 70, 71, 72, 120, 121, 122] * 4  # in float64 for a while
    for x, y in ((X, Y), (X[few], Y[few])):
        with pytest.raises(RuntimeError, match="mine"):
            classifier.set_params(callbacks=[Raising(RuntimeError("mine"), 3)]).fit(x, y)
        assert is_as(classifier, before)
    with pytest.raises(ValueError, match="stay finite"):
        classifier.set_params(callbacks=None, solver="sgd", learning_rate_init=1e30).fit(X, Y)
    assert is_as(classifier, before)
    with pytest.raises(ValueError):
        classifier.fit(X[:, :3], np.full(150, np.nan))
    assert is_as(classifier, before)
    classifier.set_params(solver="sgd", learning_rate_init=0.01).fit(X, Y)
    assert len(classifier.loss_curve_) == (10 if warm_start else 5)


def test_classes_are_not_those_of_data_that_could_not_be_fitted():
    classifier = diverging(MLPClassifier).set_params(learning_rate_init=0.01).fit(X, Y)
    with pytest.raises(ValueError, match="stay finite"):
        classifier.set_params(learning_rate_init=1e30).fit(X[:, :2], np.array(["a", "b"])[TWO])
    assert classifier.classes_.tolist() == [0, 1, 2]
    assert classifier.predict_proba(X).shape == (150, 3)


def test_a_last_step_to_weights_that_are_not_finite_is_a_failure():
    regressor = MLPRegressor(
        "absolute_error", (6,), solver="sgd", learning_rate_init=3e38, momentum=0.0, random_state=0
    )
    with pytest.raises(
        ValueError, match="MLPRegressor: expected weights that stay finite, got others; write a smaller"
    ):
        regressor.partial_fit(X * 100, X[:, 0])
    assert not_fitted(regressor)


def test_a_pass_that_fails_counts_for_nothing():
    rows, options = slice(0, 150, 2), {"batch_size": 20, "random_state": 0}
    classifier, other = (MLPClassifier((6,), **options).partial_fit(X, Y, classes=[0, 1, 2]) for _ in range(2))
    for error in (RuntimeError("mine"), OSError("disk")):
        with pytest.raises(type(error)):
            classifier.set_params(callbacks=[Raising(error, 1)]).partial_fit(X[rows], Y[rows])
    for _ in range(3):
        classifier.set_params(callbacks=None).partial_fit(X, Y)
        other.partial_fit(X, Y)
    for one, two in zip(classifier.coefs_, other.coefs_, strict=True):
        np.testing.assert_array_equal(one, two)
    assert classifier.loss_curve_ == other.loss_curve_


def test_lbfgs_that_fails_leaves_what_was_fitted():
    class Failing(nn.MSELoss):
        left = 5

        def __call__(self, output, target):
            Failing.left -= 1
            if not Failing.left:
                raise RuntimeError("mine")
            return super().__call__(output, target)

    regressor = MLPRegressor("squared_error", (6,), solver="lbfgs", warm_start=True, max_iter=5, random_state=0)
    regressor.fit(X, X[:, 0])
    before = state_of(regressor)
    with pytest.raises(RuntimeError, match="mine"):
        regressor.set_params(loss=Failing()).fit(X, X[:, 1])
    assert is_as(regressor, before)


# Ctrl-C.


@pytest.mark.parametrize("early_stopping", [False, True])
def test_an_interruption_warns_and_keeps_what_was_trained(early_stopping):
    options = {"random_state": 0, "early_stopping": early_stopping, "tol": 0.0, "learning_rate_init": 0.01}
    classifier = MLPClassifier(callbacks=[Raising(KeyboardInterrupt(), 7)], **options)
    with pytest.warns(UserWarning, match=r"^Training interrupted by user\.$") as caught:
        classifier.fit(X, Y)
    assert len(caught) == 1
    assert (classifier.n_iter_, len(classifier.loss_curve_), classifier.t_) == (
        7,
        7,
        7 * (135 if early_stopping else 150),
    )
    with pytest.warns(UserWarning, match="Maximum iterations"):
        whole = MLPClassifier(max_iter=7, **options).fit(X, Y)
    np.testing.assert_array_equal(classifier.predict_proba(X), whole.predict_proba(X))


def test_a_fit_goes_on_after_an_interruption():
    classifier = MLPClassifier(warm_start=True, callbacks=[Raising(KeyboardInterrupt(), 2)], max_iter=5, random_state=0)
    with pytest.warns(UserWarning, match="interrupted"):
        classifier.fit(X, Y)
    assert len(classifier.fit(X, Y).loss_curve_) == 7
    classifier.set_params(callbacks=[Raising(KeyboardInterrupt(), 1)])
    with pytest.warns(UserWarning, match="interrupted"):
        classifier.partial_fit(X, Y)
    assert len(classifier.partial_fit(X, Y).loss_curve_) == 9


def test_an_interruption_before_the_first_epoch_leaves_an_estimator_that_is_not_fitted():
    def interrupted(n_outputs):
        raise KeyboardInterrupt

    net = NetClassifier(interrupted)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y)
    assert not_fitted(net)


ENDLESS = """
import sys, warnings
import numpy as np
from fastdl.callbacks import Callback
from fastdl.estimators import MLPClassifier
class Telling(Callback):
    def on_fit_begin(self, trainer, epochs):
        print("begun", flush=True)
rng = np.random.default_rng(0)
X = rng.normal(size=(2000, 20))
y = rng.integers(0, 3, 2000)
classifier = MLPClassifier(max_iter=10**7, n_iter_no_change=np.inf, callbacks=[Telling()])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    classifier.fit(X, y)
assert [str(each.message) for each in caught] == ["Training interrupted by user."], caught
assert np.isfinite(classifier.predict_proba(X)).all()
print(classifier.n_iter_ - len(classifier.loss_curve_), classifier.n_iter_ > 0)
"""


def test_a_signal_ends_a_fit():
    command = [sys.executable, "-P", "-c", "import signal; signal.signal(2, signal.default_int_handler)\n" + ENDLESS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/") as process:
        assert process.stdout.readline() == "begun\n"
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=600)
    assert (process.returncode, out) == (0, "0 True\n"), err


def test_a_loss_that_diverges_gives_the_words_of_the_fit():
    with pytest.raises(InvalidValueError) as caught:
        diverging(MLPClassifier).fit(X, Y)
    error, cause = caught.value, caught.value.__cause__
    assert isinstance(cause, DivergenceError)
    assert error.owner == "MLPClassifier"
    assert error.expected == f"a loss and weights that stay finite: {cause.got}"
    assert error.hint == "write a smaller learning_rate_init, or scale X and y"


def test_a_floating_point_error_of_a_callback_is_given_in_full():
    raising = Raising(FloatingPointError("Trainer.fit: mine; got 2"), 1)
    with pytest.raises(ValueError) as caught:
        MLPClassifier((6,), callbacks=[raising], max_iter=2).fit(X, Y)
    assert str(caught.value) == (
        "MLPClassifier: expected a loss and weights that stay finite: Trainer.fit: mine; got 2;"
        " write a smaller learning_rate_init, or scale X and y"
    )
