"""Odd data and odd arguments: what scikit-learn's perceptrons take is taken, the rest refused in one sentence."""

import inspect

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (the sklearn extra)")

import joblib
import scipy.sparse
from sklearn import neural_network as theirs
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.model_selection import cross_val_predict

from fastdl import callbacks, nn
from fastdl import estimators as ours
from fastdl.estimators import MLPClassifier, MLPRegressor, NetClassifier

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 4)).astype(np.float32)
Y = RNG.integers(0, 3, 120)
LABELS = RNG.integers(0, 2, (120, 3))
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def classifier(**options):
    return MLPClassifier((5,), max_iter=3, random_state=0, **options)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


ARRAYS = {
    "Fortran order": np.asfortranarray,
    "reversed": lambda array: array[::-1].copy()[::-1],
    "read-only": read_only,
    "big-endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "columns of more": lambda array: np.hstack([array, array])[:, : array.shape[1]],
    "objects": lambda array: array.astype(object),
    "float128": lambda array: array.astype(np.longdouble),
    "a list": lambda array: array.tolist(),
    "csc": scipy.sparse.csc_matrix,
    "dok": scipy.sparse.dok_matrix,
}


@pytest.mark.parametrize("made", ARRAYS.values(), ids=ARRAYS)
def test_arrays_of_any_kind_give_the_same(made):
    fitted = classifier().fit(X, Y).predict_proba(X)
    np.testing.assert_array_equal(classifier().fit(made(X), Y).predict_proba(made(X)), fitted)
    regressor = MLPRegressor(hidden_layer_sizes=(5,), max_iter=3, random_state=0)
    np.testing.assert_array_equal(
        regressor.fit(made(X), X[:, 0]).predict(made(X)), regressor.fit(X, X[:, 0]).predict(X)
    )


def test_half_precision_is_read():
    half = X.astype(np.float16)
    one, other = (classifier().fit(x, Y).predict_proba(x) for x in (half, half.astype(np.float32)))
    np.testing.assert_array_equal(one, other)


def test_memory_maps_are_fitted_in_threads(tmp_path):
    joblib.dump(X, tmp_path / "x")
    mapped = joblib.load(tmp_path / "x", mmap_mode="r")
    fits = joblib.Parallel(2, backend="threading")(joblib.delayed(classifier().fit)(mapped, Y) for _ in range(4))
    for each in fits:
        np.testing.assert_array_equal(each.predict_proba(mapped), fits[0].predict_proba(X))


LABELLED = {
    "strings": np.array(["x", "yy", "z"])[Y],
    "objects": np.array(["x", "yy", "z"], object)[Y],
    "booleans": Y > 0,
    "floats": Y * 2.0,
    "negative": -Y,
    "bytes of a number": Y.astype(np.uint8),
    "dates": np.array(["2020-01-01", "2021-01-01", "2022-01-01"], "M8[D]")[Y],
    "very many": np.arange(120) // 2,
}


@pytest.mark.parametrize("y", LABELLED.values(), ids=LABELLED)
def test_classes_of_any_kind_are_predicted_as_they_came(y):
    fitted = classifier().fit(X, y)
    assert fitted.classes_.tolist() == np.unique(y).tolist()
    assert fitted.predict(X).dtype == y.dtype
    assert np.isin(fitted.predict(X), y).all()


def test_data_frames_and_nullable_columns_are_read():
    pandas = pytest.importorskip("pandas")
    frame, names = pandas.DataFrame(X, columns=list("abcd")), pandas.Series(LABELLED["strings"])
    fitted = classifier().fit(frame, names)
    assert fitted.feature_names_in_.tolist() == list("abcd")
    for y in (names.astype("category"), names.astype("string"), names.to_frame().iloc[:, 0]):
        np.testing.assert_array_equal(classifier().fit(frame, y).predict(frame), fitted.predict(frame))
    nullable = frame.astype("Float64")
    np.testing.assert_array_equal(classifier().fit(nullable, names).predict(nullable), fitted.predict(frame))
    with pytest.raises(ValueError, match="The feature names should match"):
        fitted.predict(frame[list("dcba")])
    with pytest.raises(ValueError, match="could not convert string to float: 'q'"):
        classifier().fit(frame.assign(e="q"), names)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        classifier().fit(nullable.where(frame > -1), names)
    with pytest.raises(ValueError, match="Input y contains NaN"):
        classifier().fit(frame, pandas.Series(Y, dtype="Int64").where(Y > 0))


@pytest.mark.parametrize("made", [scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.coo_matrix])
def test_sparse_labels_are_predicted_sparse(made):
    fitted = classifier().fit(X, made(LABELS))
    assert scipy.sparse.issparse(fitted.predict(X))
    dense = classifier().fit(X, LABELS)
    np.testing.assert_array_equal(fitted.predict(X).toarray(), dense.predict(X))
    assert fitted.score(X, made(LABELS).tocsr()) == dense.score(X, LABELS)
    assert scipy.sparse.issparse(classifier().partial_fit(X, made(LABELS), classes=[0, 1, 2]).predict(X))


