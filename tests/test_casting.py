"""Casts: values as astype gives them, in silence, and integers that a float dtype rounds are found."""

import numpy as np
import pytest

from fastdl import Trainer, data, nn, optim
from fastdl.casting import cast, cast_into, first_rounded
from fastdl.training.inference import predict

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
SIGNALLING = np.array([0x7F800001, 0x7FC00000, 0xFF800001], np.uint32).view(np.float32)
SIGNALLING_64 = np.array([0x7FF0000000000001, 0x7FF8000000000000], np.uint64).view(np.float64)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (SIGNALLING, np.float64),
        (SIGNALLING_64, np.float32),
        (np.array([1e39, -1e39, 1e-320, 1.5]), np.float32),
        (np.array([2**63], np.uint64), np.float32),
    ],
)
def test_a_cast_is_silent_whatever_the_values(values, dtype):
    with np.errstate(all="ignore"):
        want = values.astype(dtype)
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(cast(values, dtype), want)
        into = np.empty(values.shape, dtype)
        cast_into(into, values)
    np.testing.assert_array_equal(into, want)


@pytest.mark.parametrize("values", [SIGNALLING_64, np.array([1e39, np.inf])])
def test_data_that_are_not_finite_are_reported_in_our_words(values, tmp_path):
    model = nn.Linear(1, 1)
    x, y = values.reshape(-1, 1), np.zeros((2, 1))
    np.savez(tmp_path / "set.npz", x=x, y=y)
    np.save(tmp_path / "x.npy", x)
    fit = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1)).fit
    with np.errstate(all="raise"):
        for call in (
            lambda: predict(model, x),
            lambda: fit(x, y, epochs=1, batch_size=1),
            lambda: fit(y, x, epochs=1, batch_size=1),
            lambda: fit([(x, y)], epochs=1),
            lambda: data.load_data(tmp_path / "set.npz"),
            lambda: data.load_inputs(tmp_path / "x.npy"),
            lambda: predict(model, np.load(tmp_path / "x.npy", mmap_mode="r")),
        ):
            with pytest.raises(ValueError, match="expected finite values"):
                call()


def test_values_that_a_parameter_cannot_hold_change_nothing():
    layer = nn.Linear(2, 1, rng=0)
    before = layer.state_dict()
    with np.errstate(all="raise"):
        with pytest.raises(ValueError, match="expected values that float32 can hold, got larger ones"):
            layer.weight.data = [[1e39, 1.0]]
        with pytest.raises(ValueError, match="expected values that float32 can hold"):
            layer.load_state_dict({"weight": np.full((1, 2), 1e39), "bias": np.zeros(1)})
        layer.bias.data = SIGNALLING_64[:1]
    assert (layer.weight.data == before["weight"]).all()
    with np.errstate(all="raise"):
        assert np.isinf(nn.Linear(2, 1, dtype=np.float64).astype(np.float64).astype(np.float32).weight.data).sum() == 0


def test_a_parameter_takes_infinities():
    layer, values = nn.Linear(2, 1), np.array([[np.inf, -np.inf]])
    layer.weight.data = values
    assert (layer.weight.data == values).all()
    layer.load_state_dict({"weight": -values, "bias": [np.inf]})
    assert (layer.weight.data == -values).all()


@pytest.mark.parametrize(
    ("values", "dtype", "place"),
    [
        ([0, 2**24, 2**24 + 1], F32, 2),
        ([2**24, 2**25, -(2**25)], F32, None),
        ([-(2**24) - 1], F32, 0),
        ([[1, 2], [3, 2**40 + 1]], F32, 3),
        ([2**53, 2**53 + 1], F64, 1),
        ([2**63 - 1], F64, 0),
        ([2**62, -(2**63)], F32, None),
        ([1.5, 2.0**24 + 2], F32, None),
        ([], F32, None),
    ],
)
def test_an_integer_that_would_be_rounded_is_found(values, dtype, place):
    array = np.array(values, None if values and not np.issubdtype(np.array(values).dtype, np.integer) else np.int64)
    assert first_rounded(array, dtype) == place
    assert first_rounded(np.array([2**64 - 1, 0], np.uint64), dtype) == 0
    assert first_rounded(np.array([255], np.uint8), dtype) is None


def test_where_long_doubles_are_doubles_the_same_integers_are_found():
    from fastdl.casting import _differs

    values = np.array([0, 2**24 + 1, 2**25, -(2**24) - 1, 2**63 - 1, -(2**63)])
    assert _differs(values, F32).tolist() == [False, True, False, True, True, False]
