"""Estimators round nothing in silence: targets, inputs, labels and masks."""

import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn.compose import TransformedTargetRegressor
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from fastdl.estimators import MLPClassifier, MLPRegressor, NetClassifier, NetRegressor

X = np.linspace(-1, 1, 1000)[:, None]
TIMES = 1.7e9 + np.arange(1000)


@pytest.mark.parametrize("make", [MLPRegressor, NetRegressor])
@pytest.mark.parametrize("transformer", [StandardScaler(), MinMaxScaler()])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_timestamps_as_targets_give_as_many_predictions(make, transformer, dtype):
    model = TransformedTargetRegressor(make(solver="lbfgs", max_iter=50, random_state=0), transformer=transformer)
    found = model.fit(X.astype(dtype), TIMES).predict(X.astype(dtype))
    assert len(set(found)) == 1000
    assert abs(found - TIMES).max() < 100


@pytest.mark.parametrize("make", [MLPRegressor, NetRegressor])
def test_targets_that_float32_does_not_distinguish_are_refused(make):
    for y in (TIMES, TIMES.astype(np.int64), np.column_stack([X[:, 0], TIMES])):
        with pytest.raises(
            ValueError, match=r"expected targets that float32 tells apart, got 1\.700001e\+09 and others .*scale y"
        ):
            make().fit(X, y)
    assert (
        make(max_iter=2, solver="lbfgs", tol=1e9).fit(X[:9], np.full(9, 2.0**24 + 1)).predict(X[:1]).dtype == np.float64
    )


@pytest.mark.parametrize("make", [MLPRegressor, MLPClassifier, NetRegressor, NetClassifier])
@pytest.mark.parametrize("kind", ["array", "list", "sparse", "frame"])
def test_integers_that_float32_would_round_are_refused_in_x(make, kind):
    x = np.array([[2**24, 1], [2**24 + 1, 2]] * 4)
    if kind == "list":
        x = x.tolist()
    elif kind == "sparse":
        x = pytest.importorskip("scipy.sparse").csr_matrix(x)
    elif kind == "frame":
        pandas = pytest.importorskip("pandas")
        x = pandas.DataFrame({"a": np.asarray(x)[:, 0], "b": np.linspace(0, 1, 8)})
    with pytest.raises(ValueError, match=r"expected integers that float32 holds exactly in X, got 16777217; scale X"):
        make().fit(x, [0, 1] * 4)
    fitted = make(max_iter=1, solver="lbfgs", tol=1e9).fit(np.ones((8, 2)), [0, 1] * 4)
    with pytest.raises(ValueError, match=r"expected integers that float32 holds exactly in X"):
        fitted.predict(np.asarray([[2**24 + 1, 0]]))


def test_large_integer_labels_stay_apart():
    y = np.array([2**53, 2**53 + 1, 2**53 + 2] * 4)
    x = np.array([[0.0, 1], [1, 0], [1, 1]] * 4)
    found = MLPClassifier(solver="lbfgs", random_state=0).fit(x, y)
    assert found.classes_.tolist() == [2**53, 2**53 + 1, 2**53 + 2]
    assert found.predict(x).tolist() == y.tolist()
    for classes, later in ((y, y.astype(np.uint64)), (y.astype(np.uint64), y)):
        online = MLPClassifier(random_state=0, learning_rate_init=0.1)
        online.partial_fit(x, classes, classes=np.unique(classes))
        for _ in range(60):
            online.partial_fit(x, later)
        assert [int(each) for each in online.predict(x)] == y.tolist()
        with pytest.raises(ValueError, match="classes"):
            online.partial_fit(x, later + later.dtype.type(1))


@pytest.mark.parametrize("make", [MLPRegressor, NetClassifier])
def test_a_mask_is_never_dropped(make):
    x, y = np.ones((8, 2)), np.array([0, 1] * 4)
    masked = np.ma.masked_array(x, x > 2), np.ma.masked_array(y, y == 1)
    fitted = make(max_iter=1, solver="lbfgs", tol=1e9).fit(x, y)
    for name, call in (
        ("X", lambda: make().fit(masked[0], y)),
        ("y", lambda: make().fit(x, masked[1])),
        ("sample_weight", lambda: make().fit(x, y, sample_weight=masked[1])),
        ("X", lambda: make().partial_fit(masked[0], y, **({"classes": [0, 1]} if make is NetClassifier else {}))),
        ("X", lambda: fitted.predict(masked[0])),
    ):
        with pytest.raises(TypeError, match=f"expected an array without a mask for {name}, got a masked one"):
            call()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_labels_beyond_the_dtype_of_the_classes_are_none_of_them(dtype):
    X, y = np.random.default_rng(0).standard_normal((20, 3)), np.arange(20).astype(dtype) % 2
    model = MLPClassifier(max_iter=1, random_state=0).fit(X, y)
    assert model.classes_.dtype == dtype
    assert model.score(X, model.predict(X).astype(np.int64)) == 1
    assert model.score(X, model.predict(X).astype(np.int64) + 256) == 0
    with pytest.raises(ValueError, match="classes"):
        model.partial_fit(X, y.astype(np.int64) + 256)
