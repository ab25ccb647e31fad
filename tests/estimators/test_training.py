"""What the estimators add: weights, dropout, curves, going on, stopping at the best, any model."""

import copy
import io
import pickle
import re

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (the sklearn extra)")

import joblib
import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastdl import callbacks, nn
from fastdl.estimators import MLPClassifier, MLPRegressor, NetClassifier, NetRegressor
from fastdl.estimators.stochastic import penalty_of

X, Y = load_iris(return_X_y=True)
X = ((X - X.mean(0)) / X.std(0)).astype(np.float32)
LABELS = np.stack([Y == 0, Y > 0, X[:, 0] > 0], axis=1).astype(int)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def cnn(n_outputs, rng):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, rng=rng), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, n_outputs, rng=rng)
    )


def images():
    x, y = load_digits(return_X_y=True)
    return (x[:300] / 16).astype(np.float32), y[:300]


# Weights.

TARGETS = {"classes": Y, "two classes": np.minimum(Y, 1), "labels": LABELS, "a number": X[:, 0], "numbers": X[:, :2]}


@pytest.mark.parametrize("y", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_a_weight_of_two_is_a_sample_twice(y, solver):
    kind = MLPRegressor if y.dtype.kind == "f" else MLPClassifier
    options = {"hidden_layer_sizes": (6,), "solver": solver, "max_iter": 15, "batch_size": 300, "random_state": 0}
    estimator = kind(**options, activation="tanh", alpha=0.5)
    twice = np.arange(len(X)) % 3 == 0
    with pytest.warns() if solver == "sgd" else pytest.warns(ConvergenceWarning):
        weighted = clone(estimator).fit(X, y, 1.0 + twice).predict(X)
        repeated = clone(estimator).fit(np.vstack([X, X[twice]]), np.concatenate([y, y[twice]])).predict(X)
    np.testing.assert_allclose(weighted, repeated, atol=1e-4)


@pytest.mark.parametrize("y", [Y, np.minimum(Y, 1)], ids=["three classes", "two classes"])
def test_a_class_weight_is_the_weight_of_its_samples(y):
    weights = {0: 3.0, 1: 0.5, 2: 1.0}
    weights = {name: weights[name] for name in np.unique(y)}
    by_class = MLPClassifier((6,), solver="sgd", class_weight=weights, max_iter=20, random_state=0).fit(X, y)
    by_sample = MLPClassifier((6,), solver="sgd", max_iter=20, random_state=0).fit(X, y, [weights[each] for each in y])
    np.testing.assert_allclose(by_class.predict_proba(X), by_sample.predict_proba(X), atol=1e-5)
    assert by_class.history_.engine.startswith("native")


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("before", [1, 2])
def test_a_class_weight_counts_whatever_model_there_is_and_was(before, outputs):
    two, options = np.minimum(Y, 1), {"learning_rate_init": 0.05, "random_state": 0}
    models = {columns: nn.Sequential(nn.Linear(4, columns, rng=0)) for columns in (1, 2)}
    net = NetClassifier(models[before], class_weight={0: 1.0, 1: 1e-6}, max_iter=50, **options)
    for columns in (before, outputs):
        net.set_params(model=models[columns]).fit(X * 0.01, two)
        assert (net.predict(X * 0.01) == 0).all()


def test_balanced_classes_find_the_rare_one():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 2)).astype(np.float32)
    y = (x[:, 0] + 0.8 * rng.normal(size=2000) > 2.4).astype(int)
    plain, balanced = (
        MLPClassifier((10,), class_weight=each, max_iter=20, random_state=0, learning_rate_init=0.01).fit(x, y)
        for each in (None, "balanced")
    )
    assert plain.predict(x)[y == 1].mean() < 0.5 < balanced.predict(x)[y == 1].mean()


def test_a_class_of_weight_zero_counts_for_nothing():
    two = np.minimum(Y, 1)
    classifier = MLPClassifier((6,), class_weight={0: 0, 1: 1}, learning_rate_init=0.05, random_state=0).fit(X, two)
    assert (classifier.predict(X) == 1).all()


# Options of scikit-learn's users' wishes.


def test_layers_are_as_the_arguments_say():
    options = {"activation": ["tanh", "gelu"], "dropout": [0.1, 0.0], "batch_norm": True}
    model = MLPClassifier((5, 4), **options, max_iter=1).fit(X, Y).model_
    assert [type(layer).__name__ for layer in model] == [
        *("Linear", "BatchNorm1d", "Tanh", "Dropout"),
        *("Linear", "BatchNorm1d", "GELU"),
        "Linear",
    ]


