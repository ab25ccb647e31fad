"""fit on an iterable of batches: the same as on arrays, in both engines, and what is said of a batch that does not fit."""

import pickle
from unittest import mock

import numpy as np
import pytest

from fastdl import Trainer, data, nn, optim
from fastdl.callbacks import Callback
from fastdl.metrics import accuracy
from fastdl.training import fit_loop
from fastdl.training.engine import PlainEngine
from fastdl.training.engine_choice import engine_for
from tests.training.engine.twins import assert_same, left

PERMUTATION = "fastdl.training.batch_source.permutation"
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((50, 4)).astype(np.float32), RNG.integers(0, 3, 50)
Y[:3] = 0, 1, 2
PARTS = [slice(0, 7), slice(7, 8), slice(8, 30), slice(30, 41), slice(41, 50)]
BATCHES = [(X[part], Y[part]) for part in PARTS]


def network(dtype=np.float32):
    return nn.Sequential(
        nn.Linear(4, 6, rng=1, dtype=dtype), nn.Tanh(), nn.Dropout(0.2), nn.Linear(6, 3, rng=2, dtype=dtype)
    )


def make_trainer(dtype=np.float32, model=None, criterion=None, **options):
    model = model or network(dtype)
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    return Trainer(model, criterion or nn.CrossEntropyLoss(), optimizer, **options)


def plainly():
    return mock.patch.object(fit_loop, "engine_for", lambda task, *_: PlainEngine(task, "a test wants it"))


def reduced(history):
    return [{name: value for name, value in record.items() if name != "seconds"} for record in history]


class Steps(Callback):
    def __init__(self, change=None):
        self.seen, self.change = [], change

    def on_step_end(self, trainer, step, loss):
        self.seen.append((step, loss))
        if self.change is not None:
            self.change(trainer, step)


