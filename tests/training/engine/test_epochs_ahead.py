"""Epochs run several in one call where callbacks only watch: the same bits, history and random state as one by one."""

import signal
import sys
import threading
import time
from unittest import mock

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl._kernels.access import Access
from fastdl.callbacks import Callback, CSVLog, EarlyStopping, ProgressBar
from fastdl.metrics import accuracy
from fastdl.random import order_seeds, stream
from fastdl.training import fit_loop
from fastdl.training.native_engine import NativeEngine
from tests.nn.python_layer import Untraced
from tests.training.engine import changes
from tests.training.engine.changes import CHANGES, AtEpoch
from tests.training.engine.twins import Parts, left

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((23, 4)).astype(np.float32), RNG.integers(0, 3, 23)
EPOCHS = 40


def dense(optimizer=lambda p: optim.Adam(p, lr=0.02)):
    model = nn.Sequential(nn.Linear(4, 6, rng=1), nn.ReLU(), nn.Linear(6, 3, rng=2))
    return Parts(model, nn.CrossEntropyLoss(), optimizer(model.parameters()))


def drawing():
    model = nn.Sequential(nn.Linear(4, 6, rng=1), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.3), nn.Linear(6, 3, rng=2))
    return Parts(model, nn.CrossEntropyLoss(reduction="sum"), optim.RMSprop(model.parameters()), 0.5, 1.0)


class Await(Callback):
    def on_epoch_end(self, trainer, record):
        pass


class Sees(Callback):
    """Takes down what it finds after each epoch; does something after some."""

    def __init__(self, watches, does=lambda trainer: None):
        self.watches, self.does, self.seen = watches, does, []

    def on_epoch_end(self, trainer, record):
        weights = [value.tobytes() for value in trainer.model.state_dict().values()]
        steps = [entry["step"] for entry in trainer.optimizer.state_dict()["state"].values()]
        self.seen.append((len(trainer.history), record["loss"], record["lr"], weights, steps))
        self.does(trainer)


class Begins(Sees):
    def __init__(self):
        super().__init__(True)

    def on_epoch_begin(self, trainer, epoch):
        pass


class Saves(Sees):
    def __init__(self):
        super().__init__(True)

    def on_checkpoint(self, trainer):
        pass


class WatchSteps(Callback):
    def on_step_end(self, trainer, step, loss):
        pass


def trainer_of(parts, **options):
    return Trainer(*parts[:3], clip_value=parts.clip_value, clip_norm=parts.clip_norm, **options)


def fit(parts, callbacks=(), x=X, y=Y, trainer_options=(), **options):
    """Fit; returns the trainer and how many epochs ran in a call with others."""
    counts = []
    run = NativeEngine.epochs

    def counted(self, *arguments):
        counts.append(arguments[4])
        return run(self, *arguments)

    trainer = trainer_of(parts, **dict(trainer_options))
    options = {"epochs": EPOCHS, "batch_size": 5, "seed": 3, "progress": False} | options
    # However slow the machine, the epochs fit into a call.
    with mock.patch.object(NativeEngine, "epochs", counted), mock.patch.object(fit_loop, "CALL_SECONDS", 1000.0):
        trainer.fit(x, y, callbacks=callbacks, **options)
    return trainer, sum(counts)


@pytest.mark.parametrize("parts", [dense, drawing])
@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"drop_last": True}, {"batch_size": 23}], ids=str)
def test_the_same_bits_as_epoch_by_epoch(parts, options):
    (ahead, several), (watched, none) = fit(its := parts(), **options), fit(others := parts(), [Await()], **options)
    assert none == 0
    assert several > EPOCHS / 2
    for name, want in left(others).items():
        np.testing.assert_array_equal(left(its)[name], want, err_msg=name)
    assert ahead.history["loss"] == watched.history["loss"]
    assert ahead.history["lr"] == watched.history["lr"]
    assert len(ahead.history) == EPOCHS
    assert min(ahead.history["seconds"]) > 0
    assert ahead.rng.bit_generator.state == watched.rng.bit_generator.state


def untraced():
    model = nn.Sequential(nn.Linear(4, 3, rng=1), Untraced())
    return Parts(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters()))


WATCHED = {
    "a callback on epochs": {"callbacks": [Await()]},
    "a callback on steps": {"callbacks": [WatchSteps()]},
    "a metric": {"trainer_options": {"metrics": [accuracy]}},
    "validation": {"validation_data": (X, Y)},
    "augmentation": {"augment": lambda x, rng: x},
    "a callback that watches and begins epochs": {"callbacks": [Begins()]},
    "a callback that watches and saves": {"callbacks": [Saves()]},
    "two callbacks, of which one watches": {"callbacks": [Sees(True), Sees(False)]},
    "batches": {"x": [(X, Y)], "y": None, "batch_size": None},
    "a layer that cannot be traced": {"parts": untraced()},
}


