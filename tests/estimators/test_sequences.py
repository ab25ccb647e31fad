"""Fits and passes in a row do what scikit-learn's do: which data they take, what they count, what they forget."""

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (the sklearn extra)")

from sklearn import neural_network as theirs

from fastdl import estimators as ours

X = np.random.default_rng(0).normal(size=(60, 4))
Y = np.arange(60) % 3
LABELS = np.stack([Y == 0, Y == 1, Y == 2], axis=1).astype(int)
DATA = {
    "three classes": (X, Y),
    "fewer": (X[Y < 2], Y[Y < 2]),
    "more": (X, np.arange(60) % 4),
    "others": (X, Y + 1),
    "strings": (X, np.array(["a", "b", "c"])[Y]),
    "as floats": (X, Y * 1.0),
    "booleans": (X, Y > 0),
    "another order": (X[::-1], Y[::-1]),
    "fewer features": (X[:, :3], Y),
    "labels": (X, LABELS),
    "fewer labels": (X, LABELS[:, :2]),
}
CLASSES = ([0, 1, 2], [2, 1, 0], [0, 1], [0, 1, 2, 3], [0.0, 1.0, 2.0], ["a", "b", "c"], None)


def steps(kind, options, *calls):
    """What each call led to, until one raises."""
    estimator, found = kind((3,), max_iter=2, random_state=0, **options), []
    for method, name, *classes in calls:
        x, y = DATA[name]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                getattr(estimator, method)(x, y, **({"classes": classes[0]} if classes else {}))
        except ValueError:
            return [*found, "refused"]
        counts = estimator.n_iter_, estimator.t_, len(getattr(estimator, "loss_curve_", []))
        shapes = estimator.n_features_in_, estimator.n_outputs_, estimator.out_activation_
        classes = estimator.classes_.dtype.kind, estimator.classes_.tolist()
        found.append((counts, shapes, classes, estimator.predict(x[:1]).shape, estimator.predict(x).dtype.kind))
    return found


def both(options, *calls):
    return [steps(library.MLPClassifier, options, *calls) for library in (theirs, ours)]


# scikit-learn reads classes as labels after a fit of labels, and counts labels by `classes`.
FIRST = "three classes", "strings", "labels"
PAIRS = [(a, b) for a in FIRST for b in DATA if ("label" in a) <= ("label" in b)]


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_two_fits_or_passes_are_taken_or_refused_as_theirs(first, second, warm_start):
    options = {"warm_start": warm_start}
    known = np.unique(DATA[first][1]) if "label" not in first else np.arange(DATA[first][1].shape[1])
    for begin in (("fit", first), ("partial_fit", first, known)):
        for then in ("fit", "partial_fit"):
            their, our = both(options, begin, (then, second))
            assert our == their
    their, our = both({**options, "solver": "lbfgs"}, ("fit", first), ("fit", second))
    assert our == their


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("classes", CLASSES, ids=str)
@pytest.mark.parametrize("name", ["three classes", "fewer", "strings"])
def test_classes_of_passes_are_taken_or_refused_as_theirs(name, classes, warm_start):
    options = {"warm_start": warm_start}
    their, our = both(options, ("partial_fit", name, classes), ("partial_fit", name, classes), ("partial_fit", "fewer"))
    assert our == their
    their, our = both(options, ("fit", name), ("partial_fit", name, classes))
    assert our == their


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            "fewer",
            r"expected y with the classes of before, \[0, 1, 2\], got \[0, 1\]; write warm_start=False for a new",
        ),
        ("more", r"expected y with the classes of before, \[0, 1, 2\], got \[0, 1, 2, 3\]; write warm_start=False"),
        ("others", r"expected y with the classes of before, \[0, 1, 2\], got \[1, 2, 3\]; write warm_start=False"),
        ("strings", r"expected y with the classes of before, \[0, 1, 2\], got \['a', 'b', 'c'\]; write warm_start"),
        ("fewer features", "X has 3 features, but MLPClassifier is expecting 4 features as input"),
    ],
)
def test_a_warm_fit_says_what_it_goes_on_from(second, message):
    classifier = ours.MLPClassifier((3,), max_iter=2, warm_start=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = classifier.fit(X, Y).predict_proba(X)
    with pytest.raises(ValueError, match=message):
        classifier.fit(*DATA[second])
    np.testing.assert_array_equal(classifier.predict_proba(X), before)


def test_many_classes_are_not_all_listed():
    classifier = ours.MLPClassifier((3,), warm_start=True).partial_fit(X, np.arange(60), classes=np.arange(60))
    with pytest.raises(ValueError, match=r"of before, \[0, 1, 2, 3, 4, 5, \.\.\.\], got \[1, 2, 3, 4, 5, 6, \.\.\.\];"):
        classifier.partial_fit(X, np.arange(60) + 1)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("warm_start", [False, True])
def test_a_regressor_counts_as_theirs(warm_start, solver):
    found = []
    for library in (theirs, ours):
        regressor = library.MLPRegressor(
            hidden_layer_sizes=(3,), max_iter=3, random_state=0, warm_start=warm_start, solver=solver
        )
        for method in (
            ("fit", "fit") if solver == "lbfgs" else ("partial_fit", "partial_fit", "fit", "partial_fit", "fit")
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                getattr(regressor, method)(X, X[:, 0])
            found.append((regressor.n_iter_, regressor.t_, len(getattr(regressor, "loss_curve_", []))))
    assert found[len(found) // 2 :] == found[: len(found) // 2]


def test_a_cold_fit_takes_other_features_and_classes():
    classifier = ours.MLPClassifier((3,), max_iter=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier.fit(X, Y).fit(X[:, :2], np.array(["a", "b"])[Y % 2])
        fresh = ours.MLPClassifier((3,), max_iter=2, random_state=0).fit(X[:, :2], np.array(["a", "b"])[Y % 2])
    np.testing.assert_array_equal(classifier.predict_proba(X[:, :2]), fresh.predict_proba(X[:, :2]))
    assert (classifier.n_features_in_, classifier.n_outputs_, classifier.t_) == (2, 1, 120)
