"""Arrays in files: fit, evaluate and predict read them a few rows at a time, and give what arrays in memory give."""

import mmap
import tracemalloc

import numpy as np
import pytest

from fastdl import Trainer, data, nn, optim
from fastdl.callbacks import Callback
from fastdl.data import memmap
from fastdl.data.input_validation import inputs
from fastdl.data.memmap import Mapped, lies_in_file
from fastdl.metrics import accuracy
from fastdl.training import predict
from tests.training.engine.twins import left

RNG = np.random.default_rng(0)
X = RNG.integers(0, 200, (60, 4)).astype(np.uint8)
Y = RNG.integers(0, 3, 60).astype(np.uint8)
Y[[5, 40, 59]] = 0, 1, 2
DTYPES = ["u1", "<f4", ">f4", "<f8", ">f8", "<f2", "<i8", ">i4", "?"]
MEGABYTE = 2**20


@pytest.fixture
def in_file(tmp_path):
    """Write an array to a file of its own and map it."""

    def in_file(array):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        np.save(path, array)
        return np.load(path, mmap_mode="r")

    return in_file


@pytest.fixture
def sparse(tmp_path):
    """Map a file of zeros that takes no room on the disk."""

    def sparse(shape, dtype):
        path = tmp_path / f"sparse{len(list(tmp_path.iterdir()))}"
        with open(path, "wb") as file:
            file.truncate(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return np.memmap(path, dtype, "r", shape=shape)

    return sparse


class Step(Callback):
    def on_step_end(self, trainer, step, loss):
        self.latest = step


def make_trainer(dtype=np.float32, width=4):
    model = nn.Sequential(nn.Linear(width, 6, rng=1, dtype=dtype), nn.Tanh(), nn.Linear(6, 3, rng=2, dtype=dtype))
    return Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.02), metrics=[accuracy])


def trained(x, y, validation, dtype=np.float32, **options):
    trainer = make_trainer(dtype)
    history = trainer.fit(x, y, epochs=2, batch_size=16, seed=1, validation_data=validation, **options)
    assert history.engine.startswith("native")
    records = [{name: value for name, value in record.items() if name != "seconds"} for record in history]
    return records, {name: array.tobytes() for name, array in left(trainer).items()}


@pytest.mark.parametrize("weights", [np.float32, np.float64])
@pytest.mark.parametrize("kind", DTYPES)
def test_a_fit_on_files_leaves_the_bits_of_one_on_arrays(in_file, kind, weights):
    x = (X % 7).astype(kind)
    for options in ({}, {"shuffle": False}, {"drop_last": True}, {"callbacks": [Step()]}):
        want = trained(x, Y, (x[:9], Y[:9]), weights, **options)
        assert trained(in_file(x), in_file(Y), (in_file(x[:9]), in_file(Y[:9])), weights, **options) == want
        assert trained(in_file(x), Y, (x[:9], in_file(Y[:9])), weights, **options) == want


def test_views_of_files_are_read_alike(in_file):
    x = in_file(np.repeat(X, 2, axis=0).astype(np.float32))
    want = trained(X.astype(np.float32), Y, None)
    assert trained(x[::2], Y, None) == want
    assert trained(np.asarray(x)[::2], Y, None) == want
    assert trained(in_file(np.asfortranarray(X.astype(np.float32))), Y, None) == want


def test_augmentation_never_writes_to_the_file(tmp_path):
    def grow(x, rng):
        x += rng.standard_normal(x.shape, np.float32)
        return x

    path = tmp_path / "x.npy"
    np.save(path, X.astype(np.float32))
    x = np.load(path, mmap_mode="r+")
    for shuffle in (True, False):
        want = trained(X.astype(np.float32), Y, None, augment=grow, shuffle=shuffle)
        assert trained(x, Y, None, augment=grow, shuffle=shuffle) == want
    x.flush()
    assert (np.load(path) == X).all()


