"""What a fit finds out about its rows before the first step, and what it knows from the fits before."""

import numpy as np
import pytest

from fastdl import Trainer, nn, optim
from fastdl.metrics import accuracy
from fastdl.training import dry_run

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((20, 4)).astype(np.float32), rng.standard_normal((20, 3)).astype(np.float32)
LABELS = rng.integers(0, 3, 20)


@pytest.fixture
def trials(monkeypatch):
    """The trials so far, by their rows."""
    found, before = [], dry_run.try_rows
    monkeypatch.setattr(dry_run, "try_rows", lambda *given: (found.append(len(given[3])), before(*given))[1])
    return found


def trainer_of(criterion, *layers, **options):
    model = nn.Sequential(nn.Linear(4, 8, rng=0), *layers, nn.Linear(8, 3, rng=1))
    return Trainer(model, criterion, optim.SGD(model.parameters(), lr=0.01), **options)


def fit(trainer, x=X, y=Y, **options):
    return trainer.fit(x, y, epochs=1, **({"batch_size": 5, "seed": 0, "progress": False} | options))


def squares(output, target):
    return np.mean((output - target) ** 2)


def parts(output, target):
    return {"one": np.mean((output - target) ** 2), "two": np.mean(np.abs(output))}


CRITERIA = [(nn.MSELoss(), Y), (nn.CrossEntropyLoss(), LABELS), (squares, Y), (parts, Y)]


@pytest.mark.parametrize(("criterion", "y"), CRITERIA)
def test_a_fit_like_one_before_tries_nothing_and_is_the_same(trials, criterion, y):
    trainer, other = trainer_of(criterion), trainer_of(criterion)
    first, again = fit(trainer, y=y), fit(trainer, y=y)
    assert trials == [20]
    fit(other, y=y)
    other._fit_engines = None
    assert again.names == first.names
    assert again.names == fit(other, y=y).names
    for one, two in zip(trainer.model.parameters(), other.model.parameters(), strict=True):
        np.testing.assert_array_equal(one.data, two.data)


@pytest.mark.parametrize(
    "change",
    [
        lambda trainer: trainer.model.append(nn.Tanh()),
        lambda trainer: setattr(trainer, "criterion", nn.L1Loss()),
        lambda trainer: setattr(trainer, "criterion", nn.HuberLoss(reduction="sum")),
        lambda trainer: setattr(trainer, "clip_norm", 1.0),
        lambda trainer: setattr(trainer, "metrics", {"error": lambda output, target: 1.0}),
        lambda trainer: trainer.model.astype(np.float64),
    ],
)
def test_what_has_changed_is_tried(trials, change):
    trainer = trainer_of(nn.MSELoss())
    fit(trainer)
    change(trainer)
    fit(trainer)
    assert len(trials) == 2


@pytest.mark.parametrize("other", [{"x": X[:7], "y": Y[:7]}, {"batch_size": 4}, {"drop_last": True}])
def test_other_rows_of_the_same_kind_are_not_tried(trials, other):
    trainer = trainer_of(nn.MSELoss())
    fit(trainer)
    fit(trainer, **other)
    assert len(trials) == 1


def test_a_fit_of_steps_of_several_batches_like_one_before_tries_nothing(trials):
    trainer = trainer_of(nn.MSELoss())
    fit(trainer, accumulate=2)
    fit(trainer, accumulate=2)
    assert len(trials) == 1
    fit(trainer)  # other steps, and so another program
    assert len(trials) == 2


def test_the_last_batch_is_as_small_as_it_is_taken(trials):
    trainer = trainer_of(nn.MSELoss(), nn.BatchNorm1d(8))  # which takes no batch of one
    fit(trainer, X[:9], Y[:9], batch_size=4, drop_last=True)
    fit(trainer, X[:9], Y[:9], batch_size=4, drop_last=True)
    assert len(trials) == 1
    with pytest.raises(ValueError, match="more than one"):
        fit(trainer, X[:9], Y[:9], batch_size=4)


@pytest.mark.parametrize("options", [{"metrics": {"error": lambda output, target: np.abs(output - target).mean()}}, {}])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_fit_over_batches_is_that_over_their_rows(options, accumulate):
    def fitted(*rows, **others):
        trainer = trainer_of(nn.MSELoss(), **options)
        history = trainer.fit(*rows, epochs=4, accumulate=accumulate, progress=False, **others)
        return {name: history[name] for name in history.names if name != "seconds"}, trainer.model[0].weight.data

    batches = [(X[first : first + 5], Y[first : first + 5]) for first in (0, 5, 10, 15)]
    one, two = fitted(batches), fitted(X, Y, batch_size=5, shuffle=False)
    assert one[0] == two[0]
    np.testing.assert_array_equal(one[1], two[1])


def test_values_that_the_loss_refuses_change_nothing(trials):
    trainer = trainer_of(nn.CrossEntropyLoss())
    fit(trainer, y=LABELS)
    history, before = trainer.history, [p.data.copy() for p in trainer.model.parameters()]
    wrong = LABELS.copy()
    wrong[7] = 3
    with pytest.raises(ValueError, match=r"row.*7"):
        fit(trainer, y=wrong)
    assert trainer.history is history
    assert all(np.array_equal(p.data, old) for p, old in zip(trainer.model.parameters(), before, strict=True))


def test_a_last_batch_of_one_is_refused_before_anything_changes():
    trainer = trainer_of(nn.MSELoss(), nn.BatchNorm1d(8))
    fit(trainer)
    before = [p.data.copy() for p in trainer.model.parameters()]
    with pytest.raises(ValueError, match="one is left"):
        fit(trainer, X[:16], Y[:16])
    assert all(np.array_equal(p.data, old) for p, old in zip(trainer.model.parameters(), before, strict=True))


def test_what_runs_in_python_is_tried_each_time(trials):
    class Own(nn.Module):
        def forward(self, x):
            return x

        def backward(self, grad_output):
            return grad_output

    trainer = trainer_of(nn.MSELoss(), Own())
    fit(trainer)
    assert fit(trainer).engine.startswith("native")
    assert len(trials) == 2


def test_metrics_and_integers_are_tried_each_time(trials):
    trainer = trainer_of(nn.CrossEntropyLoss(), metrics=[accuracy])
    fit(trainer, y=LABELS)
    fit(trainer, y=LABELS)
    assert len(trials) == 2

    class Picks(nn.Module):
        def __init__(self):
            self.table = nn.Parameter(rng.standard_normal((3, 3)).astype(np.float32))

        def forward(self, x):
            return self.table[x]

    def picked(output, target):
        return -np.mean(np.take_along_axis(nn.functional.log_softmax(output), target[:, None], axis=1))

    model = Picks()
    picking, others = Trainer(model, squares, optim.SGD(model.parameters(), lr=0.01)), trainer_of(picked)
    for trainer, given, wrong in (
        (picking, (LABELS, Y), (LABELS + 5, Y)),
        (others, (X, LABELS), (X, LABELS + 5)),
    ):
        trials.clear()
        fit(trainer, *given)
        history = trainer.history
        with pytest.raises((IndexError, ValueError)):
            fit(trainer, *wrong)
        assert trainer.history is history
        assert len(trials) == 2
