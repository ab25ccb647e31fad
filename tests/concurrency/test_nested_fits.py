"""fit and load of a Trainer within its own fit, and beside it."""

import copy
import os
import pickle
import threading

import numpy as np
import pytest

from fastdl import Trainer, nn, optim
from fastdl.callbacks import Callback, EarlyStopping
from fastdl.optim import StepLR
from fastdl.training import fit_loop
from fastdl.training.engine import PlainEngine
from tests.nn.traced_layer import Gate

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((40, 2)).astype(np.float32), np.arange(40) % 2
REFUSED = (
    r"^Trainer\.fit: expected one fit of a trainer at a time, got a call while another runs; call it after that has"
    r" returned, or make another Trainer$"
)
AMID = r"^Trainer\.load: expected to be called between two epochs of the fit that runs, got a call in the midst of one"


# Layers that models have more.
MORE = []


@pytest.fixture(params=["native", "plain", "traced"], autouse=True)
def _engine(request, monkeypatch):
    MORE[:] = [Gate] if request.param == "traced" else []
    if request.param == "plain":
        monkeypatch.setattr(fit_loop, "engine_for", lambda task, *_: PlainEngine(task, "a test wants it"))


def trainer_of(schedule=False, dropout=0.2):
    model = nn.Sequential(nn.Linear(2, 6, rng=0), nn.Dropout(dropout), nn.Tanh(), *(layer(6) for layer in MORE))
    model.append(nn.Linear(6, 2, rng=1))
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    return Trainer(model, nn.CrossEntropyLoss(), optimizer, schedule=StepLR(optimizer, 2, 0.5) if schedule else None)


def fit(trainer, epochs, callbacks=(), **options):
    return trainer.fit(X, Y, epochs=epochs, batch_size=10, callbacks=callbacks, seed=3, **options)


def weights(trainer):
    return [p.data.copy() for p in trainer.model.parameters()]


def at(hook, do, after=3, watches=False):
    """A callback whose class defines the hook, as the Trainer looks for."""
    kind = type("Acting", (Callback,), {hook: lambda self, trainer, *_: self.act(trainer), "watches": watches})
    callback = kind()
    callback.done = 0

    def act(trainer):
        if len(trainer.history) >= after and not callback.done:
            callback.done += 1
            do(trainer)

    callback.act = act
    return callback


@pytest.mark.parametrize("watches", [False, True])
@pytest.mark.parametrize(
    "hook", ["on_epoch_begin", "on_step_end", "on_epoch_end", "on_checkpoint", "on_fit_begin", "on_fit_end"]
)
def test_a_nested_fit_is_refused_and_the_fit_goes_on(hook, watches):
    def nested(trainer):
        with pytest.raises(RuntimeError, match=REFUSED):
            fit(trainer, 1)

    trainer, other = trainer_of(), trainer_of()
    callback = at(hook, nested, 0 if hook == "on_fit_begin" else 3, watches)
    assert len(fit(trainer, 6, [callback])) == 6
    assert callback.done == 1
    fit(other, 6)
    assert all((one == two).all() for one, two in zip(weights(trainer), weights(other), strict=True))
    assert len(fit(trainer, 2)) == 2


def test_two_threads_cannot_fit_one_trainer():
    trainer, began, go_on, refused = trainer_of(), threading.Event(), threading.Event(), []

    def pause(trainer):
        began.set()
        go_on.wait(60)

    first = threading.Thread(target=fit, args=(trainer, 6, [at("on_epoch_end", pause)]))
    first.start()
    assert began.wait(60)
    try:
        for call in (lambda: fit(trainer, 2), lambda: trainer.load("anything")):
            with pytest.raises(RuntimeError) as error:
                call()
            refused.append(str(error.value))
    finally:
        go_on.set()
        first.join()
    assert [text.split(":")[0] for text in refused] == ["Trainer.fit", "Trainer.load"]
    assert len(trainer.history) == 6
    assert len(fit(trainer, 1)) == 1


def test_another_trainer_may_fit_within_a_fit():
    inner, trainer = trainer_of(), trainer_of()
    assert len(fit(trainer, 6, [at("on_epoch_end", lambda _: fit(inner, 4))])) == 6
    assert len(inner.history) == 4


@pytest.mark.parametrize("schedule", [False, True])
def test_a_load_at_a_checkpoint_is_followed(tmp_path, schedule):
    path = tmp_path / "two.st"
    saved = trainer_of(schedule)
    fit(saved, 2)
    saved.save(path)

    trainer, early = trainer_of(schedule), EarlyStopping(monitor="loss", patience=50, restore_best=False)
    back = at("on_checkpoint", lambda trainer: trainer.load(path), 4)
    history = fit(trainer, 6, [back, early])
    assert (len(history), back.done) == (6, 1)

    want = trainer_of(schedule)
    want.load(path)
    want.fit(X, Y, epochs=6, batch_size=10, resume=True)
    assert all((one == two).all() for one, two in zip(weights(trainer), weights(want), strict=True))
    assert [record["loss"] for record in trainer.history.records] == [record["loss"] for record in want.history.records]
    assert trainer.optimizer.param_groups[0]["lr"] == want.optimizer.param_groups[0]["lr"]


def test_the_fit_goes_on_from_its_own_states_of_callbacks(tmp_path):
    path, seen = tmp_path / "state.st", []

    class Counting(Callback):
        count = 0

        def on_epoch_end(self, trainer, record):
            self.count += 1

        def state_dict(self):
            return {"count": self.count}

        def on_resume(self, trainer, state):
            self.count = state["count"]
            seen.append(self.count)

        def on_checkpoint(self, trainer):
            if len(trainer.history) == 2 and not seen:
                trainer.save(path)
            if len(trainer.history) == 4 and not seen:
                trainer.load(path)

    counting = Counting()
    assert len(fit(trainer_of(), 6, [counting])) == 6
    assert (seen, counting.count) == ([2], 6)


@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_step_end"])
def test_a_load_amid_an_epoch_is_refused_and_the_fit_goes_on(tmp_path, hook):
    path = tmp_path / "two.st"
    saved = trainer_of()
    fit(saved, 2)
    saved.save(path)

    def load(trainer):
        with pytest.raises(RuntimeError, match=AMID):
            trainer.load(path)

    trainer, other, callback = trainer_of(), trainer_of(), at(hook, load, 3)
    assert len(fit(trainer, 6, [callback])) == 6
    assert callback.done == 1
    fit(other, 6)
    assert all((one == two).all() for one, two in zip(weights(trainer), weights(other), strict=True))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda trainer: pickle.loads(pickle.dumps(trainer))])
def test_a_copy_made_within_a_fit_may_fit(duplicate):
    copies = []
    fit(trainer_of(), 4, [at("on_epoch_end", lambda trainer: copies.append(duplicate(trainer)))])
    assert len(fit(copies[0], 2)) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded")
def test_the_child_of_another_thread_may_fit():
    trainer, began, go_on = trainer_of(), threading.Event(), threading.Event()

    def pause(trainer):
        began.set()
        go_on.wait(60)

    other = threading.Thread(target=fit, args=(trainer, 6, [at("on_epoch_end", pause)]))
    other.start()
    assert began.wait(60)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if len(fit(trainer, 2)) == 2 else 2
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    go_on.set()
    other.join()
    assert code == 0