def test_evaluate_and_predict_give_what_they_give_in_memory(in_file):
    trainer, x = make_trainer(), X / 50
    for batch_size in (1, 7, 60, 1000):
        assert trainer.evaluate(in_file(x), in_file(Y), batch_size) == trainer.evaluate(x, Y, batch_size)
        assert (predict(trainer.model, in_file(x), batch_size) == predict(trainer.model, x, batch_size)).all()
    assert predict(trainer.model, in_file(x)[:0]).shape == (0, 3)


def test_batches_of_mapped_arrays_feed_a_fit(in_file):
    x, y = in_file(X), in_file(Y)
    results = [
        make_trainer().fit(lambda a=a, b=b: data.batches(a, b, 16, rng=0), epochs=2, seed=1)["loss"]
        for a, b in ((x, y), (X, Y))
    ]
    assert results[0] == results[1]


def bad(array, place, value):
    array = array.copy()
    array[place] = value
    return array


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8"])
@pytest.mark.parametrize("row", [0, 37, 59])
def test_a_value_that_is_not_finite_is_found_in_its_row(in_file, monkeypatch, kind, row):
    monkeypatch.setattr(memmap, "BLOCK", 100)
    trainer = make_trainer()
    for value in (np.nan, np.inf, *([1e300] if kind == "<f8" else [])):
        x = in_file(bad(X.astype(kind), (row, 2), value))
        calls = (
            lambda x=x: trainer.fit(x, Y, epochs=1, batch_size=16),
            lambda x=x: trainer.fit(X, Y, epochs=1, batch_size=16, validation_data=(x, Y)),
            lambda x=x: trainer.evaluate(x, Y),
            lambda x=x: trainer.predict(x),
        )
        for call in calls:
            with pytest.raises(
                ValueError, match=rf"finite values in x, got NaN or infinite ones \(first in row {row}\)"
            ):
                call()


@pytest.mark.parametrize(("value", "row"), [(3, 0), (200, 59), (7, 30)])
def test_a_class_out_of_range_is_found_before_the_first_step(in_file, monkeypatch, value, row):
    monkeypatch.setattr(memmap, "BLOCK", 100)
    trainer = make_trainer()
    before = left(trainer)
    with pytest.raises(ValueError, match=rf"from 0 to 2, got {value}.*tried on rows .*\b{row}\b"):
        trainer.fit(X, in_file(bad(Y, row, value)), epochs=1, batch_size=16)
    assert all((array == before[name]).all() for name, array in left(trainer).items())


def test_the_second_extremes_are_tried_too(in_file, monkeypatch):
    monkeypatch.setattr(memmap, "BLOCK", 40)
    y = Y.astype(np.int16)
    y[11], y[52] = -100, -3
    for target in (y, in_file(y)):
        trainer = make_trainer()
        trainer.criterion = nn.CrossEntropyLoss(ignore_index=-100)
        with pytest.raises(ValueError, match=r"got -3.*tried on rows .*52"):
            trainer.fit(X, target, epochs=1, batch_size=16)


def test_lengths_and_kinds_are_checked_as_in_memory(in_file):
    trainer = make_trainer()
    with pytest.raises(ValueError, match="as many rows in x as in y, got 60 and 59"):
        trainer.fit(in_file(X), Y[1:], epochs=1, batch_size=16)
    with pytest.raises(TypeError, match="got bool"):
        trainer.fit(X, in_file(Y > 0), epochs=1, batch_size=16)
    with pytest.raises(TypeError, match="expected y beside x, got memmap alone"):
        trainer.fit(in_file(X), epochs=1)


