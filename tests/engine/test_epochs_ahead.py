"""Epochs that nobody watches run several in one call: the same bits, history and random state as one by one."""

import signal
from unittest import mock

import numpy as np
import pytest
from twins import Parts, left

from fastdl import Trainer, nn, optim
from fastdl.callbacks import Callback
from fastdl.metrics import accuracy
from fastdl.native import NativeEngine
from fastdl.random import order_seeds

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((23, 4)).astype(np.float32), RNG.integers(0, 3, 23)
EPOCHS = 40


def dense(optimizer=lambda p: optim.Adam(p, lr=0.02)):
    model = nn.Sequential(nn.Linear(4, 6, rng=1), nn.ReLU(), nn.Linear(6, 3, rng=2))
    return Parts(model, nn.CrossEntropyLoss(), optimizer(model.parameters()))


def drawing():
    model = nn.Sequential(nn.Linear(4, 6, rng=1), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.3), nn.Linear(6, 3, rng=2))
    return Parts(model, nn.CrossEntropyLoss(reduction="sum"), optim.RMSprop(model.parameters()), 0.5, 1.0)


class Watch(Callback):
    def on_epoch_end(self, trainer, record):
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
        run(self, *arguments)

    trainer = trainer_of(parts, **dict(trainer_options))
    options = {"epochs": EPOCHS, "batch_size": 5, "seed": 3, "progress": False} | options
    with mock.patch.object(NativeEngine, "epochs", counted):
        trainer.fit(x, y, callbacks=callbacks, **options)
    return trainer, sum(counts)


@pytest.mark.parametrize("parts", [dense, drawing])
@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"drop_last": True}, {"batch_size": 23}], ids=str)
def test_the_same_bits_as_epoch_by_epoch(parts, options):
    (ahead, several), (watched, none) = fit(its := parts(), **options), fit(others := parts(), [Watch()], **options)
    assert none == 0
    assert several > EPOCHS / 2
    for name, want in left(others).items():
        np.testing.assert_array_equal(left(its)[name], want, err_msg=name)
    assert ahead.history["loss"] == watched.history["loss"]
    assert ahead.history["lr"] == watched.history["lr"]
    assert len(ahead.history) == EPOCHS
    assert min(ahead.history["seconds"]) > 0
    assert ahead.rng.bit_generator.state == watched.rng.bit_generator.state


class InPython(nn.Module):
    def forward(self, x):
        return 2 * x

    def backward(self, grad_output):
        return 2 * grad_output


def with_python():
    model = nn.Sequential(nn.Linear(4, 3, rng=1), InPython())
    return Parts(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters()))


WATCHED = {
    "a callback on epochs": {"callbacks": [Watch()]},
    "a callback on steps": {"callbacks": [WatchSteps()]},
    "a metric": {"trainer_options": {"metrics": [accuracy]}},
    "validation": {"validation_data": (X, Y)},
    "augmentation": {"augment": lambda x, rng: x},
    "a bar": {"progress": True},
    "batches": {"x": [(X, Y)], "y": None, "batch_size": None},
    "a layer in Python": {"parts": with_python()},
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


def test_a_loss_that_is_no_number_is_told_with_its_epoch_and_leaves_the_epochs_before():
    """A rate at which the loss overflows after some epochs."""
    told, histories, weights, random = [], [], [], []
    for callbacks in ([], [Watch()]):
        parts = Parts(
            model := nn.Sequential(nn.Linear(4, 3, rng=1)), nn.MSELoss(), optim.SGD(model.parameters(), lr=3.0)
        )
        trainer = trainer_of(parts)
        with pytest.raises(FloatingPointError) as error:
            trainer.fit(X, X[:, :3], epochs=1000, batch_size=5, seed=3, callbacks=callbacks, progress=False)
        told.append(str(error.value))
        histories.append(trainer.history["loss"])
        weights.append(left(parts))
        random.append(trainer.rng.bit_generator.state)
    assert random[0] == random[1]
    assert told[0] == told[1]
    assert f"epoch {len(histories[0]) + 1}, step" in told[0]
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
    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(AlarmError):
            trainer.fit(X, Y, epochs=10**9, batch_size=5, seed=rng, progress=False)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
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
