"""Learning-rate schedules: the rate of each epoch, for each group."""

import copy
import math
import pickle

import numpy as np
import pytest

from fastdl import nn, optim


def make_optimizer(lr=1.0):
    return optim.SGD(nn.Linear(2, 1).parameters(), lr=lr)


def rates(schedule, epochs):
    """The rate of each epoch from the first on."""
    found = []
    for _ in range(epochs):
        found.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.step()
    return found


def test_step_lr_falls_every_few_epochs():
    assert rates(optim.StepLR(make_optimizer(0.8), 2, gamma=0.5), 6) == [0.8, 0.8, 0.4, 0.4, 0.2, 0.2]


def test_exponential_lr_falls_every_epoch():
    assert rates(optim.ExponentialLR(make_optimizer(0.8), 0.5), 4) == [0.8, 0.4, 0.2, 0.1]


def test_cosine_goes_from_the_initial_rate_to_eta_min_and_stays():
    found = rates(optim.CosineAnnealingLR(make_optimizer(1.0), 4, eta_min=0.2), 7)
    want = [0.2 + 0.8 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(5)] + [0.2, 0.2]
    np.testing.assert_allclose(found, want, rtol=1e-12)


def test_cosine_warms_up_in_a_line_before():
    found = rates(optim.CosineAnnealingLR(make_optimizer(1.0), 7, warmup=3), 8)
    cosine = [(1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(5)]
    np.testing.assert_allclose(found, [0.25, 0.5, 0.75, *cosine], rtol=1e-12, atol=1e-16)


def test_a_schedule_sets_the_first_epochs_rate_when_it_is_made():
    optimizer = make_optimizer(1.0)
    optim.CosineAnnealingLR(optimizer, 5, warmup=1)
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_each_group_follows_from_its_own_initial_rate():
    layer = nn.Linear(2, 1)
    optimizer = optim.SGD([{"params": layer.weight, "lr": 1.0}, {"params": layer.bias, "lr": 0.1}])
    optim.ExponentialLR(optimizer, 0.5).step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.05]


def test_the_next_step_takes_the_new_rate():
    layer = nn.Linear(1, 1, weight_init=nn.init.zeros(), bias=False)
    optimizer = optim.SGD(layer.parameters(), lr=1.0)
    schedule = optim.ExponentialLR(optimizer, 0.5)
    for _ in range(3):
        layer.weight.grad = [[1.0]]
        optimizer.step()
        schedule.step()
    assert layer.weight.data == -1.75


# On plateau.


def plateau(metrics, **options):
    schedule = optim.ReduceLROnPlateau(make_optimizer(1.0), **options)
    found = []
    for metric in metrics:
        schedule.step(metric)
        found.append(schedule.optimizer.param_groups[0]["lr"])
    return found


def test_the_rate_falls_after_more_than_patience_epochs_without_improvement():
    assert plateau([1.0, 1.0, 1.0, 1.0, 1.0, 1.0], factor=0.5, patience=1) == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


def test_an_improvement_starts_the_count_anew():
    assert plateau([1.0, 1.0, 0.5, 0.5, 0.5], factor=0.5, patience=1) == [1.0, 1.0, 1.0, 1.0, 0.5]


def test_mode_max_wants_the_metric_to_grow():
    assert plateau([1.0, 2.0, 3.0, 2.0], factor=0.5, patience=0, mode="max") == [1.0, 1.0, 1.0, 0.5]


@pytest.mark.parametrize(
    ("options", "improves"),
    [
        ({"threshold": 0.1}, False),
        ({"threshold": 0.01}, True),
        ({"threshold": 0.5, "threshold_mode": "abs"}, False),
        ({"threshold": 0.4, "threshold_mode": "abs"}, True),
        ({"threshold": 0.1, "mode": "max"}, False),
    ],
)
def test_an_improvement_is_more_than_the_threshold(options, improves):
    change = 0.45 if options.get("mode") == "max" else -0.45
    assert plateau([10.0, 10.0 + change], factor=0.5, patience=0, **options) == [1.0, 1.0 if improves else 0.5]


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_metric_of_either_sign_that_stands_still_or_gets_worse_does_not_improve(mode, threshold_mode, sign):
    worse = 1 if mode == "min" else -1
    metrics = [sign + worse * step for step in (0.0, 0.0, 5e-5, 1e-4)]
    found = plateau(metrics, factor=0.5, patience=0, mode=mode, threshold_mode=threshold_mode)
    assert found == [1.0, 0.5, 0.25, 0.125]


@pytest.mark.parametrize("best", [10.0, -10.0, 0.0, 1e-300, -1e300])
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("part", [0.09, 0.11])
def test_a_relative_threshold_is_a_part_of_the_bests_magnitude(best, mode, part):
    change = part * abs(best) * (-1 if mode == "min" else 1)
    found = plateau([best, best + change], factor=0.5, patience=0, mode=mode, threshold=0.1)
    assert found == [1.0, 1.0 if part > 0.1 and best else 0.5]