@pytest.mark.parametrize("options", WATCHED.values(), ids=WATCHED)
def test_what_happens_after_each_epoch_still_does(options, capsys):
    trainer, several = fit(**({"parts": dense()} | options))
    assert several == 0
    assert len(trainer.history) == EPOCHS


def test_a_schedule_is_stepped_after_each_epoch():
    parts = dense()
    trainer, several = fit(parts, trainer_options={"schedule": optim.StepLR(parts.optimizer, 1, 0.9)}, epochs=9)
    assert several == 0
    np.testing.assert_allclose(trainer.history["lr"], 0.02 * 0.9 ** np.arange(9))


def test_a_callback_that_only_begins_and_ends_does_not_ask_for_epochs():
    class Ends(Callback):
        def on_fit_end(self, trainer):
            self.epochs = len(trainer.history)

    ends = Ends()
    assert fit(dense(), [ends])[1] > 0
    assert ends.epochs == EPOCHS


def test_a_loss_that_is_no_number_is_reported_with_its_epoch_and_leaves_the_epochs_before():
    """A rate at which the loss overflows after some epochs."""
    messages, histories, weights, random = [], [], [], []
    for callbacks in ([], [Await()]):
        parts = Parts(
            model := nn.Sequential(nn.Linear(4, 3, rng=1)), nn.MSELoss(), optim.SGD(model.parameters(), lr=3.0)
        )
        trainer = trainer_of(parts)
        with pytest.raises(FloatingPointError) as error:
            trainer.fit(X, X[:, :3], epochs=1000, batch_size=5, seed=3, callbacks=callbacks, progress=False)
        messages.append(str(error.value))
        histories.append(trainer.history["loss"])
        weights.append(left(parts))
        random.append(trainer.rng.bit_generator.state)
    assert random[0] == random[1]
    assert messages[0] == messages[1]
    assert f"epoch {len(histories[0]) + 1}, step" in messages[0]
    assert histories[0] == histories[1]
    assert len(histories[0]) > 2
    for name, want in weights[1].items():
        np.testing.assert_array_equal(weights[0][name], want, err_msg=name)


def test_an_exception_amid_the_epochs_leaves_the_generator_after_the_latest_order():
    class AlarmError(Exception):
        pass

    def ring(*_):
        raise AlarmError

    trainer, rng = trainer_of(dense()), np.random.default_rng(9)
    before = signal.signal(signal.SIGVTALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.2)
        with pytest.raises(AlarmError):
            trainer.fit(X, Y, epochs=10**9, batch_size=5, seed=rng, progress=False)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    ended = len(trainer.history)
    assert ended > 10
    steps = trainer.optimizer.state_dict()["state"][0]["step"]
    assert 5 * ended <= steps <= 5 * (ended + 2)
    begun = []
    for epochs in (ended, ended + 1, ended + 2):  # between two epochs or amid one, or while one was recorded
        expected = np.random.default_rng(9)
        order_seeds(epochs, expected)
        begun.append(expected.bit_generator.state)
    assert rng.bit_generator.state in begun


def both(make, does=lambda trainer: None, in_a_row=True, **options):
    """A fit with its epochs in a row and one epoch by epoch; everything that they leave has to be the same."""
    sides = []
    for watches in (True, False):
        parts, sees, error = make(), Sees(watches, does), None
        try:
            trainer, several = fit(parts, [sees], **options)
            assert bool(several) == (watches and in_a_row)
        except RuntimeError as caught:
            error, trainer = caught.args
        position = trainer._position
        sides.append((left(parts), sees.seen, trainer.history["loss"], trainer.history["lr"], error, position.broken))
        sides[-1] += (trainer.rng.bit_generator.state, position.stream.state_dict(), trainer.history.interrupted)
    for name, want in sides[1][0].items():
        np.testing.assert_array_equal(sides[0][0][name], want, err_msg=name)
    assert sides[0][1:] == sides[1][1:]
    return trainer


@pytest.mark.parametrize("parts", [dense, drawing])
def test_a_callback_that_watches_sees_the_same_as_epoch_by_epoch(parts):
    assert len(both(parts).history) == EPOCHS


@pytest.mark.parametrize("parts", [dense, drawing])
@pytest.mark.parametrize("epoch", [1, 2, 3, 17, EPOCHS])
def test_a_callback_that_watches_may_stop(parts, epoch):
    stop = lambda trainer: trainer.stop() if len(trainer.history) == epoch else None  # noqa: E731
    assert len(both(parts, stop, epoch > 1).history) == epoch


def test_and_the_fit_goes_on_as_if_it_had_not():
    sides = []
    for halts in (True, False):
        parts = drawing()
        trainer = trainer_of(parts)
        options = {"batch_size": 5, "seed": 3, "progress": False, "epochs": EPOCHS}
        stop = Sees(True, lambda trainer: trainer.stop() if len(trainer.history) == 17 else None)
        trainer.fit(X, Y, callbacks=[stop] if halts else [], **options)
        if halts:
            assert len(trainer.history) == 17
            trainer.fit(X, Y, resume=True, **options)
        sides.append((left(parts), trainer.history["loss"]))
    assert sides[0][1] == sides[1][1]
    for name, want in sides[1][0].items():
        np.testing.assert_array_equal(sides[0][0][name], want, err_msg=name)


