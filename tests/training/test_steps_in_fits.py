"""Fits step by step, over batches and with callbacks: the native call of a step does what an epoch of one batch does."""

import numpy as np
import pytest

from fastdl import Trainer, nn, optim
from fastdl.callbacks import Callback
from fastdl.errors import DivergenceError
from fastdl.training.fit_loop import Fitting

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((46, 4)).astype(np.float32), rng.standard_normal((46, 3)).astype(np.float32)
LABELS = rng.integers(0, 3, 46)


class Two(nn.Module):
    """Two inputs by name."""

    def __init__(self):
        self.one, self.two = nn.Linear(4, 3, rng=0), nn.Linear(3, 3, rng=1)

    def forward(self, a, b):
        return self.one(a) * np.tanh(self.two(b))


def parts(output, target):
    return {"one": np.mean((output - target) ** 2), "two": 0.1 * np.mean(np.abs(output))}


def alone(output):
    return np.mean(output**2)


def layers(*between):
    return nn.Sequential(nn.Linear(4, 8, rng=0), *between, nn.Linear(8, 3, rng=1))


TASKS = {
    "mean": lambda: (layers(nn.ReLU()), nn.MSELoss(), X, Y),
    "sum": lambda: (layers(nn.Tanh()), nn.MSELoss("sum"), X, Y),
    "classes": lambda: (layers(nn.ReLU()), nn.CrossEntropyLoss(ignore_index=1), X, LABELS),
    "dropout": lambda: (layers(nn.Dropout(0.5)), nn.MSELoss(), X, Y),
    "statistics": lambda: (layers(nn.BatchNorm1d(8)), nn.MSELoss(), X, Y),
    "terms": lambda: (layers(nn.ReLU()), parts, X, Y),
    "no targets": lambda: (layers(nn.ReLU()), alone, X, None),
    "by name": lambda: (Two(), nn.MSELoss(), {"a": X, "b": Y}, Y),
}


class Acts(Callback):
    """Does something at the end of some steps, and takes down all losses."""

    def __init__(self, act, at=(3, 5)):
        self.act, self.at, self.seen, self.steps = act, at, [], 0

    def on_step_end(self, trainer, step, loss):
        self.seen.append(loss)
        self.steps += 1
        if self.steps in self.at:
            self.act(trainer)


def cut(value, part):
    return {name: each[part] for name, each in value.items()} if isinstance(value, dict) else value[part]


def fitted(task, way, act=lambda trainer: None, **options):
    model, criterion, x, y = TASKS[task]()
    trainer = Trainer(model, criterion, optim.SGD(model.parameters(), lr=0.05, momentum=0.9), **options)
    acts = Acts(act)
    common = {"epochs": 3, "seed": 0, "progress": False, "callbacks": [acts]}
    if way == "batches":
        rows = [slice(first, first + 10) for first in range(0, 46, 10)]
        given = [(cut(x, part), None if y is None else cut(y, part)) for part in rows]
        history = trainer.fit(lambda: iter(given), **common)
    else:
        history = trainer.fit(x, y, batch_size=10, **common)
    return acts.seen, dict(history.items()) if hasattr(history, "items") else history["loss"], model.state_dict()


def same(one, other):
    (seen, history, weights), (others, another, values) = one, other
    assert seen == others
    assert str(history) == str(another)
    assert all(np.array_equal(weights[name], values[name]) for name in weights)


@pytest.fixture
def native(monkeypatch):
    """How many steps were single native calls."""
    counts = [0]
    before = Fitting._step

    def counting(self, x, y, size, seen):
        call = self._step_call
        losses = before(self, x, y, size, seen)
        counts[0] += call is not None and self._step_call is call
        return losses

    monkeypatch.setattr(Fitting, "_step", counting)
    return counts


def as_epochs(monkeypatch):
    """Let each step be an epoch of one batch."""
    monkeypatch.setattr(Fitting, "_step", lambda self, x, y, size, seen: self._in_one_call(x, y, None, size, seen))


@pytest.mark.parametrize("way", ["batches", "callback"])
@pytest.mark.parametrize("task", TASKS)
def test_steps_are_as_epochs_of_one_batch(task, way, native, monkeypatch):
    found = fitted(task, way)
    assert native[0] == 14  # all but the first of three epochs of five
    as_epochs(monkeypatch)
    same(found, fitted(task, way))


def replace_weight(trainer):
    layer = next(module for module in trainer.model.modules() if isinstance(module, nn.Linear))
    layer.weight = nn.Parameter(layer.weight.data * 0.5)


CHANGES = {
    "rate": lambda trainer: trainer.optimizer.param_groups[0].update(lr=0.001),
    "momentum": lambda trainer: trainer.optimizer.param_groups[0].update(momentum=0.0),
    "frozen": lambda trainer: setattr(next(trainer.model.parameters()), "requires_grad", False),
    "values": lambda trainer: next(trainer.model.parameters()).data.fill(0.1),
    "criterion": lambda trainer: setattr(trainer, "criterion", nn.L1Loss()),
    "clipped": lambda trainer: setattr(trainer, "clip_norm", 0.01),
    "limited": lambda trainer: setattr(trainer, "clip_value", 0.001),
    "replaced": replace_weight,
    "loaded": lambda trainer: trainer.model.load_state_dict(
        {name: array * 0.5 for name, array in trainer.model.state_dict().items()}
    ),
    "mode": lambda trainer: trainer.model[1].eval(),
    "longer": lambda trainer: trainer.model.append(nn.Tanh()),
    "accumulated": lambda trainer: [setattr(p, "grad", np.ones(p.shape)) for p in trainer.model.parameters()],
}


@pytest.mark.parametrize("way", ["batches", "callback"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("task", ["mean", "dropout", "statistics"])
def test_changes_amid_a_fit_count_from_the_next_step_on(change, task, way, monkeypatch):
    found = fitted(task, way, CHANGES[change])
    as_epochs(monkeypatch)
    same(found, fitted(task, way, CHANGES[change]))


def test_a_loss_that_is_not_finite_ends_the_fit_with_its_step():
    model, criterion, x, y = TASKS["mean"]()
    trainer = Trainer(model, criterion, optim.SGD(model.parameters(), lr=0.05))
    huge = np.full((10, 3), 3e38, np.float32)
    with pytest.raises(DivergenceError, match="epoch 1, step 4"):
        trainer.fit([(x[:10], y[:10])] * 3 + [(x[:10] * 0 + 1e30, huge)], epochs=1, progress=False)


def test_class_indices_beyond_the_classes_name_their_batch():
    model, criterion, x, y = TASKS["classes"]()
    trainer = Trainer(model, criterion, optim.SGD(model.parameters(), lr=0.05))
    with pytest.raises(ValueError, match="batch 4"):
        trainer.fit([(x[:10], y[:10])] * 3 + [(x[:10], y[:10] + 3)], epochs=1, progress=False)


def test_a_fit_runs_while_its_steps_are_taken(monkeypatch):
    model, criterion, x, y = TASKS["mean"]()
    trainer = Trainer(model, criterion, optim.SGD(model.parameters(), lr=0.05))
    refused = []

    def again(trainer):
        with pytest.raises(RuntimeError):
            trainer.step(x, y)
        refused.append(1)

    trainer.fit(x, y, epochs=2, batch_size=10, seed=0, progress=False, callbacks=[Acts(again)])
    assert len(refused) == 2
    assert isinstance(trainer.step(x, y), float)