def test_dropout_acts_in_training_alone():
    classifier = MLPClassifier(dropout=0.5, max_iter=2, random_state=0).fit(X, Y)
    assert (classifier.predict_proba(X) == classifier.predict_proba(X)).all()
    plain = MLPClassifier(max_iter=2, random_state=0).fit(X, Y)
    assert classifier.loss_curve_[0] != pytest.approx(plain.loss_curve_[0], rel=1e-3)


@pytest.mark.parametrize("solver", ["sgd", "adam", "rmsprop", "lbfgs"])
def test_every_solver_learns(solver):
    classifier = MLPClassifier((20,), solver=solver, learning_rate_init=0.02, random_state=0)
    assert classifier.fit(X, Y).score(X, Y) > 0.95
    assert {parameter.dtype for parameter in classifier.model_.parameters()} == {np.dtype(np.float32)}
    assert classifier.predict_proba(X).dtype == np.float32


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", nn.MSELoss()], ids=str)
def test_every_loss_of_a_regressor_learns(loss):
    regressor = MLPRegressor(loss, (20,), learning_rate_init=0.02, random_state=0)
    assert regressor.fit(X, X[:, 0] * X[:, 1]).score(X, X[:, 0] * X[:, 1]) > 0.9


def test_a_loss_of_ones_own_is_made_small():
    smooth = MLPClassifier(
        (20,), loss=nn.CrossEntropyLoss(label_smoothing=0.3), random_state=0, learning_rate_init=0.02
    )
    two = np.minimum(Y, 1)
    assert 0.7 < np.median(smooth.fit(X, two).predict_proba(X).max(axis=1)) < 0.95
    weighted = clone(smooth).fit(X, two, np.where(two, 1.0, 0.0))
    assert (weighted.predict(X) == 1).all()


def test_callbacks_are_called_and_may_stop():
    class Stopping(callbacks.Callback):
        def on_epoch_end(self, trainer, record):
            if len(trainer.history) == 4:
                trainer.stop()

    early = callbacks.EarlyStopping("val_loss", patience=50)
    classifier = MLPClassifier(early_stopping=True, callbacks=[Stopping(), early], random_state=0).fit(X, Y)
    assert (classifier.n_iter_, len(classifier.loss_curve_), len(classifier.validation_scores_)) == (4, 4, 4)
    assert early.best_epoch == 4


def test_verbose_prints_each_epoch(capsys):
    MLPClassifier(max_iter=2, verbose=True, early_stopping=True, random_state=0).fit(X, Y)
    assert re.fullmatch(r"(Iteration \d, loss = [\d.]+\nValidation score: [\d.]+\n){2}", capsys.readouterr().out)


def test_early_stopping_goes_back_to_the_best():
    class Spoiling(callbacks.Callback):
        def on_epoch_end(self, trainer, record):
            if len(trainer.history) > 20:
                for parameter in trainer.model.parameters():
                    parameter.data = np.zeros(parameter.shape)

    options = {"learning_rate_init": 0.02, "early_stopping": True, "validation_fraction": 0.3, "random_state": 0}
    classifier = MLPClassifier(**options, callbacks=[Spoiling()], max_iter=40).fit(X, Y)
    assert classifier.best_validation_score_ == max(classifier.validation_scores_) > 0.8
    assert classifier.score(X, Y) > 0.8


def test_a_warm_start_goes_on_and_a_cold_one_begins_again():
    warm = MLPClassifier((6,), warm_start=True, max_iter=5, solver="sgd", random_state=0).fit(X, Y)
    first = warm.loss_
    assert warm.fit(X, Y).loss_ < first
    assert (len(warm.loss_curve_), warm.n_iter_, warm.t_) == (10, 5, 1500)
    cold = MLPClassifier((6,), max_iter=5, solver="sgd", random_state=0).fit(X, Y)
    assert cold.fit(X, Y).loss_ == first


def test_options_may_change_between_warm_fits():
    classifier = MLPClassifier((6,), solver="lbfgs", warm_start=True, max_iter=5, random_state=0).fit(X, Y)
    lowest = classifier.loss_
    assert classifier.set_params(solver="adam").fit(X, Y).loss_ < 2 * lowest
    classifier.set_params(early_stopping=True).fit(X, Y)
    assert (len(classifier.validation_scores_), classifier.best_loss_) == (5, None)
    assert classifier.set_params(early_stopping=False).fit(X, Y).validation_scores_ is None


