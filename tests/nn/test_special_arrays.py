"""Masked, sparse and integer arrays: refused in one sentence wherever something would be lost in silence."""

import numpy as np
import pytest

from fastdl import Trainer, data, metrics, nn, optim
from fastdl.nn import Parameter
from fastdl.training.inference import predict

X, Y = np.linspace(-1, 1, 24, dtype=np.float32).reshape(8, 3), np.arange(8) % 3
MASKED, MASKED_Y = np.ma.masked_array(X, X > 0), np.ma.masked_array(Y, Y == 1)


def trainer(criterion=None, outputs=3):
    model = nn.Linear(3, outputs, rng=0)
    return Trainer(model, criterion or nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))


MEETINGS = {
    "layer": lambda x, y: nn.Linear(3, 2)(x),
    "activation": lambda x, y: nn.ReLU()(x),
    "own activation": lambda x, y: nn.Activation(np.sin, np.cos)(x),
    "container": lambda x, y: [nn.Sequential(nn.Linear(3, 2), nn.ReLU())(each) for each in (X, X, X, X, x)],
    "gradient": lambda x, y: [(layer := nn.ReLU())(X), layer.backward(x)],
    "fit": lambda x, y: trainer().fit(x, Y, epochs=1, batch_size=4),
    "fit targets": lambda x, y: trainer().fit(X, y, epochs=1, batch_size=4),
    "fit batches": lambda x, y: trainer().fit([(x, Y)], epochs=1),
    "fit rows": lambda x, y: trainer().fit(list(x), Y, epochs=1, batch_size=4),
    "validation": lambda x, y: trainer().fit(X, Y, epochs=1, batch_size=4, validation_data=(x, Y)),
    "evaluate": lambda x, y: trainer().evaluate(X, y),
    "predict": lambda x, y: predict(nn.Linear(3, 2), x),
    "MSELoss output": lambda x, y: nn.MSELoss()(x, X),
    "MSELoss target": lambda x, y: nn.MSELoss()(X, x),
    "CrossEntropyLoss": lambda x, y: nn.CrossEntropyLoss()(X, y),
    "CrossEntropyLoss probabilities": lambda x, y: nn.CrossEntropyLoss()(X, x),
    "NLLLoss": lambda x, y: nn.NLLLoss()(X, y),
    "class weights": lambda x, y: nn.CrossEntropyLoss(weight=x[:, 0]),
    "accuracy": lambda x, y: metrics.accuracy(X, y),
    "r2_score": lambda x, y: metrics.r2_score(x, X),
    "standardize": lambda x, y: data.standardize(x),
    "split": lambda x, y: data.split(X, y),
    "batches": lambda x, y: data.batches(x, Y, 2),
    "one_hot": lambda x, y: data.one_hot(y),
    "Dataset": lambda x, y: data.Dataset(X, y),
    "Noise": lambda x, y: data.Noise(0.1)(x, 0),
    "Parameter": lambda x, y: Parameter(x),
    "values of a parameter": lambda x, y: setattr(Parameter(X), "data", x),
    "state": lambda x, y: nn.Linear(3, 8).load_state_dict({"weight": x, "bias": np.zeros(8)}),
}


@pytest.mark.parametrize("name", MEETINGS)
def test_a_mask_is_never_dropped(name):
    with pytest.raises(TypeError, match=r"expected an array without a mask for .*, got a masked one; write .*filled"):
        MEETINGS[name](MASKED, MASKED_Y)


@pytest.mark.parametrize(
    "name", ["layer", "fit", "fit targets", "predict", "MSELoss target", "accuracy", "standardize"]
)
def test_a_sparse_matrix_is_named_as_such(name):
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"expected an array for \w+, got a sparse \w+; write \w+\.toarray\(\)"):
        MEETINGS[name](sparse.csr_matrix(X), sparse.coo_array(Y.reshape(-1, 1)))


