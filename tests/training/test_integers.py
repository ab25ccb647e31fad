"""Integers and truth values as a model's one input: indices for a forward in NumPy, numbers for layers."""

from contextlib import nullcontext

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim

F32 = np.float32
IDS = np.array([3, 0, 6, 2, 5, 1])
GOALS = np.random.default_rng(0).standard_normal((6, 2)).astype(F32)


class Table(nn.Module):
    def __init__(self):
        self.table = nn.Parameter(np.arange(14, dtype=F32).reshape(7, 2))

    def forward(self, ids):
        return self.table[ids]


class Dense(nn.Module):
    def __init__(self):
        self.linear = nn.Linear(3, 2, rng=0)

    def forward(self, x):
        return self.linear(x)


class Parity(nn.Module):
    def __init__(self):
        self.w = nn.Parameter(np.ones(1, F32))

    def forward(self, n):
        return (n % 2) * self.w


class Chosen(nn.Module):
    def __init__(self):
        self.w = nn.Parameter(np.ones(1, F32))

    def forward(self, mask):
        return np.where(mask, self.w, -self.w)


def trainer(model):
    return Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))


def step(of, x, y):
    of.step(x, y)


def fit(of, x, y):
    of.fit(x, y, epochs=1, batch_size=len(x), shuffle=False)


def fit_batches(of, x, y):
    of.fit([(x, y)], epochs=1)


@pytest.mark.parametrize("in_python", [False, True], ids=["native", "eager"])
@pytest.mark.parametrize("way", [step, fit, fit_batches])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_a_table_learns_from_an_array_of_indices(dtype, way, in_python):
    alone, in_tuple = trainer(Table()), trainer(Table())
    with fastdl.eager() if in_python else nullcontext():
        way(alone, IDS.astype(dtype), GOALS)
        in_tuple.step((IDS,), GOALS)
    np.testing.assert_allclose(alone.model.table.data, in_tuple.model.table.data, rtol=1e-6)
    assert np.any(alone.model.table.data != Table().table.data)


def test_a_table_is_evaluated_and_predicts():
    of, wanted = trainer(Table()), Table().table.data[IDS]
    np.testing.assert_array_equal(of.predict(IDS, batch_size=4), wanted)
    assert of.evaluate(IDS, GOALS)["loss"] == pytest.approx(np.mean((wanted - GOALS) ** 2), rel=1e-6)
    history = of.fit(IDS, GOALS, epochs=1, batch_size=3, validation_data=(IDS, GOALS))
    assert np.isfinite(history["val_loss"]).all()


def test_a_sequence_that_begins_with_a_table_takes_them_too():
    model = nn.Sequential(nn.Sequential(Table()), nn.Linear(2, 1, rng=0))
    of = trainer(model)
    np.testing.assert_array_equal(of.predict(IDS), model(IDS))
    fit(of, IDS, GOALS[:, :1].copy())
    assert np.isfinite(of.step(IDS, GOALS[:, :1].copy()))


def test_large_indices_arrive_exactly():
    n = np.array([2**24, 2**24 + 1, 2**53 + 1])[:, None]
    of = trainer(Parity())
    np.testing.assert_array_equal(of.predict(n), [[0], [1], [1]])
    assert of.step(n, np.array([[0], [1], [1]], F32)) == 0


def test_truth_values_are_masks():
    mask = np.array([[True], [False]])
    of = trainer(Chosen())
    np.testing.assert_array_equal(of.predict(mask), [[1], [-1]])
    assert of.step(mask, np.array([[1], [-1]], F32)) == 0


@pytest.mark.parametrize("make", [Dense, lambda: nn.Sequential(nn.Linear(3, 2, rng=0))], ids=["in forward", "layers"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.bool_])
def test_layers_cast_integers_to_floats(make, dtype):
    x = np.random.default_rng(1).integers(0, 9, (6, 3)).astype(dtype)
    found = []
    for given in (x, x.astype(F32)):
        of = trainer(make())
        history = of.fit(given, GOALS, epochs=2, batch_size=4, seed=0)
        found.append([*history["loss"], of.step(given, GOALS), *of.predict(given).ravel()])
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_indices_in_a_file_stay_there(tmp_path):
    path = tmp_path / "ids.npy"
    np.save(path, IDS.astype(np.int32))
    found = []
    for ids in (np.load(path, mmap_mode="r"), IDS):
        of = trainer(Table())
        found.append([*of.fit(ids, GOALS, epochs=2, batch_size=4, seed=0)["loss"], *of.predict(ids, 4).ravel()])
    assert found[0] == found[1]


def test_an_index_beyond_int64_is_refused():
    with pytest.raises(ValueError, match=r"Trainer.fit: expected integers below 2\*\*63 in x, got 9223372036854775808"):
        fit(trainer(Table()), np.array([0, 2**63], np.uint64), GOALS[:2])
