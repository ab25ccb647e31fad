"""Learning-rate schedules beside PyTorch's, epoch by epoch."""

import math

import numpy as np
import pytest

from fastdl import nn, optim

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

RATES = [1.0, 0.03]
NOISE = np.random.default_rng(0).normal(size=60)
METRICS = {
    "falling": 1 / np.arange(1.0, 61),
    "rising": np.arange(60.0),
    "flat": np.ones(60),
    "noisy": 1 + 0.3 * NOISE + np.linspace(1, 0, 60),
    "negative": -5 + 0.3 * NOISE,
    "creeping down": 1 - 5e-5 * np.arange(60),
    "creeping up": 1 + 5e-5 * np.arange(60),
    "with NaN": np.where(np.arange(60) % 7 == 3, math.nan, 1 + 0.3 * NOISE),
}


def optimizers():
    """Two groups of different rates, in both libraries."""
    ours = [{"params": [nn.Parameter(np.zeros(1, np.float32))], "lr": lr} for lr in RATES]
    theirs = [{"params": [torch.zeros(1)], "lr": lr} for lr in RATES]
    return optim.SGD(ours), torch.optim.SGD(theirs)


def hold_together(name, options, epochs=30, metrics=None, changes=(), second=None):
    """The rates of both groups, from the start and after each epoch, changed by factors in some; returns them."""
    ours, theirs = optimizers()
    schedule = getattr(optim, name)(ours, **options)
    schedule_torch = getattr(torch.optim.lr_scheduler, name)(theirs, **options)
    others = []
    if second is not None:
        others = [getattr(optim, second[0])(ours, **second[1])]
        others += [getattr(torch.optim.lr_scheduler, second[0])(theirs, **second[1])]
    history = []
    for epoch in range(epochs + 1):
        for each in (ours, theirs):
            for group in each.param_groups:
                group["lr"] *= dict(changes).get(epoch, 1.0)
        rates = [[group["lr"] for group in each.param_groups] for each in (ours, theirs)]
        np.testing.assert_allclose(rates[0], rates[1], rtol=1e-12, atol=1e-16, err_msg=f"epoch {epoch}")
        history.append(rates[0])
        theirs.step()
        for each in (schedule, schedule_torch):
            each.step(*(() if metrics is None else (float(metrics[epoch]),)))
        for each in others:
            each.step()
    return np.array(history)


@pytest.mark.parametrize("options", [{"step_size": 1}, {"step_size": 4}, {"step_size": 7, "gamma": 0.5}], ids=str)
def test_step(options):
    hold_together("StepLR", options)


@pytest.mark.parametrize("gamma", [1.0, 0.95, 0.5, 1.1, 0.0])
def test_exponential(gamma):
    hold_together("ExponentialLR", {"gamma": gamma})


@pytest.mark.parametrize(
    "options", [{"T_max": 1}, {"T_max": 10}, {"T_max": 30, "eta_min": 0.01}, {"T_max": 30}], ids=str
)
def test_cosine(options):
    hold_together("CosineAnnealingLR", options, epochs=options["T_max"])


@pytest.mark.parametrize("metrics", METRICS)
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"patience": 0},
        {"patience": 2, "factor": 0.5},
        {"patience": 2, "cooldown": 3},
        {"patience": 1, "min_lr": 0.02},
        {"patience": 1, "min_lr": 0.5},
        {"patience": 2, "threshold": 0.1},
        {"patience": 2, "threshold": 0.1, "threshold_mode": "abs"},
        {"patience": 0, "factor": 0.0},
        {"patience": 0, "eps": 1e-3},
    ],
    ids=str,
)
def test_plateau(options, mode, metrics):
    if metrics == "negative" and options.get("threshold_mode") != "abs":
        pytest.skip("torch's relative threshold lets a negative metric improve where it stands still")
    hold_together("ReduceLROnPlateau", {"mode": mode, **options}, epochs=len(NOISE) - 1, metrics=METRICS[metrics])


def test_a_plateau_has_reductions_to_agree_on():
    history = hold_together("ReduceLROnPlateau", {"patience": 2}, metrics=METRICS["rising"])
    assert len(np.unique(history[:, 0])) > 5


SCHEDULES = {
    "StepLR": {"step_size": 3, "gamma": 0.5},
    "ExponentialLR": {"gamma": 0.9},
    "CosineAnnealingLR": {"T_max": 20, "eta_min": 0.001},
}
CHANGES = [(2, 0.5), (3, 4.0), (9, 0.01), (15, 3.0)]


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_that_are_changed_in_between(name):
    hold_together(name, SCHEDULES[name], epochs=20, changes=CHANGES)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_rates_that_are_changed_in_between_on_a_plateau(mode):
    hold_together("ReduceLROnPlateau", {"patience": 1, "mode": mode}, metrics=METRICS["noisy"], changes=CHANGES)


@pytest.mark.parametrize("second", SCHEDULES)
@pytest.mark.parametrize("first", [*SCHEDULES, "ReduceLROnPlateau"])
def test_two_schedules_of_one_optimizer(first, second):
    options = SCHEDULES.get(first, {"patience": 1})
    metrics = None if first in SCHEDULES else METRICS["noisy"]
    hold_together(first, options, 20, metrics, changes=[(7, 0.3)], second=(second, SCHEDULES[second]))


@pytest.mark.parametrize("name", SCHEDULES)
def test_an_optimizer_that_is_loaded_after_its_schedule_was_made(name):
    (ours, theirs), (saved, saved_torch) = optimizers(), optimizers()
    schedule = getattr(optim, name)(ours, **SCHEDULES[name])
    schedule_torch = getattr(torch.optim.lr_scheduler, name)(theirs, **SCHEDULES[name])
    for optimizer in (saved, saved_torch):
        for group in optimizer.param_groups:
            group["lr"] *= 0.1
    ours.load_state_dict(saved.state_dict())
    theirs.load_state_dict(saved_torch.state_dict())
    for epoch in range(10):
        theirs.step()
        schedule.step()
        schedule_torch.step()
        rates = [[group["lr"] for group in each.param_groups] for each in (ours, theirs)]
        np.testing.assert_allclose(rates[0], rates[1], rtol=1e-12, err_msg=f"epoch {epoch}")


def test_bounds_of_groups_on_a_plateau():
    hold_together("ReduceLROnPlateau", {"patience": 0, "min_lr": [0.2, 0.001]}, metrics=METRICS["rising"])