@pytest.mark.parametrize("threshold", [0.0, 1.0, 3.0])
def test_the_first_metric_is_the_best_whatever_the_threshold(threshold):
    assert plateau([1e9], factor=0.5, patience=0, threshold=threshold) == [1.0]
    assert plateau([-1e9], factor=0.5, patience=0, threshold=threshold, mode="max") == [1.0]


def test_each_group_has_its_own_lower_bound():
    layer = nn.Linear(2, 1)
    optimizer = optim.SGD([{"params": layer.weight, "lr": 1.0}, {"params": layer.bias, "lr": 0.1}])
    schedule = optim.ReduceLROnPlateau(optimizer, patience=0, min_lr=[0.5, 0.0])
    for _ in range(3):
        schedule.step(1.0)
    np.testing.assert_allclose([group["lr"] for group in optimizer.param_groups], [0.5, 0.001])
    with pytest.raises(ValueError, match="expected min_lr for each of 2 groups, got 1"):
        optim.ReduceLROnPlateau(optimizer, min_lr=[0.5])


def test_epochs_of_cooldown_are_not_counted():
    assert plateau([1.0] * 6, factor=0.5, patience=0, cooldown=2) == [1.0, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_the_rate_does_not_fall_below_min_lr():
    assert plateau([1.0] * 4, factor=0.5, patience=0, min_lr=0.4) == [1.0, 0.5, 0.4, 0.4]


def test_min_lr_above_the_rate_does_not_raise_it():
    assert plateau([1.0] * 3, factor=0.5, patience=0, min_lr=2.0) == [1.0, 1.0, 1.0]


def test_a_reduction_of_no_more_than_eps_is_left_out():
    assert plateau([1.0] * 4, factor=0.5, patience=0, eps=0.3) == [1.0, 0.5, 0.5, 0.5]
    assert plateau([1.0] * 4, factor=0.5, patience=0, eps=0.25) == [1.0, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_nan_is_no_improvement(mode):
    assert plateau([1.0, math.nan], factor=0.5, patience=0, mode=mode) == [1.0, 0.5]


@pytest.mark.parametrize("metric", ["low", [1.0], 1j, True])
def test_the_metric_is_a_number(metric):
    schedule = optim.ReduceLROnPlateau(make_optimizer())
    with pytest.raises(TypeError, match="ReduceLROnPlateau: expected a number for metric"):
        schedule.step(metric)


def test_the_metric_is_asked_for():
    with pytest.raises(ValueError, match=r"expected the epoch's metric; write schedule\.step\(metric\)"):
        optim.ReduceLROnPlateau(make_optimizer()).step()


# Rates that something else sets.

MAKERS = {
    "StepLR": lambda optimizer: optim.StepLR(optimizer, 2),
    "ExponentialLR": lambda optimizer: optim.ExponentialLR(optimizer, 0.9),
    "CosineAnnealingLR": lambda optimizer: optim.CosineAnnealingLR(optimizer, 9, warmup=2),
    "ReduceLROnPlateau": lambda optimizer: optim.ReduceLROnPlateau(optimizer, patience=1, cooldown=1),
}


def go_on(schedule, epochs=6):
    found = []
    for _ in range(epochs):
        schedule.step(1.0)
        found.append(schedule.optimizer.param_groups[0]["lr"])
    return found


@pytest.mark.parametrize("name", MAKERS)
def test_a_rate_set_between_two_steps_is_the_one_that_the_next_step_changes(name):
    undisturbed, schedule = MAKERS[name](make_optimizer(1.0)), MAKERS[name](make_optimizer(1.0))
    (group,) = schedule.optimizer.param_groups
    go_on(undisturbed, 3)
    go_on(schedule, 3)
    group["lr"] *= 0.25
    np.testing.assert_allclose(go_on(schedule, 9), 0.25 * np.array(go_on(undisturbed, 9)), rtol=1e-12, atol=1e-16)


def test_a_resumed_optimizer_keeps_its_rate_with_a_new_schedule():
    optimizer, fresh = make_optimizer(0.1), make_optimizer(0.1)
    plateau = optim.ReduceLROnPlateau(optimizer, patience=0)
    for _ in range(4):
        plateau.step(1.0)
    new = optim.ReduceLROnPlateau(fresh, patience=0)
    fresh.load_state_dict(optimizer.state_dict())
    reduced = fresh.param_groups[0]["lr"]
    assert reduced == optimizer.param_groups[0]["lr"] < 0.001
    new.step(1.0)
    assert fresh.param_groups[0]["lr"] == reduced


@pytest.mark.parametrize("first", MAKERS)
@pytest.mark.parametrize("second", MAKERS)
def test_two_schedules_multiply(first, second):
    optimizer = make_optimizer(1.0)
    both = [MAKERS[first](optimizer), MAKERS[second](optimizer)]
    alone = [MAKERS[first](make_optimizer(1.0)), MAKERS[second](make_optimizer(1.0))]
    for _ in range(8):
        for schedule in (*both, *alone):
            schedule.step(1.0)
        want = math.prod(schedule.optimizer.param_groups[0]["lr"] for schedule in alone)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(want, rel=1e-12, abs=1e-16)


@pytest.mark.parametrize("name", MAKERS)
def test_rates_are_plain_floats_whatever_kind_was_set(name):
    schedule = MAKERS[name](make_optimizer(1.0))
    for lr in (np.float32(0.25), 1):
        schedule.optimizer.param_groups[0]["lr"] = lr
        assert all(type(found) is float for found in go_on(schedule, 6)[3:])


def test_after_t_max_a_rate_stays_as_it_is_set():
    schedule = optim.CosineAnnealingLR(make_optimizer(1.0), 3, eta_min=0.1)
    assert go_on(schedule, 4)[-2:] == [0.1, 0.1]
    schedule.optimizer.param_groups[0]["lr"] = 0.7
    assert go_on(schedule, 2) == [0.7, 0.7]


def test_a_schedule_of_ones_own_follows_in_proportion():
    class Inverse(optim.Schedule):
        def rate(self, initial, epoch):
            return initial / (1 + epoch)

    schedule = Inverse(make_optimizer(1.0))
    schedule.step()
    schedule.optimizer.param_groups[0]["lr"] = 5.0
    schedule.step()
    assert schedule.optimizer.param_groups[0]["lr"] == pytest.approx(5.0 * 2 / 3)


def test_a_schedule_of_ones_own_may_begin_and_end_at_0():
    class Triangle(optim.Schedule):
        def rate(self, initial, epoch):
            return initial * max(0, 1 - abs(epoch - 2) / 2)

    schedule = Triangle(make_optimizer(1.0))
    assert rates(schedule, 6) == [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
    schedule.optimizer.param_groups[0]["lr"] = 0.3
    schedule.step()
    assert schedule.optimizer.param_groups[0]["lr"] == 0.3
    schedule = Triangle(make_optimizer(1.0))
    schedule.optimizer.param_groups[0]["lr"] = 0.3  # where the schedule is at 0, nothing is in proportion to it
    assert rates(schedule, 3) == [0.3, 0.5, 1.0]


# State and copies.


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("change", [1.0, 0.3])
@pytest.mark.parametrize("schedule_first", [False, True])
def test_loaded_states_go_on_where_they_were(name, change, schedule_first):
    schedule = MAKERS[name](make_optimizer(0.5))
    go_on(schedule, 3)
    schedule.optimizer.param_groups[0]["lr"] *= change
    fresh = MAKERS[name](make_optimizer(0.1))
    parts = [(fresh.optimizer, schedule.optimizer), (fresh, schedule)]
    for part, saved in parts[::-1] if schedule_first else parts:
        part.load_state_dict(pickle.loads(pickle.dumps(saved.state_dict())))
    assert fresh.optimizer.param_groups[0]["lr"] == schedule.optimizer.param_groups[0]["lr"]
    assert go_on(fresh, 10) == go_on(schedule, 10)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_optimizer_and_schedule_copied_together_stay_together(name, duplicate):
    optimizer = make_optimizer()
    schedule = MAKERS[name](optimizer)
    go_on(schedule, 2)
    twins_optimizer, twin = duplicate((optimizer, schedule))
    assert twin.optimizer is twins_optimizer
    before = optimizer.param_groups[0]["lr"]
    found = go_on(twin)
    assert optimizer.param_groups[0]["lr"] == before
    assert go_on(schedule) == found


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda state: {}, ValueError),
        (lambda state: state | {"more": 1}, ValueError),
        (lambda state: state | {"initial": [0.1, 0.2]}, ValueError),
        (lambda state: state | {"initial": 0.1}, TypeError),
        (lambda state: state | {"epoch": "first"}, TypeError),
        (lambda state: state | {"epoch": None}, TypeError),
        (lambda state: None, TypeError),
        (lambda state: list(state), TypeError),
    ],
)
def test_a_bad_state_is_refused_and_changes_nothing(name, change, error):
    schedule = MAKERS[name](make_optimizer(0.5))
    before, lr = schedule.state_dict(), schedule.optimizer.param_groups[0]["lr"]
    with pytest.raises(error, match=f"{name}: expected"):
        schedule.load_state_dict(change(schedule.state_dict()))
    assert schedule.state_dict() == before
    assert schedule.optimizer.param_groups[0]["lr"] == lr


def test_a_users_own_schedule_is_one_method():
    class Inverse(optim.Schedule):
        def rate(self, initial, epoch):
            return initial / (1 + epoch)

    assert rates(Inverse(make_optimizer()), 3) == [1.0, 1 / 2, 1 / 3]


def test_a_schedule_without_rate_says_so():
    class Bare(optim.Schedule):
        pass

    with pytest.raises(TypeError, match="Bare has no rate: define rate"):
        Bare(make_optimizer())