ODD = {
    "no rows": (X[:0], Y[:0], "0 sample"),
    "no columns": (X[:, :0], Y, "0 feature"),
    "complex X": (X + 1j, Y, "Complex data not supported"),
    "complex y": (X, Y + 1j, "Complex data not supported"),
    "NaN in y": (X, np.where(Y, Y, np.nan), "Input y contains NaN"),
    "fractions": (X, Y / 2, "Unknown label type: continuous"),
    "several classes": (X, 2 * LABELS + Y[:, None], "expected one class a sample or a matrix of 0 and 1, got several"),
    "labels of 1 and 2": (X, LABELS + 1, r"expected a matrix of 0 and 1 for several labels a sample, got \[1, 2\]"),
    "no y": (X, None, "requires y to be passed"),
    "strings": (np.full((120, 4), "a"), Y, "expected numbers for X, got dtype <U1; write X.astype"),
    "numbers in strings": (X.astype(str), Y, r"expected numbers for X, got dtype <U\d+; write X.astype\(float\)"),
    "dates": (X.astype("M8[s]"), Y, r"expected numbers for X, got dtype datetime64\[s\]; write X.astype\(float\)"),
    "durations": (X.astype("m8[s]"), Y, r"expected numbers for X, got dtype timedelta64\[s\]; write X.astype"),
    "numbers as objects": (
        X,
        Y.astype(object),
        "Unknown label type: expected numbers, booleans or strings for y, got ",
    ),
    "objects of several kinds": (
        X,
        np.array([1, "a", None] * 40, object),
        "for y, got objects of NoneType, int, str; wri",
    ),
}


@pytest.mark.parametrize("case", ODD.values(), ids=ODD)
def test_data_of_no_use_are_refused(case):
    x, y, message = case
    with pytest.raises(ValueError, match=message):
        classifier().fit(x, y)


def test_what_is_predicted_is_looked_through_like_what_is_fitted():
    fitted = classifier().fit(X, Y)
    for x, message in ((X.astype(str), "expected numbers for X"), (X[:, :2], "X has 2 features, but MLPClassifier is")):
        with pytest.raises(ValueError, match=message):
            fitted.predict(x)


@pytest.mark.parametrize("name", ["strings", "dates"])
def test_a_regressor_refuses_what_is_no_number(name):
    with pytest.raises(ValueError, match=r"expected numbers for y, got dtype (<U2|datetime64\[D\])"):
        MLPRegressor().fit(X, LABELLED[name])


@pytest.mark.parametrize("weight", [1e-320, 1e308])
def test_weights_that_float32_cannot_hold_are_refused(weight):
    with pytest.raises(ValueError, match=r"expected weights whose mean float32 can hold, got .*; scale them"):
        classifier().fit(X, Y, np.full(120, weight))


def test_weights_of_which_one_part_has_none_are_refused():
    weights = np.ones(120)
    weights[20:] = 0
    with pytest.raises(
        ValueError, match=r"expected a weight above 0 among the samples to train on and among those that"
    ):
        classifier(early_stopping=True, validation_fraction=0.02).fit(X, Y, weights)
    assert classifier(early_stopping=True, validation_fraction=0.3).fit(X, Y, weights).n_iter_ == 3


@pytest.mark.parametrize("class_weight", ["balanced", {7: 3.0}])
def test_a_single_class_may_have_a_weight(class_weight):
    assert (classifier(class_weight=class_weight).fit(X, np.full(120, 7)).predict(X) == 7).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"verbose": "loud"}, "expected an integer >= 0 for verbose, got 'loud'"),
        ({"validation_fraction": 1.0}, "expected a number below 1 for validation_fraction, got 1"),
        ({"beta_1": 1.0}, "expected a number below 1 for beta_1, got 1"),
        ({"beta_2": 1}, "expected a number below 1 for beta_2, got 1"),
        (
            {"callbacks": iter([callbacks.EarlyStopping()])},
            "expected a list of fastdl callbacks or None for callbacks, got",
        ),
        ({"n_iter_no_change": np.nan}, "expected a positive integer for n_iter_no_change, got nan"),
        ({"dropout": None}, "expected a number for dropout, got None"),
    ],
)
def test_arguments_of_no_use_are_refused(options, message):
    with pytest.raises((TypeError, ValueError), match=f"MLPClassifier: {message}"):
        classifier(**options).fit(X, Y)


@pytest.mark.parametrize("classes", [[0, "a", None], [[0, 1, 2]], "abc"])
def test_classes_of_no_use_are_refused(classes):
    with pytest.raises(ValueError, match=r"(Unknown label type|Expected array-like|Mix of label)"):
        classifier().partial_fit(X, Y, classes=classes)


def test_a_function_that_needs_more_than_it_is_given_is_refused():
    with pytest.raises(
        TypeError, match="expected a function of n_features, n_outputs and rng for model, got one that nee"
    ):
        NetClassifier(nn.Linear).fit(X, Y)
    with pytest.raises(TypeError, match="expected a fastdl Module from the function model, got dict"):
        NetClassifier(dict).fit(X, Y)
    assert NetClassifier(lambda *_, n_outputs, **more: nn.Linear(4, n_outputs), max_iter=2).fit(X, Y).n_iter_ == 2


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict", "score"])
def test_methods_take_their_arguments_in_their_places(kind, method):
    if "sample_weight" not in inspect.signature(theirs.MLPClassifier.fit).parameters:
        pytest.skip("this scikit-learn's perceptrons take no weights")
    their, our = (
        list(inspect.signature(getattr(getattr(module, kind), method)).parameters) for module in (theirs, ours)
    )
    assert our == their


def test_ensembles_take_them_as_parts():
    y = LABELLED["strings"]
    for whole in (
        CalibratedClassifierCV(classifier(), cv=2),
        VotingClassifier([("a", classifier()), ("b", classifier(solver="sgd"))], voting="soft"),
        StackingClassifier([("a", classifier())], classifier(), cv=2),
    ):
        assert whole.fit(X, y).predict_proba(X).shape == (120, 3)
    assert cross_val_predict(classifier(), X, y, cv=2, method="predict_proba").shape == (120, 3)