def test_a_fit_of_few_samples_is_gone_on_with():
    few = slice(0, 150, 5)
    classifier = MLPClassifier((6,), max_iter=20, random_state=0).fit(X[few], Y[few])
    before = classifier.loss_
    for _ in range(50):
        classifier.partial_fit(X, Y)
    assert classifier.loss_ < before
    assert classifier.coefs_[0].dtype == np.float32


def test_passes_one_by_one_are_a_fit():
    options = {"solver": "adam", "shuffle": False, "random_state": 0, "batch_size": 50}
    single = MLPClassifier((6,), **options)
    for _ in range(7):
        single.partial_fit(X, Y, classes=[0, 1, 2])
    whole = MLPClassifier((6,), **options, max_iter=7).fit(X, Y)
    np.testing.assert_allclose(single.coefs_[0], whole.coefs_[0], atol=1e-6)
    assert (single.n_iter_, single.t_, len(single.loss_curve_)) == (1, 1050, 7)


def test_classes_may_come_one_batch_after_another():
    classifier = MLPClassifier(random_state=0, learning_rate_init=0.01)
    for _ in range(40):
        for rows in (slice(0, 50), slice(50, 100), slice(100, 150)):
            classifier.partial_fit(X[rows], Y[rows], classes=np.arange(3))
    assert classifier.score(X, Y) > 0.8


# Tools around estimators.


def test_a_search_gives_the_same_with_processes_and_threads():
    pipeline = make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=15, random_state=0))
    grid = {"mlpclassifier__alpha": [1e-4, 1.0], "mlpclassifier__activation": ["relu", "tanh"]}
    scores = []
    for backend, jobs in (("loky", 2), ("threading", 2), ("threading", 1)):
        with joblib.parallel_backend(backend):
            scores.append(GridSearchCV(pipeline, grid, cv=2, n_jobs=jobs).fit(X, Y).cv_results_["mean_test_score"])
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[1], scores[2])


@pytest.mark.parametrize(
    "estimator",
    [MLPClassifier(max_iter=3, early_stopping=True), NetClassifier(nn.Sequential(nn.Linear(4, 3)), max_iter=3)],
)
def test_a_fitted_estimator_survives_pickle_joblib_and_deepcopy(estimator):
    estimator.fit(X, Y)
    file = io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    for each in (pickle.loads(pickle.dumps(estimator)), joblib.load(file), copy.deepcopy(estimator)):
        np.testing.assert_array_equal(each.predict_proba(X), estimator.predict_proba(X))
        if not estimator.early_stopping:
            np.testing.assert_array_equal(
                each.partial_fit(X, Y).predict_proba(X), copy.deepcopy(estimator).partial_fit(X, Y).predict_proba(X)
            )


def test_the_same_random_state_gives_the_same_bits():
    one, other = (MLPClassifier(dropout=0.2, batch_size=32, max_iter=3, random_state=5).fit(X, Y) for _ in range(2))
    np.testing.assert_array_equal(one.coefs_[0], other.coefs_[0])
    third = MLPClassifier(dropout=0.2, batch_size=32, max_iter=3, random_state=6).fit(X, Y)
    assert (third.coefs_[0] != one.coefs_[0]).any()


def test_sparse_input_is_read_as_dense():
    sparse = scipy.sparse.csr_matrix(X)
    one, other = (MLPClassifier(max_iter=3, random_state=0).fit(x, Y) for x in (sparse, X))
    np.testing.assert_array_equal(one.predict_proba(sparse), other.predict_proba(X))


# Any model.


def test_a_network_for_images_is_searched_and_scored():
    x, y = images()
    net = NetClassifier(cnn, input_shape=(1, 8, 8), max_iter=30, learning_rate_init=0.02, batch_size=50, random_state=0)
    assert cross_val_score(make_pipeline(StandardScaler(), net), x, y, cv=2).min() > 0.75
    direct = clone(net).set_params(input_shape=None).fit(x.reshape(-1, 1, 8, 8), y)
    np.testing.assert_array_equal(direct.predict(x.reshape(-1, 1, 8, 8)), clone(net).fit(x, y).predict(x))


def test_the_callers_model_stays_as_it_is():
    model = nn.Sequential(nn.Linear(4, 8, rng=0), nn.ReLU(), nn.Linear(8, 3, rng=1))
    before = model.state_dict()
    net = NetClassifier(model, max_iter=20, learning_rate_init=0.02, random_state=0).fit(X, Y)
    assert net.score(X, Y) > 0.8
    assert all((model.state_dict()[name] == value).all() for name, value in before.items())
    assert net.model is model
    again = clone(net).fit(X, Y)
    np.testing.assert_array_equal(again.predict_proba(X), net.predict_proba(X))