@pytest.mark.parametrize("kind", [np.array, list])
def test_an_index_that_int64_cannot_hold_is_refused(kind):
    y = np.array([0, 1, 2, 0, 1, 2, 0, 2**64 - 100], np.uint64)
    y = kind(y) if kind is list else y
    with pytest.raises(
        ValueError,
        match=r"^Trainer\.fit: expected class indices below 2\*\*63 in y, got 18446744073709551516 \(first in row 7",
    ):
        trainer().fit(X, y, epochs=1, batch_size=4)
    with pytest.raises(ValueError, match=r"expected class indices"):
        nn.CrossEntropyLoss()(X, y)
    with pytest.raises(ValueError, match=r"expected class indices"):
        metrics.accuracy(X, np.asarray(y))


def test_integers_that_the_weights_dtype_would_round_are_refused():
    x = np.array([[2**24, 0, 1], [2**24 + 1, 0, 1]])
    for call in (
        lambda: predict(nn.Linear(3, 2), x),
        lambda: trainer().fit(x, [0, 1], epochs=1, batch_size=1),
        lambda: trainer().evaluate(x.tolist(), [0, 1]),
    ):
        with pytest.raises(
            ValueError, match=r"expected integers that float32 holds exactly in x, got 16777217 \(first in row 1"
        ):
            call()
    assert predict(nn.Linear(3, 2), x[:1] * 2).shape == (1, 2)
    assert predict(nn.Linear(3, 2, dtype=np.float64), x).shape == (2, 2)
    with pytest.raises(ValueError, match="float64 holds exactly in x, got 9007199254740993"):
        predict(nn.Linear(1, 2, dtype=np.float64), [[2**53 + 1]])


def test_a_large_label_is_no_number_of_classes():
    with pytest.raises(
        ValueError, match=r"^one_hot: expected labels below 65536 without classes, got 9007199254740993"
    ):
        data.one_hot([0, 2**53 + 1])
    assert data.one_hot([65535]).shape == (1, 65536)
    assert data.one_hot([2, 70000], classes=70001).shape == (2, 70001)


class Own(nn.Module):
    """A model in Python that returns a given value."""

    def __init__(self, returned):
        self.body, self.returned = nn.Linear(3, 3, rng=0), returned

    def forward(self, x):
        return self.returned(self.body(x))

    def backward(self, gradient):
        return self.body.backward(gradient.astype(np.float32))


@pytest.mark.parametrize("returned", [lambda y: [y], lambda y: print, lambda y: None])
def test_a_model_that_returns_no_array_is_named(returned):
    model = Own(returned)
    fit = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1)).fit
    for call in (lambda: fit(X, X, epochs=1, batch_size=4), lambda: predict(model, X)):
        with pytest.raises(
            TypeError, match=r"^expected Own\.forward to return an array, or a tuple or dictionary of them, got \w+$"
        ):
            call()


def test_a_model_that_returns_another_dtype_is_blamed_and_not_the_target():
    model = Own(lambda y: y.astype(np.float64))
    mean_square = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
    wanted = (
        r"expected Own\.forward to return float32, the dtype of the weights, got float64; write \.astype\(x\.dtype\)"
    )
    with pytest.raises(TypeError, match=wanted):
        mean_square.fit(X, X, epochs=1, batch_size=4)
    with pytest.raises(TypeError, match=wanted):
        mean_square.evaluate(X, X)
    classes = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    assert len(classes.fit(X, Y, epochs=1, batch_size=4)) == 1


def test_the_argument_that_is_wrong_is_named():
    with pytest.raises(TypeError, match=r"^MSELoss\(\): .* for target, got int64; write target\.astype\(np\.float32\)"):
        trainer(nn.MSELoss(), 1).fit(X, np.arange(8)[:, None], epochs=1, batch_size=4)
    with pytest.raises(TypeError, match=r"for output, got int64; write output\.astype"):
        nn.MSELoss()(X.astype(int), X)
    with pytest.raises(TypeError, match=r"for target, got list; write np\.asarray\(target, dtype=np\.float32\)"):
        nn.MSELoss()(X, X.tolist())
    with pytest.raises(TypeError, match=r"^Linear\.forward: expected inputs for its arguments \(x\), got 2"):
        trainer().fit((X, X), Y, epochs=1, batch_size=4)
