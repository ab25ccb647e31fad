"""What the loss of an epoch is divided by: what the criterion's mean counts, in both engines and in evaluation."""

import numpy as np
import pytest

from fastdl import Trainer, data, nn, optim
from fastdl.callbacks import Callback
from fastdl.metrics import accuracy, error
from tests.training.engine.twins import Parts, compare_fits, fit

RNG = np.random.default_rng(0)
ROWS = 64
X = RNG.normal(size=(ROWS, 4))
CLASSES, I = np.arange(ROWS) % 3, np.arange(ROWS)
TARGETS = {
    "none ignored": CLASSES,
    "half of them ignored": np.where(I % 2, CLASSES, -100),
    "one batch ignored": np.where(I // 16 == 1, -100, CLASSES),
    "most of a batch ignored": np.where((I > 0) & (I < 16), -100, CLASSES),
    "all but one ignored": np.where(I == 40, CLASSES, -100),
}
CRITERIA = {
    "cross entropy": nn.CrossEntropyLoss(),
    "weighted": nn.CrossEntropyLoss(weight=[0.1, 2.0, 5.0]),
    "a class without weight": nn.CrossEntropyLoss(weight=[0.0, 2.0, 5.0]),
    "weighted and smoothed": nn.CrossEntropyLoss(weight=[0.1, 2.0, 5.0], label_smoothing=0.2),
    "likelihood": nn.NLLLoss(weight=[0.1, 2.0, 5.0]),
    "sum": nn.CrossEntropyLoss(reduction="sum"),
    "sum over rows": nn.CrossEntropyLoss(reduction="batchmean"),
}


def parts(criterion, lr=0.0, places=()):
    layers = [nn.Linear(4, 3 * int(np.prod(places, initial=1)), rng=0, dtype=np.float64)]
    if places:
        layers.append(Unflatten((3, *places)))
    if isinstance(criterion, nn.NLLLoss):
        layers.append(nn.LogSoftmax(dim=1))
    model = nn.Sequential(*layers)
    return Parts(model, criterion, optim.SGD(model.parameters(), lr=lr))


class Unflatten(nn.Module):
    def __init__(self, shape):
        self.shape = shape

    def forward(self, x):
        return x.reshape(len(x), *self.shape)

    def backward(self, grad_output):
        return grad_output.reshape(len(grad_output), -1)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("criterion", CRITERIA.values(), ids=CRITERIA)
def test_an_epoch_without_changes_has_the_loss_of_evaluation(criterion, target, native):
    for batch_size in (16, 23):
        trainer, _ = fit(
            lambda: parts(criterion), X, target, native, epochs=3, batch_size=batch_size, validation_data=(X, target)
        )
        record, evaluated = trainer.history[-1], trainer.evaluate(X, target, batch_size=7)["loss"]
        np.testing.assert_allclose(trainer.history["loss"], evaluated, rtol=1e-12)
        assert record["val_loss"] == evaluated


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("criterion", CRITERIA.values(), ids=CRITERIA)
def test_both_engines_train_alike_where_some_targets_are_ignored(criterion, target):
    compare_fits(lambda: parts(criterion, lr=0.01), X, target, batch_size=8)
    compare_fits(lambda: parts(criterion, lr=0.01), X, target, batch_size=10, drop_last=True, shuffle=False)


@pytest.mark.parametrize(
    "ways",
    [{}, {"drop_last": True}, {"shuffle": False}, {"augment": lambda x, rng: x}],
    ids=["plain", "drop_last", "in order", "augment"],
)
def test_every_way_of_fitting_counts_alike(ways):
    target = TARGETS["most of a batch ignored"]
    trainer, _ = fit(lambda: parts(nn.CrossEntropyLoss()), X, target, True, batch_size=16, **ways)
    np.testing.assert_allclose(trainer.history["loss"], trainer.evaluate(X, target)["loss"], rtol=1e-12)


def test_batches_count_alike():
    target = TARGETS["most of a batch ignored"]
    trainer = Trainer(*parts(nn.CrossEntropyLoss())[:3])
    trainer.fit(lambda: data.batches(X, target, 9, rng=0), epochs=2)
    np.testing.assert_allclose(trainer.history["loss"], trainer.evaluate(X, target)["loss"], rtol=1e-12)


@pytest.mark.parametrize("criterion", [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(weight=[0.1, 2.0, 5.0])], ids=repr)
def test_places_of_sequences_are_counted_one_by_one(criterion):
    target = RNG.integers(0, 3, (ROWS, 5))
    target[I[:, None] < 20 * np.arange(5)] = -100  # some are short, some empty
    target[:9] = -100
    trainer = Trainer(*parts(criterion, places=(5,))[:3], metrics=[accuracy])
    history = trainer.fit(X, target, epochs=2, batch_size=8, shuffle=False)
    evaluated = trainer.evaluate(X, target)
    assert history["loss"][-1] == pytest.approx(evaluated["loss"], rel=1e-12)
    assert history["accuracy"][-1] == evaluated["accuracy"]
    scores = trainer.predict(X)
    counts = target != -100
    assert evaluated["accuracy"] == (scores.argmax(axis=1) == target)[counts].mean()


@pytest.mark.parametrize("native", [True, False])
def test_a_fit_where_nothing_counts_has_no_loss_and_changes_nothing(native):
    before = parts(nn.CrossEntropyLoss()).model.state_dict()
    trainer, its = fit(
        lambda: parts(nn.CrossEntropyLoss(), lr=0.5),
        X,
        np.full(ROWS, -100),
        native,
        trainer_options={"metrics": [accuracy]},
    )
    assert np.isnan(trainer.history["loss"]).all()
    assert np.isnan(trainer.history["accuracy"]).all()
    for name, array in its.model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


class Steps(Callback):
    def __init__(self):
        self.losses = []

    def on_step_end(self, trainer, step, loss):
        self.losses.append(loss)


@pytest.mark.parametrize("native", [True, False])
def test_a_callback_on_steps_is_given_each_batchs_own_mean(native):
    target, criterion = TARGETS["one batch ignored"], nn.CrossEntropyLoss()
    steps = Steps()
    trainer, its = fit(
        lambda: parts(criterion), X, target, native, change=lambda _: steps, epochs=1, batch_size=16, shuffle=False
    )
    want = [criterion(its.model(X[first : first + 16]), target[first : first + 16]) for first in range(0, ROWS, 16)]
    np.testing.assert_allclose(steps.losses, want, rtol=1e-12)
    assert np.isnan(steps.losses[1])
    assert trainer.history["loss"] == [pytest.approx(trainer.evaluate(X, target)["loss"])]


# Metrics.


@pytest.mark.parametrize("ignored", [-100, 2, 255])
@pytest.mark.parametrize("native", [True, False])
def test_metrics_are_of_the_targets_that_count(ignored, native):
    target = np.where(I % 2, CLASSES, ignored)
    trainer, its = fit(
        lambda: parts(nn.CrossEntropyLoss(ignore_index=ignored)),
        X,
        target,
        native,
        trainer_options={"metrics": [accuracy, error]},
        validation_data=(X, target),
    )
    counts = target != ignored
    want = accuracy(its.model(X)[counts], target[counts])
    record = trainer.history[-1]
    assert record["accuracy"] == record["val_accuracy"] == trainer.evaluate(X, target)["accuracy"] == want
    assert record["error"] == pytest.approx(1 - want)


def broken(output, target):
    raise LookupError("no such thing")


def of_all_classes(output, target):
    """Asks for more than a few rows have."""
    if len(np.unique(target)) < 3:
        raise ValueError("not every class is there")
    return float(len(target))


@pytest.mark.parametrize(
    ("metric", "error", "message"),
    [
        (broken, LookupError, "no such thing"),
        (lambda output, target: output, TypeError, r"Trainer: expected one number of the metric it, got ndarray of shape"),
        (lambda output, target: None, TypeError, "Trainer: expected one number of the metric it, got NoneType"),
        (lambda output: 1.0, TypeError, "positional argument"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("as_batches", [False, True])
def test_a_metric_that_cannot_be_taken_is_reported_before_the_first_step(metric, error, message, as_batches):
    model = nn.Sequential(nn.Linear(4, 3, rng=0, dtype=np.float64))
    before = model.state_dict()
    trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=1.0), metrics={"it": metric})
    arguments, options = (([(X, CLASSES)],), {}) if as_batches else ((X, CLASSES), {"batch_size": 8})
    with pytest.raises(error, match=message):
        trainer.fit(*arguments, epochs=1, **options)
    assert len(trainer.history) == 0
    np.testing.assert_array_equal(model.state_dict()["0.weight"], before["0.weight"])


def test_a_metric_that_a_few_rows_do_not_suffice_for_is_tried_on_all():
    order = np.argsort(CLASSES, kind="stable")
    x, y = X[order], CLASSES[order]
    y = np.where(y == 1, 0, y)
    y[30] = 1
    trainer = Trainer(*parts(nn.CrossEntropyLoss())[:3], metrics=[of_all_classes])
    assert trainer.fit(x, y, epochs=1, batch_size=8)["of_all_classes"] == [ROWS]
    trainer = Trainer(*parts(nn.CrossEntropyLoss())[:3], metrics=[of_all_classes])
    with pytest.raises(ValueError, match="not every class is there"):
        trainer.fit(x, np.minimum(y, 1), epochs=1, batch_size=8)


def test_metrics_are_tried_on_validation_data_too():
    def few(output, target):
        if len(target) < ROWS:
            raise ValueError("too few")
        return 1.0

    trainer = Trainer(*parts(nn.CrossEntropyLoss())[:3], metrics=[few])
    with pytest.raises(ValueError, match="too few"):
        trainer.fit(X, CLASSES, epochs=1, batch_size=8, validation_data=(X[:9], CLASSES[:9]))
    assert len(trainer.history) == 0