def test_an_error_of_a_callback_that_watches_leaves_the_generator_between_two_epochs():
    def fail(trainer):
        if len(trainer.history) == 17:
            raise RuntimeError("on purpose", trainer)

    assert len(both(drawing, fail).history) == 17


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_callback_changes_counts_from_the_next_epoch_on(name):
    """Amid the epochs of one call, and twice, as the second change may find another state."""
    sides = []
    for watches in (True, False):
        parts = changes.parts()
        amid = AtEpoch(lambda trainer: CHANGES[name](trainer) if len(trainer.history) in (5, 6) else None, watches)
        trainer, several = fit(parts, [amid], changes.X, changes.Y, epochs=9)
        assert bool(several) == watches
        sides.append((trainer.model.state_dict(), trainer.history["loss"], trainer.rng.bit_generator.state))
    assert sides[0][0].keys() == sides[1][0].keys()
    assert sides[0][1:] == sides[1][1:]
    for each, want in sides[1][0].items():
        np.testing.assert_array_equal(sides[0][0][each], want, err_msg=each)


class Meanwhile(Callback):
    """After an epoch another thread has a turn at the parameters, and changes the model while the fit waits for its own."""

    def __init__(self, change, amid):
        self.change, self.amid = change, amid

    def on_epoch_end(self, trainer, record):
        if len(trainer.history) == 5:
            self.begun = threading.Event()
            self.thread = threading.Thread(target=self.act, args=(trainer, threading.get_ident()))
            self.thread.start()
            self.begun.wait()
            if not self.amid:
                self.thread.join()

    def act(self, trainer, fitting):
        with Access(reads=list(trainer.model.parameters())):
            self.begun.set()
            while self.amid and sys._current_frames()[fitting].f_code is not NativeEngine._run.__code__:
                time.sleep(0.001)
            self.change(trainer)


NOTICED = ["parameters move", "other parameters", "freeze", "another activation", "another layer", "one more layer"]
NOTICED += ["a layer less", "no bias", "dropout", "running mean", "batch norm evaluates", "label smoothing"]


@pytest.mark.parametrize("name", NOTICED)
def test_what_another_thread_changes_while_the_fit_waits_for_its_turn_counts_at_once(name):
    sides = []
    for amid in (True, False):
        parts, meanwhile = changes.parts(), Meanwhile(CHANGES[name], amid)
        meanwhile.watches = amid
        trainer, several = fit(parts, [meanwhile], changes.X, changes.Y, epochs=9)
        assert bool(several) == amid
        sides.append((trainer.model.state_dict(), trainer.history["loss"], trainer.rng.bit_generator.state))
    assert sides[0][0].keys() == sides[1][0].keys()
    assert sides[0][1:] == sides[1][1:]
    for each, want in sides[1][0].items():
        np.testing.assert_array_equal(sides[0][0][each], want, err_msg=each)


def other_fit(trainer):
    """Larger than the one that it interrupts."""
    if len(trainer.history) % 9:  # each new optimizer is a change that ends a call
        return
    x = np.ones((3000, 40), np.float32)
    model = nn.Sequential(nn.Linear(40, 300, rng=1), nn.ReLU(), nn.Linear(300, 3, rng=2))
    other = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters()))
    other.fit(x, np.zeros(3000, int), epochs=2, batch_size=1000, seed=0, progress=False)


def more_threads(trainer):
    fastdl.set_num_threads(1 + len(trainer.history) % 7)


@pytest.mark.parametrize(
    "does",
    [
        lambda trainer: trainer.evaluate(np.repeat(X, 900, axis=0), np.repeat(Y, 900)),
        other_fit,
        more_threads,
        lambda trainer: trainer.predict(np.repeat(X, 900, axis=0)),
        lambda trainer: stream().next(),
    ],
    ids=["evaluate", "another fit", "other threads", "predict", "draw"],
)
def test_a_callback_that_watches_may_use_the_kernels(does):
    threads = fastdl.get_num_threads()
    try:
        both(drawing, does)
    finally:
        fastdl.set_num_threads(threads)


def test_the_packages_own_callbacks_watch(tmp_path):
    own = [EarlyStopping("loss", patience=EPOCHS), CSVLog(tmp_path / "log.csv"), ProgressBar(True)]
    trainer, several = fit(dense(), own)
    assert several > EPOCHS / 2
    assert own[0].best_epoch == int(np.argmin(trainer.history["loss"])) + 1
    lines = (tmp_path / "log.csv").read_text().splitlines()[1:]
    assert [float(line.split(",")[1]) for line in lines] == trainer.history["loss"]
