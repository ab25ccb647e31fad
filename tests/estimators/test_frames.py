"""Frames, series and lists are taken, warned of and refused as scikit-learn's perceptrons do."""

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (the sklearn extra)")
pytest.importorskip("pandas", reason="pandas is not installed")

import pandas
from sklearn import neural_network as theirs
from sklearn.exceptions import ConvergenceWarning

from fastdl import estimators as ours

X = np.random.default_rng(0).normal(size=(40, 3))
Y = np.arange(40) % 2
NAMED = pandas.DataFrame(X, columns=["a", "b", "c"])
HOLED = np.where(np.arange(120).reshape(40, 3) == 4, np.nan, X)
# X, y and what is predicted for.
CLASSES = {
    "a frame": (NAMED, Y, NAMED),
    "a frame and a series": (NAMED, pandas.Series(Y), NAMED),
    "a frame of one column for y": (NAMED, pandas.DataFrame({"y": Y}), NAMED),
    "a frame, then an array": (NAMED, Y, X),
    "an array, then a frame": (X, Y, NAMED),
    "columns in another order": (NAMED, Y, NAMED[["c", "b", "a"]]),
    "a missing column": (NAMED, Y, NAMED[["a", "b"]]),
    "another name": (NAMED, Y, NAMED.rename(columns={"a": "z"})),
    "numbers for names": (pandas.DataFrame(X), Y, X),
    "names of two kinds": (pandas.DataFrame(X, columns=["a", 1, "c"]), Y, X),
    "an index": (NAMED.set_index(np.arange(40)[::-1]), pandas.Series(Y, index=np.arange(40)[::-1]), NAMED),
    "booleans": (X, Y > 0, X),
    "a series of booleans": (NAMED, pandas.Series(Y > 0), NAMED),
    "nullable booleans": (NAMED, pandas.Series(Y > 0, dtype="boolean"), NAMED),
    "categories": (NAMED, pandas.Series(Y).astype("category"), NAMED),
    "objects": (X, Y.astype(object), X),
    "lists": (X.tolist(), Y.tolist(), X.tolist()),
    "lists of several lengths": ([[1, 2], [3]], [0, 1], X),
    "a column for y": (X, Y[:, None], X),
    "one feature": (X[:, :1], Y, X[:, :1]),
    "one dimension": (X[:, 0], Y, X),
    "three dimensions": (X[None], Y, X),
    "a number": (3.0, Y, X),
    "one sample": (X[:1], Y[:1], X[:1]),
    "NaN": (HOLED, Y, X),
    "NaN to predict for": (X, Y, HOLED),
    "NaN in y": (X, np.where(Y, np.nan, 0), X),
    "another length": (X, Y[:-1], X),
    "integers": ((10 * X).astype(int), Y, (10 * X).astype(int)),
    "booleans for X": (X > 0, Y, X > 0),
    "one class": (X, np.zeros(40, int), X),
}
NUMBERS = {
    "a frame and a series": (NAMED, pandas.Series(X[:, 0]), NAMED),
    "two columns": (NAMED, NAMED[["a", "b"]], NAMED),
    "a column for y": (X, X[:, :1], X),
    "objects": (X, X[:, 0].astype(object), X),
    "lists": (X.tolist(), X[:, 0].tolist(), X.tolist()),
    "booleans": (X, Y > 0, X),
    "one sample": (X[:1], X[:1, 0], X[:1]),
    "NaN in y": (X, np.where(Y, np.nan, 1.0), X),
    "infinite y": (X, np.where(Y, np.inf, 1.0), X),
    "nothing for y": (X, None, X),
}
CASES = [("MLPClassifier", name) for name in CLASSES] + [("MLPRegressor", name) for name in NUMBERS]


def outcome(library, kind, x, y, asked):
    """What was predicted, the names of columns, the warnings; or the error."""
    estimator = getattr(library, kind)(hidden_layer_sizes=(3,), max_iter=2, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            predicted = estimator.fit(x, y).predict(asked)
        except (ValueError, TypeError) as error:
            return type(error), str(error).split("\n")[0].split("(array")[0][-40:] if "label" not in str(error) else ""
    warned = [(each.category, str(each.message)) for each in caught if each.category is not ConvergenceWarning]
    names = list(getattr(estimator, "feature_names_in_", []))
    return type(predicted), predicted.shape, predicted.dtype.kind, names, estimator.n_features_in_, warned


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_data_are_taken_or_refused_as_theirs(kind, name):
    case = (CLASSES if kind == "MLPClassifier" else NUMBERS)[name]
    assert outcome(ours, kind, *case) == outcome(theirs, kind, *case)