def grown(call):
    """The most bytes that a call holds at a time."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class Average(nn.Module):
    """Long rows to four numbers."""

    def forward(self, x):
        return x[:, :4].copy()

    def backward(self, grad_output):
        return grad_output


def long_rows():
    model = nn.Sequential(Average(), nn.Linear(4, 3, rng=0))
    return Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_fit_holds_a_few_batches_of_a_file_of_four_gigabytes(sparse, shuffle):
    """Rows of a megabyte, two a batch, eight megabytes as floats; stopped after some steps."""
    x, y = sparse((4096, MEGABYTE), np.uint8), np.arange(4096) % 3

    class Stop(Callback):
        def on_step_end(self, trainer, step, loss):
            if step == 20:
                raise KeyboardInterrupt

    def fit():
        history = long_rows().fit(x, y, epochs=1, batch_size=2, shuffle=shuffle, callbacks=[Stop()])
        assert history.interrupted

    assert grown(fit) < 40 * MEGABYTE


@pytest.mark.parametrize("kind", [np.uint8, "<f4", ">f8"])
def test_whole_fits_with_validation_hold_a_few_batches(sparse, kind):
    x, y = sparse((32, MEGABYTE // 2), kind), np.arange(32) % 3
    call = lambda: long_rows().fit(x, y, epochs=2, batch_size=2, validation_data=(x[:8], y[:8]))  # noqa: E731
    assert grown(call) < 24 * MEGABYTE


@pytest.mark.parametrize("step", [1, 2])
def test_the_native_engine_too_holds_a_few_batches(sparse, step):
    """Also of rows that do not lie as it reads them."""
    x, y = sparse((128, MEGABYTE // 8), np.float32)[:, ::step], np.arange(128) % 3
    model = nn.Sequential(nn.Linear(x.shape[1], 3, rng=0))
    trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    assert grown(lambda: trainer.fit(x, y, epochs=1, batch_size=2)) < 16 * MEGABYTE < x.nbytes
    assert trainer.history.engine.startswith("native")


@pytest.mark.parametrize("kind", [np.uint8, "<f4", ">f8"])
def test_evaluate_and_predict_hold_a_few_batches(sparse, kind):
    x, y = sparse((32, MEGABYTE // 2), kind), np.arange(32) % 3
    trainer = long_rows()
    assert grown(lambda: trainer.predict(x, batch_size=2)) < 24 * MEGABYTE
    assert grown(lambda: trainer.evaluate(x, y, batch_size=2)) < 24 * MEGABYTE


def test_targets_in_files_are_not_loaded_as_a_whole(sparse):
    """A million rows of 16 float64 targets."""
    x, y = sparse((MEGABYTE, 1), np.uint8), sparse((MEGABYTE, 16), ">f8")
    model = nn.Sequential(nn.Linear(1, 16, rng=0))
    trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
    assert grown(lambda: trainer.fit(x, y, epochs=1, batch_size=2**16, shuffle=False)) < 40 * MEGABYTE < y.nbytes


def test_rows_come_in_the_order_asked_for(in_file):
    rows = Mapped(np.asarray(in_file(X)), np.dtype(np.float64))
    assert rows.shape == (60, 4)
    for numbers in ([3, 0, 3, 59], [], np.arange(60)[::-1]):
        assert rows[numbers].dtype == np.float64
        assert (rows[numbers] == X[np.asarray(numbers, int)]).all()
    assert (rows[5:9] == X[5:9]).all()
    assert rows[5:9].flags.c_contiguous


def test_what_lies_in_a_file_is_distinguished_from_what_does_not(in_file):
    array = in_file(X)
    assert lies_in_file(array)
    assert lies_in_file(np.asarray(array).reshape(-1)[::2])
    with mmap.mmap(-1, 64) as block:
        for view in (np.frombuffer(block, np.uint8), np.frombuffer(memoryview(block), np.uint8)):
            assert lies_in_file(view)
        del view
    for other in (X, array + 1, array.astype(np.float32), array[[1, 2]], np.array(array), array.copy()):
        assert not lies_in_file(other)


def test_an_array_of_the_weights_dtype_is_read_where_it_lies(in_file):
    x = in_file(X.astype(np.float32))
    assert np.shares_memory(inputs(x, np.dtype(np.float32), "test"), x)
    assert isinstance(inputs(x, np.dtype(np.float64), "test"), Mapped)
