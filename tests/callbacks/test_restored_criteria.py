"""EarlyStopping goes back to the best epoch's values of all that the optimizer trains, the criterion's among them."""

import numpy as np
import pytest

from fastdl import nn, optim
from fastdl.callbacks import Callback, EarlyStopping
from fastdl.training import Trainer

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((12, 3)).astype(np.float32), RNG.standard_normal((12, 1)).astype(np.float32)


class Scaled(nn.Module):
    """A loss with a parameter and a buffer of its own."""

    def __init__(self):
        self.log_scale = nn.Parameter(np.zeros(1, np.float32))
        self.seen = nn.Buffer(np.zeros(1, np.float32))

    def forward(self, output, target):
        return np.mean(np.square(output - target) * np.exp(-self.log_scale) + self.log_scale + 0 * self.seen)


class Spoil(Callback):
    """Keeps the values of each epoch, and changes the criterion's buffer."""

    def __init__(self):
        self.values = []

    def on_epoch_begin(self, trainer, epoch):
        for part in parts_of(trainer)[1]:
            if isinstance(part, nn.Buffer):
                part.data = part.data + 1

    def on_epoch_end(self, trainer, record):
        model, parts = parts_of(trainer)
        self.values.append([each.data.copy() for each in (*model, *parts)])


def parts_of(trainer):
    """The model's parameters, and the parameters and buffers beside it."""
    criterion, parts = trainer.criterion, []
    if isinstance(criterion, nn.Module):
        parts = [criterion.log_scale, criterion.seen]
    else:
        parts = [p for p in trainer.task().parameters() if all(p is not own for own in trainer.model.parameters())]
    return list(trainer.model.parameters()), parts


def made(kind):
    model = nn.Sequential(nn.Linear(3, 1, rng=1))
    if kind == "a module":
        criterion = Scaled()
        parameters = [criterion.log_scale]
    else:
        scale = nn.Parameter(np.zeros(1, np.float32))
        parameters = [scale]

        def criterion(output, target):
            return np.mean(np.square(output - target) * np.exp(-scale) + scale)

    return Trainer(model, criterion, optim.SGD([*model.parameters(), *parameters], lr=0.05))


KINDS = ["a module", "a function"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_criterions_values_are_the_best_epochs(kind):
    trainer, spoil = made(kind), Spoil()
    stopping = EarlyStopping("loss", patience=2, mode="max")  # the first epoch is the best
    trainer.fit(X, Y, epochs=8, batch_size=4, seed=0, progress=False, callbacks=[spoil, stopping])
    assert stopping.best_epoch < len(trainer.history)
    model, parts = parts_of(trainer)
    for part, value in zip((*model, *parts), spoil.values[stopping.best_epoch - 1], strict=True):
        np.testing.assert_array_equal(part.data, value)
    assert not np.array_equal(spoil.values[-1][-1], spoil.values[stopping.best_epoch - 1][-1])


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_in_a_training_state(kind, tmp_path):
    class Save(Callback):
        def on_checkpoint(self, trainer):
            if len(trainer.history) == 2:
                trainer.save(tmp_path / "state.safetensors")

    results = []
    for resumed in (False, True):
        trainer, stopping = made(kind), EarlyStopping("loss", patience=3, mode="max")
        if resumed:
            trainer.load(tmp_path / "state.safetensors")
        callbacks = [stopping] if resumed else [stopping, Save()]
        trainer.fit(X, Y, epochs=8, batch_size=4, seed=0, progress=False, callbacks=callbacks, resume=resumed)
        assert stopping.best_epoch == 1
        model, parts = parts_of(trainer)
        results.append([each.data.copy() for each in (*model, *parts)])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_that_do_not_fit_change_nothing():
    trainer = made("a module")
    weights, before = trainer.weights(), repr(trainer.weights())
    weights["model"]["0.weight"] += 1
    for wrong in ({}, {"criterion": {"log_scale": np.zeros(2, np.float32)}}):
        with pytest.raises(ValueError, match="expected"):
            trainer.restore({**weights, "beside": wrong})
        assert repr(trainer.weights()) == before
    with pytest.raises(ValueError, match="load_state_dict"):
        trainer.restore({**weights, "model": {}})
    assert repr(trainer.weights()) == before
    trainer.restore(weights)
    assert repr(trainer.weights()) != before


def test_a_state_of_another_criterions_values_is_refused():
    trainer, stopping = made("a module"), EarlyStopping("loss", mode="min")
    trainer.fit(X, Y, epochs=1, batch_size=4, progress=False)
    values = trainer.weights()
    state = {"best": 1.0, "best_epoch": 1, "waited": 0, "weights": values["model"], "beside": values["beside"]}
    stopping.on_resume(trainer, state)
    for wrong in (None, {}, {"criterion": {}}, {"criterion": 3}):
        with pytest.raises(ValueError, match="the best epoch's values of the criterion"):
            stopping.on_resume(trainer, {**state, "beside": wrong})