def test_one_score_serves_for_two_classes():
    two = np.minimum(Y, 1)
    for outputs in (1, 2):
        net = NetClassifier(nn.Sequential(nn.Linear(4, outputs, rng=0)), learning_rate_init=0.05, random_state=0)
        assert net.fit(X, two).score(X, two) == 1
        assert net.predict_proba(X).shape == (150, 2)


# What cannot be done is said in one sentence.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "newton"}, "MLPClassifier: expected one of sgd, adam, rmsprop, lbfgs for solver, got 'newton'"),
        ({"hidden_layer_sizes": (5, 0)}, "hidden_layer_sizes must be > 0"),
        ({"activation": ["relu"] * 3}, "expected one activation for all or for each of 1 hidden layers"),
        ({"activation": "step"}, "expected one of identity, logistic, .* for activation, got 'step'"),
        ({"dropout": 1.0}, r"expected dropout in \[0, 1\), got 1.0"),
        ({"dropout": 0.5, "solver": "lbfgs"}, "expected no dropout with solver='lbfgs'"),
        ({"alpha": -1}, "expected a finite number >= 0 for alpha, got -1"),
        ({"loss": "hinge"}, "expected 'log_loss' or a fastdl.nn.Loss for loss, got 'hinge'"),
        ({"early_stopping": True, "validation_fraction": 0.001}, "The validation set is too small"),
        ({"learning_rate_init": 1e30, "solver": "sgd"}, "expected a loss and weights that stay finite"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**options).fit(X, Y)


def test_data_that_cannot_be_used_are_refused():
    classifier = MLPClassifier(max_iter=2)
    holed = X.copy()
    holed[3, 1] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        classifier.fit(holed, Y)
    with pytest.raises(ValueError, match="Input X contains infinity or a value too large for dtype"):
        classifier.fit(X.astype(np.float64) * 1e40, Y)
    with pytest.raises(ValueError, match="Unknown label type"):
        classifier.fit(X, X[:, 0])
    with pytest.raises(ValueError, match="at least one"):
        classifier.fit(X, Y, np.zeros(len(X)))
    with pytest.raises(ValueError, match="Negative values"):
        classifier.fit(X, Y, -np.ones(len(X)))
    with pytest.raises(ValueError, match="0 sample"):
        classifier.fit(X[:0], Y[:0])
    with pytest.raises(ValueError, match="expected class_weight=None for several labels a sample"):
        MLPClassifier(class_weight="balanced").fit(X, LABELS)
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        classifier.partial_fit(X, Y)
    with pytest.raises(ValueError, match="The validation set is too small"):
        MLPRegressor(early_stopping=True).fit(X[:9], Y[:9])
    with pytest.raises(AttributeError, match="partial_fit"):
        MLPClassifier(solver="lbfgs").partial_fit  # noqa: B018


def test_a_single_class_is_all_that_is_predicted():
    classifier = MLPClassifier(max_iter=2).fit(X, np.full(len(X), "only"))
    assert set(classifier.predict(X)) == {"only"}
    assert (classifier.predict_proba(X) == 1).all()


def test_models_that_do_not_fit_the_targets_are_refused():
    with pytest.raises(ValueError, match="NetClassifier: expected a model with 3 outputs, one a class, got 2"):
        NetClassifier(nn.Sequential(nn.Linear(4, 2))).fit(X, Y)
    with pytest.raises(ValueError, match="NetRegressor: expected a model with 1 outputs, as many as y has, got 2"):
        NetRegressor(nn.Sequential(nn.Linear(4, 2))).fit(X, X[:, 0])
    with pytest.raises(TypeError, match="expected a fastdl Module or a function that makes one for model, got 3"):
        NetClassifier(3).fit(X, Y)
    with pytest.raises(ValueError, match=r"expected samples of 9 numbers for input_shape=\(3, 3\), got 4"):
        NetClassifier(cnn, input_shape=(3, 3)).fit(X, Y)


def test_a_last_row_alone_is_left_out_where_batches_are_normalized():
    assert MLPClassifier(batch_norm=True, batch_size=149, max_iter=2).fit(X, Y).n_iter_ == 2


def test_the_penalty_of_large_and_small_weights_is_a_number():
    for size in (1.0, 3e19, 1e-25):
        weights = [nn.Parameter(np.full((2, 2), size, np.float32)), nn.Parameter(np.full((3, 4), size, np.float32))]
        assert penalty_of(weights) == pytest.approx(8 * size * size, rel=1e-6)
