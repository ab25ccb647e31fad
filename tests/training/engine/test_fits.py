"""Whole fits: data, metrics, schedules, callbacks and what they change; native against plain."""

import re

import numpy as np
import pytest

from fastdl import nn, optim
from fastdl.callbacks import Callback
from fastdl.metrics import accuracy
from tests.training.engine.changes import CHANGES, AtEpoch, F, X, Y, linear, parts, replace_layer
from tests.training.engine.twins import Parts, assert_same, compare_fits, fit, left


class AtStep(Callback):
    def __init__(self, change):
        self.change, self.losses = change, []

    def on_step_end(self, trainer, step, loss):
        self.losses.append(loss)
        self.change(trainer, step)


@pytest.mark.parametrize("batch_size", [3, 4, 7, 23, 24, 10**12, 10**30])
@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_of_every_size(batch_size, shuffle, dtype):
    trainer = compare_fits(lambda: parts(dtype), X, Y, batch_size=batch_size, shuffle=shuffle)
    assert len(trainer.history) == 3


def test_batches_of_one_sample():
    model = lambda: nn.Sequential(linear(4, 6), nn.Tanh(), linear(6, 3))  # noqa: E731
    compare_fits(lambda: Parts(m := model(), nn.CrossEntropyLoss(), optim.SGD(m.parameters())), X, Y, batch_size=1)
    compare_fits(lambda: Parts(m := model(), nn.CrossEntropyLoss(), optim.SGD(m.parameters())), X[:1], Y[:1])


def test_metrics_and_validation_data():
    metrics = {"accuracy": accuracy, "mean": lambda output, target: float((output[:, 0] * (target + 1)).mean())}
    trainer = compare_fits(parts, X, Y, trainer_options={"metrics": metrics}, validation_data=(X[:7], Y[:7]))
    assert trainer.history.names == (
        "loss",
        "accuracy",
        "mean",
        "val_loss",
        "val_accuracy",
        "val_mean",
        "lr",
        "seconds",
    )