class Loader:
    """Batches anew for each epoch, in an order drawn anew, as a torch DataLoader gives them."""

    def __init__(self, batch_size, rng):
        self.batch_size, self.rng = batch_size, rng

    def __iter__(self):
        yield from map(list, data.batches(X, Y, self.batch_size, rng=self.rng))


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("kind", ["loader", "function"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_batches_give_the_bits_that_arrays_give(native, kind, dtype):
    """Dropout draws from the fit's generator, so the order is drawn apart from it."""
    metrics = {"accuracy": accuracy, "mean": lambda output, target: float((output[:, 0] * (target + 1)).mean())}
    validation = X[:9], Y[:9]
    results = []
    for fed in (True, False):
        trainer = make_trainer(dtype, metrics=metrics, clip_norm=1.0)
        order = np.random.default_rng(3)
        loader = Loader(16, order)
        source = loader if kind == "loader" else lambda loader=loader: iter(loader)
        with mock.patch.object(fit_loop, "engine_for", engine_for) if native else plainly():
            options = {"epochs": 3, "seed": 5, "validation_data": validation}
            if fed:
                history = trainer.fit(source, **options)
            else:
                with mock.patch(
                    "fastdl.training.batch_source.permutation", lambda n, rng, order=order: np.array(drawn(n, order))
                ):
                    history = trainer.fit(X, Y, batch_size=16, **options)
        assert history.engine.startswith("native" if native else "plain")
        results.append((reduced(history), {k: v.tobytes() for k, v in left(trainer).items()}))
    assert results[0] == results[1]


def drawn(n, rng):
    return np.concatenate([y for _, y in data.batches(np.zeros(n), np.arange(n), 16, rng=rng)])


def test_batches_of_sizes_as_they_come_are_one_step_each_in_both_engines():
    twins, steps = [], []
    for native in (True, False):
        trainer, callback = make_trainer(np.float64, metrics=[accuracy]), Steps()
        with mock.patch.object(fit_loop, "engine_for", engine_for) if native else plainly():
            history = trainer.fit(BATCHES, epochs=3, seed=1, callbacks=[callback])
        assert history.engine.startswith("native" if native else "plain")
        assert [step for step, _ in callback.seen] == [1, 2, 3, 4, 5] * 3
        sizes = [len(y) for _, y in BATCHES]
        for number, loss in enumerate(history["loss"]):
            losses = [loss for _, loss in callback.seen[5 * number : 5 * number + 5]]
            assert loss == pytest.approx(np.average(losses, weights=sizes), rel=1e-12)
        twins.append(left(trainer) | {name: history[name] for name in ("loss", "accuracy")})
        steps.append([loss for _, loss in callback.seen])
    assert_same(*twins, np.float64)
    np.testing.assert_allclose(*steps, rtol=1e-9)


def test_batches_are_planned_for_the_largest_so_far_and_go_through_one_native_call_each(monkeypatch):
    planned, calls = [], []

    def noting(task, x, y, rows):
        engine = engine_for(task, x, y, rows)
        planned.append(rows)
        epoch = engine.epoch
        engine.epoch = lambda x, *rest: calls.append(len(x)) or epoch(x, *rest)
        return engine

    monkeypatch.setattr(fit_loop, "engine_for", noting)
    make_trainer().fit(BATCHES, epochs=2)
    assert planned == [7, 22]
    assert calls == [7, 22]  # the others are like these


def test_a_summing_loss_is_summed_over_the_batches():
    trainer, callback = make_trainer(criterion=nn.CrossEntropyLoss(reduction="sum")), Steps()
    history = trainer.fit(BATCHES, epochs=1, callbacks=[callback])
    assert history["loss"] == [pytest.approx(sum(loss for _, loss in callback.seen))]


def test_metrics_see_outputs_and_targets_in_the_order_of_the_batches():
    seen = []
    trainer = make_trainer(
        model=nn.Sequential(nn.Linear(4, 3, rng=0)), metrics={"all": lambda *both: seen.append(both) or 0}
    )
    trainer.optimizer.param_groups[0]["lr"] = 0.0
    trainer.fit(BATCHES, epochs=1)
    *_, (output, target) = seen  # tried before
    np.testing.assert_allclose(output, trainer.predict(X), atol=1e-6)
    assert (target == Y).all()


@pytest.mark.parametrize("model", [network, lambda: nn.Sequential(nn.Identity())], ids=["network", "identity"])
def test_a_generator_may_fill_the_same_arrays_again(model):
    seen = []

    def refilled():
        x, y = np.empty((10, 4), np.float32), np.empty(10, np.int64)
        for first in range(0, 50, 10):
            x[...], y[...] = X[first : first + 10], Y[first : first + 10]
            yield x, y

    model = model()
    model.unused = nn.Parameter(np.zeros(1, np.float32))
    trainer = make_trainer(model=model, metrics={"all": lambda *both: seen.append(both) or 0})
    trainer.fit(refilled(), epochs=1, seed=0)
    *_, (output, target) = seen  # tried before
    assert (target == Y).all()
    assert len(np.unique(output[:, 0])) == 50


def test_augmentation_changes_copies_of_the_batches():
    def grow(x, rng):
        x += rng.standard_normal(x.shape, np.float32)
        return x

    results, x = [], X.copy()
    for source in ([(x[:25], Y[:25]), (x[25:], Y[25:])], None):
        trainer = make_trainer()
        if source is None:
            history = trainer.fit(X, Y, epochs=2, batch_size=25, shuffle=False, augment=grow, seed=1)
        else:
            history = trainer.fit(source, epochs=2, augment=grow, seed=1)
        results.append((reduced(history), {k: v.tobytes() for k, v in left(trainer).items()}))
    assert results[0] == results[1]
    assert (x == X).all()


def test_each_batch_is_converted():
    twins = []
    for change in (lambda x, y: (x, y), lambda x, y: (x.astype(">f8")[:, ::-1][:, ::-1], y.astype(np.uint8).tolist())):
        trainer = make_trainer()
        history = trainer.fit([change(*batch) for batch in BATCHES], epochs=2, seed=1)
        twins.append((reduced(history), {k: v.tobytes() for k, v in left(trainer).items()}))
    assert twins[0] == twins[1]


def test_a_callback_that_changes_the_model_counts_from_the_next_batch_on():
    def change(trainer, step):
        if step == 2:
            trainer.model._layers["1"] = nn.ReLU()

    twins = []
    for native in (True, False):
        trainer = make_trainer(np.float64)
        with mock.patch.object(fit_loop, "engine_for", engine_for) if native else plainly():
            trainer.fit(BATCHES, epochs=2, seed=1, callbacks=[Steps(change)])
        twins.append(left(trainer))
    assert_same(*twins, np.float64)


def test_a_generator_is_enough_for_one_epoch():
    results = []
    for source in (BATCHES, (batch for batch in BATCHES), iter(BATCHES), lambda: iter(BATCHES)):
        trainer = make_trainer()
        results.append(reduced(trainer.fit(source, epochs=1, seed=1)))
    assert results[1:] == results[:1] * 3


def test_more_epochs_of_a_generator_are_refused_before_the_first_batch_is_drawn():
    taken = []
    source = (taken.append(1) or batch for batch in BATCHES)
    with pytest.raises(
        ValueError, match=r"for 3 epochs, got a generator, which gives them once; write .*fit\(lambda: "
    ):
        make_trainer().fit(source, epochs=3)
    assert not taken


class Again:
    """An iterator that begins again whenever it is asked for; or not."""

    def __init__(self, again):
        self.again, self.left = again, iter(BATCHES)

    def __iter__(self):
        if self.again:
            self.left = iter(BATCHES)
        return self

    def __next__(self):
        return next(self.left)


def test_an_iterator_that_begins_again_is_iterated_in_each_epoch():
    assert len(make_trainer().fit(Again(True), epochs=3)) == 3
    trainer = make_trainer()
    with pytest.raises(ValueError, match=r"^Trainer\.fit, epoch 2: expected at least one batch, got none; write "):
        trainer.fit(Again(False), epochs=3)
    assert len(trainer.history) == 1


def test_a_class_of_batches_is_called():
    class Made(list):
        def __init__(self):
            super().__init__(BATCHES)

    assert len(make_trainer().fit(Made, epochs=2)) == 2


def test_no_epochs_try_the_first_batch_but_take_none_of_a_generators():
    taken = []
    make_trainer().fit((taken.append(1) or batch for batch in BATCHES), epochs=0)
    assert not taken
    with pytest.raises(ValueError, match=r"batch 1: .*class indices from 0 to 2, got 9"):
        make_trainer().fit([(X[:5], Y[:5] * 0 + 9)], epochs=0)


def test_shuffle_may_be_false():
    assert len(make_trainer().fit(BATCHES, epochs=1, shuffle=False, drop_last=False)) == 1


CALLS = {
    "y": ({"x": iter(BATCHES), "y": Y}, "expected no y beside an iterable of batches .*, got ndarray"),
    "y beside a loader": ({"x": Loader(5, None), "y": Y}, "expected no y beside"),
    "y beside a function": ({"x": lambda: BATCHES, "y": Y}, "expected no y beside"),
    "batch_size": ({"x": BATCHES, "batch_size": 7}, "expected no batch_size beside an iterable of batches .*, got 7"),
    "shuffle": ({"x": BATCHES, "shuffle": True}, "expected no shuffle beside an iterable of batches .*, got True"),
    "shuffle of another kind": ({"x": BATCHES, "shuffle": "no"}, "True or False for shuffle, got 'no'"),
    "drop_last": ({"x": BATCHES, "drop_last": True}, "expected no drop_last beside"),
    "an array alone": ({"x": X}, r"expected y beside x, got ndarray alone; write fit\(x, y, \.\.\.\)"),
    "a number": ({"x": 3}, r"expected arrays x and y, or an iterable of batches \(x, y\), got int"),
    "a function that returns none": ({"x": lambda: None}, "or an iterable of batches .*, got NoneType"),
    "arrays without batch_size": ({"x": X, "y": Y}, "a positive integer for batch_size, got None"),
}


@pytest.mark.parametrize(("arguments", "message"), CALLS.values(), ids=CALLS)
def test_what_does_not_go_with_batches_is_a_type_error(arguments, message):
    with pytest.raises(TypeError, match=rf"^Trainer\.fit: .*{message}") as caught:
        make_trainer().fit(**{"epochs": 1, **arguments})
    assert "\n" not in str(caught.value)


def test_lists_of_numbers_beside_y_are_arrays():
    assert len(make_trainer().fit(X.tolist(), Y.tolist(), epochs=1, batch_size=5)) == 1


NAN = X[:2].copy()
NAN[1, 2] = np.nan
ODD = {
    "no pair": (X[:3], TypeError, r"expected a pair \(x, y\), got ndarray"),
    "three": ((X[:3], Y[:3], Y[:3]), TypeError, r"expected a pair \(x, y\), got tuple of 3"),
    "another shape": ((X[:3, :2], Y[:3]), ValueError, r"expected samples of shape \(4,\) in x, as in batch 1, got \(2,\)"),
    "other targets": ((X[:3], X[:3, :3]), ValueError, r"expected samples of shape \(\) in y, as in batch 1, got \(3,\)"),
    "other kind": ((X[:3], X[:3, 0]), TypeError, "expected y of int64, as in batch 1, got float32"),
    "empty": ((X[:0], Y[:0]), ValueError, "expected at least one sample, got none"),
    "lengths": ((X[:3], Y[:2]), ValueError, "expected as many rows in x as in y, got 3 and 2"),
    "NaN": ((NAN, Y[:2]), ValueError, r"expected finite values in x, got NaN or infinite ones \(first in row 1\)"),
    "strings": ((X[:3].astype(str), Y[:3]), TypeError, "expected an array of numbers for x"),
    "class too high": ((X[:3], np.array([0, 3, 1])), ValueError, r".*class indices from 0 to 2, got 3 at index 1"),
    "class far too high": ((X[:3], np.array([0, 2**62, 1])), ValueError, r".*class indices from 0 to 2, got 46116"),
    "class below 0": ((X[:3], np.array([0, 1, -(2**62)])), ValueError, r".*class indices from 0 to 2, got -46116"),
}  # fmt: skip


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("name", ODD)
def test_a_batch_that_does_not_fit_is_named_and_what_was_trained_stays(native, number, name):
    batch, kind, message = ODD[name]
    if number == 1 and "as in batch 1" in message:
        number = 2  # the first differs from none
    trainer, by_hand = make_trainer(), make_trainer()
    before = {name: array.tobytes() for name, array in left(by_hand).items()}
    with mock.patch.object(fit_loop, "engine_for", engine_for) if native else plainly():
        with pytest.raises(
            (TypeError, ValueError), match=rf"^Trainer\.fit, epoch 1, batch {number}: {message}"
        ) as caught:
            trainer.fit([*BATCHES[: number - 1], batch, *BATCHES], epochs=1, seed=1)
        assert issubclass(caught.type, kind)
        if number > 1:
            by_hand.fit(BATCHES[: number - 1], epochs=1, seed=1)
            before = {name: array.tobytes() for name, array in by_hand.model.state_dict().items()}
        assert "\n" not in str(caught.value)
        after = trainer.model.state_dict()
        assert {name: array.tobytes() for name, array in after.items()} == {name: before[name] for name in after}
        assert len(trainer.fit(BATCHES, epochs=1)) == 1


def test_targets_that_a_later_batch_has_outside_of_a_losss_range_are_refused_by_both_engines():
    for native in (True, False):
        model = nn.Sequential(nn.Linear(4, 1, rng=0), nn.Sigmoid())
        trainer = make_trainer(model=model, criterion=nn.BCELoss())
        batches = [(X[:5], np.ones((5, 1))), (X[5:9], np.full((4, 1), 1.5))]
        with (
            mock.patch.object(fit_loop, "engine_for", engine_for) if native else plainly(),
            pytest.raises(ValueError, match=r"batch 2: BCELoss\(\): expected targets from 0 to 1, got 1\.5"),
        ):
            trainer.fit(batches, epochs=1)


def test_the_epoch_of_a_batch_is_reported():
    class Worse(list):
        def __iter__(self):
            self.append((X[:1, :2], Y[:1]) if len(self) == 6 else self[0])
            return super().__iter__()

    with pytest.raises(ValueError, match="epoch 2, batch 7: expected samples"):
        make_trainer().fit(Worse(BATCHES), epochs=3)


@pytest.mark.parametrize("number", [1, 2])
def test_one_row_for_a_batch_normalization_is_reported_with_its_batch(number):
    model = nn.Sequential(nn.Linear(4, 6, rng=0), nn.BatchNorm1d(6), nn.Linear(6, 3, rng=0))
    batches = [*BATCHES[:1], (X[:1], Y[:1])][-number:]
    batches = batches if number == 2 else [(X[:1], Y[:1])]
    for patched in (mock.patch.object(fit_loop, "engine_for", engine_for), plainly()):
        trainer = make_trainer(model=model)
        with patched, pytest.raises(ValueError, match=rf"^Trainer\.fit, epoch 1, batch {number}: BatchNorm1d\(6\): "):
            trainer.fit(batches, epochs=1)
        assert model.training
        assert (trainer.history.names == ()) == (number == 1)


def test_an_iterable_without_batches_is_refused():
    for source in ([], iter(()), lambda: [], {}):
        with pytest.raises(ValueError, match=r"^Trainer\.fit: expected at least one batch, got none$"):
            make_trainer().fit(source, epochs=1)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_an_error_of_the_iterable_passes_unchanged_and_all_stays_usable(number):
    error = ValueError("the disk is gone")

    def breaking():
        yield from BATCHES[:number]
        raise error

    trainer = make_trainer()
    earlier = trainer.history
    with pytest.raises(ValueError) as caught:
        trainer.fit(breaking, epochs=2)
    assert caught.value is error
    assert error.args == ("the disk is gone",)
    assert (trainer.history is earlier) == (number == 0)
    assert trainer.model.training
    assert len(trainer.fit(BATCHES, epochs=1)) == 1
    pickle.loads(pickle.dumps(trainer))


def test_ctrl_c_inside_the_iterable_ends_the_fit():
    def interrupted():
        yield from BATCHES
        if len(trainer.history) == 1:
            raise KeyboardInterrupt

    trainer = make_trainer()
    history = trainer.fit(interrupted, epochs=5)
    assert history.interrupted
    assert len(history) == 1


def test_a_loss_that_is_not_finite_shows_its_step():
    huge = np.full((2, 4), 3e38, np.float32)
    trainer = make_trainer(model=nn.Sequential(nn.Linear(4, 3, rng=0)))
    with pytest.raises(FloatingPointError, match="in epoch 1, step 3; write a smaller lr"):
        trainer.fit([*BATCHES[:2], (huge, Y[:2])], epochs=1)