SCHEDULES = {
    "step": lambda o: optim.StepLR(o, 2, 0.1),
    "exponential": lambda o: optim.ExponentialLR(o, 0.5),
    "cosine": lambda o: optim.CosineAnnealingLR(o, 4),
    "plateau": lambda o: optim.ReduceLROnPlateau(o, patience=0, factor=0.1, threshold=0.5),
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_schedules(schedule):
    trainer = compare_fits(parts, X, Y, epochs=5, trainer_options=lambda p: {"schedule": schedule(p.optimizer)})
    assert len(set(trainer.history["lr"])) > 1


class Step(Callback):
    """Steps a second schedule of the same optimizer."""

    def __init__(self, schedule):
        self.schedule = schedule

    def on_epoch_end(self, trainer, record):
        self.schedule.step()


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_two_schedules(schedule):
    options = lambda p: {"schedule": schedule(p.optimizer)}  # noqa: E731
    second = lambda p: Step(optim.ExponentialLR(p.optimizer, 0.5))  # noqa: E731
    trainer = compare_fits(parts, X, Y, epochs=4, trainer_options=options, change=second)
    alone = compare_fits(parts, X, Y, epochs=4, trainer_options=options)
    if schedule is not SCHEDULES["plateau"]:
        want = np.array(alone.history["lr"]) * 0.5 ** np.arange(4)
        np.testing.assert_allclose(trainer.history["lr"], want, rtol=1e-12)


def test_clipping():
    compare_fits(lambda: parts()._replace(clip_value=0.01, clip_norm=0.02), X, Y)


def test_sums_over_samples():
    make = lambda: parts()._replace(criterion=nn.CrossEntropyLoss(reduction="sum"))  # noqa: E731
    trainer = compare_fits(make, X, Y)
    assert trainer.history["loss"][0] > 10


@pytest.mark.parametrize(
    "augment",
    [lambda x, rng: x + rng.standard_normal(x.shape), lambda x, rng: x[:, ::-1], lambda x, rng: np.asfortranarray(-x)],
    ids=["noise", "flip", "fortran"],
)
@pytest.mark.parametrize("shuffle", [True, False])
def test_augmentation(augment, shuffle):
    compare_fits(parts, X, Y, augment=augment, shuffle=shuffle)


def test_callbacks_on_steps_and_epochs_see_the_same():
    seen = {}

    def watch(parts):
        callback = AtStep(lambda trainer, step: callback.losses.append(float(parts.model[0].weight.grad.sum())))
        seen[len(seen)] = callback
        return callback

    compare_fits(parts, X, Y, change=watch)
    assert len(seen[0].losses) == 2 * 3 * 6
    np.testing.assert_allclose(seen[0].losses, seen[1].losses, rtol=1e-9)


def test_a_fit_goes_on_where_the_last_one_ended():
    twins = []
    for native in (True, False):
        trainer, its = fit(parts, X, Y, native)
        trainer.fit(X[:12], Y[:12], epochs=2, batch_size=5, seed=2, progress=False)
        twins.append(left(its))
    assert_same(*twins, F)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("when", ["epochs", "steps"])
def test_what_callbacks_change_counts_from_the_next_step_on(change, when):
    """The sixth step is the last, of a short batch: an engine planned for it alone would be too small for the next."""

    def at(parts):
        if when == "epochs":
            return AtEpoch(lambda trainer: change(trainer) if len(trainer.history) <= 2 else None)
        return AtStep(lambda trainer, step: change(trainer) if step in (2, 5) and len(trainer.history) == 1 else None)

    compare_fits(parts, X, Y, change=at)


NO_MATTER = (
    "predict",
    "copies",
    "zero_grad",
    "forget_gradients",
    "gradients",
    "parameters move",
    "model called",
    "release",
)
ONLY_LATER = ("momentum of batch norm", "running mean", "running mean in place")


def test_class_weights_that_change_in_place_count():
    def halve(trainer):
        trainer.criterion.weight *= [0.1, 1.0, 2.0]

    make = lambda: parts()._replace(criterion=nn.CrossEntropyLoss(weight=[1.0, 2.0, 3.0]))  # noqa: E731
    compare_fits(make, X, Y, change=lambda p: AtEpoch(halve))
    compare_fits(make, X, Y, change=lambda p: AtStep(lambda trainer, step: halve(trainer) if step == 3 else None))


@pytest.mark.parametrize("name", [name for name in CHANGES if name not in (*NO_MATTER, *ONLY_LATER)])
def test_and_each_of_those_changes_does_count(name):
    plain = fit(parts, X, Y, True)[0].history["loss"]
    changed = fit(parts, X, Y, True, change=lambda p: AtEpoch(CHANGES[name]))[0].history["loss"]
    assert changed[0] == plain[0]
    assert changed[1:] != plain[1:]


def test_a_model_that_takes_in_a_python_module_goes_on():
    class Negative(nn.Module):
        def forward(self, x):
            return -x

        def backward(self, grad_output):
            return -grad_output

    def swap(trainer):
        engines.append(trainer.history.engine.endswith("with Negative in Python"))
        trainer.model._layers["1"] = Negative() if len(engines) == 1 else nn.Tanh()

    twins = []
    for native in (True, False):
        engines: list[bool] = []
        trainer, its = fit(parts, X, Y, native, change=lambda p: AtEpoch(swap), epochs=4)
        twins.append(left(its) | {"losses": trainer.history["loss"]})
        assert engines == ([False, True, False, False] if native else [False] * 4)
    assert_same(*twins, F)


WRONG = {
    "dtype": lambda t: t.model.astype(np.float32),
    "one layer's dtype": lambda t: t.model[0].astype(np.float32),
    "buffers' dtype": lambda t: setattr(t.model[3], "running_mean", np.zeros(6, np.float32)),
    "a new layer's dtype": replace_layer(0, linear(4, 6, dtype=np.float32)),
    "a dtype without parameters": replace_layer(3, nn.BatchNorm1d(6, affine=False)),
    "fewer classes": replace_layer(4, linear(6, 2)),
    "width": replace_layer(0, linear(3, 6)),
    "batch norm's width": replace_layer(3, nn.BatchNorm1d(100_000, dtype=F)),
    "layer norm's width": replace_layer(3, nn.LayerNorm(100_000, dtype=F)),
    "residual": replace_layer(1, nn.Residual(linear(6, 7))),
    "parallel": replace_layer(1, nn.Parallel(nn.Flatten(), nn.Sequential(nn.Flatten(0), linear(6, 6)))),
    "siamese": replace_layer(1, nn.Siamese(nn.Identity())),
    "flatten": replace_layer(1, nn.Flatten(1, 2)),
    "softmax": replace_layer(1, nn.Softmax(2)),
    "dropout of channels": replace_layer(0, nn.Conv2d(1, 1, 1, dtype=F)),
    "pooling": replace_layer(1, nn.MaxPool1d(2)),
    "class weights": lambda t: setattr(t.criterion, "weight", np.ones(2)),
    "no targets": lambda t: setattr(t, "criterion", nn.MSELoss()),
    "no reduction": lambda t: setattr(t.criterion, "reduction", "none"),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_the_same_error_in_both_engines(change):
    errors = []
    for native in (True, False):
        with pytest.raises((TypeError, ValueError)) as caught:
            fit(parts, X, Y, native, change=lambda p: AtEpoch(change))
        errors.append((caught.type, str(caught.value)))
    (kind, message), (other, wanted) = errors
    assert kind is other
    # A convolution or a pooling is planned for one sample.
    assert message.split("got")[0] == wanted.split("got")[0]


def test_a_fit_says_which_engine_ran():
    assert re.fullmatch(
        r"native: one program over [\d,]+ bytes of planned memory", fit(parts, X, Y, True)[0].history.engine
    )
    assert fit(parts, X, Y, False)[0].history.engine == "plain: a Python loop, because a test wants it"
    assert fit(parts, X, Y, True, epochs=0)[0].history.engine == "none: no epoch was run"
