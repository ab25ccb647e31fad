"""Every optimizer and its options, parameter groups, parameters of others, clipping: native against plain."""

import numpy as np
import pytest

from fastdl import nn, optim
from fastdl.testing import OPTIMIZER_CASES
from fastdl.training.engine import PlainEngine, Task
from fastdl.training.engine_choice import engine_for
from tests.training.engine.twins import Parts, compare

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((10, 3)), RNG.standard_normal((10, 2))


def network(dtype=np.float64):
    return nn.Sequential(nn.Linear(3, 5, rng=1, dtype=dtype), nn.Tanh(), nn.Linear(5, 2, rng=2, dtype=dtype))


def check(optimizer, dtype=np.float64, make_model=network, shuffle=True, **clips):
    def make():
        model = make_model(dtype)
        return Parts(model, nn.MSELoss(), optimizer(model), **clips)

    return compare(make, X.astype(dtype), Y.astype(dtype), count=3, shuffle=shuffle)


@pytest.mark.parametrize("case", OPTIMIZER_CASES, ids=str)
def test_every_optimizer_trains_alike_in_both_engines(case, dtype):
    after = check(lambda model: case.make(dtype)(model.parameters()), dtype)
    assert after["step of 0"] == 12


OPTIONS = [
    *((optim.SGD, options) for options in (
        {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.9, "dampening": 0.3}, {"maximize": True},
        {"weight_decay": 0.1}, {"weight_decay": 0.1, "decoupled_weight_decay": True},
        {"momentum": 0.5, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True},
    )),
    *((optim.RMSprop, options) for options in (
        {"alpha": 0.9}, {"eps": 1e-3}, {"eps": 1e-3, "eps_inside_sqrt": True}, {"weight_decay": 0.1}, {"momentum": 0.5},
        {"centered": True}, {"centered": True, "momentum": 0.5}, {"maximize": True},
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
    )),
    *((kind, options) for kind in (optim.Adam, optim.AdamW) for options in (
        {"betas": (0.5, 0.9)}, {"eps": 1e-3}, {"eps": 1e-3, "eps_inside_sqrt": True}, {"weight_decay": 0.1},
        {"amsgrad": True, "betas": (0.5, 0.3)}, {"maximize": True},
    )),
    (optim.Adam, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options"), OPTIONS, ids=str)
def test_each_option_counts_in_both_engines(kind, options):
    plain = check(lambda model: kind(model.parameters(), lr=0.03))
    after = check(lambda model: kind(model.parameters(), lr=0.03, **options))
    assert (after["0.weight"] != plain["0.weight"]).any()


@pytest.mark.parametrize("kind", [optim.SGD, optim.RMSprop, optim.Adam])
def test_groups_have_options_of_their_own(kind):
    def optimizer(model):
        groups = [{"params": model[0].parameters(), "lr": 0.01, "weight_decay": 0.5}, {"params": [model[2].weight]}]
        model[2].weight.requires_grad = model[0].bias.requires_grad = False
        return kind([*groups, {"params": [model[2].bias], "lr": 0.0}], lr=0.3)

    after = check(optimizer)
    np.testing.assert_array_equal(after["2.bias"], network().state_dict()["2.bias"])
    assert (after["step of 0"], after["step of 1"], after["step of 3"]) == (12, 0, 12)


def test_a_parameter_that_is_not_the_optimizers_gathers_gradients_and_stays():
    after = check(lambda model: optim.SGD([*model[0].parameters()], lr=1e-12), shuffle=False)
    np.testing.assert_array_equal(after["2.weight"], network().state_dict()["2.weight"])
    model, criterion = network(), nn.MSELoss()
    for first in (0, 3, 6, 9):
        criterion(model(X[first : first + 3]), Y[first : first + 3])
        model.backward(criterion.backward())
    np.testing.assert_allclose(after["gradient of 2.weight"], 3 * model[2].weight.grad)


def test_a_parameter_that_is_not_the_models_is_stepped_with_a_gradient_of_zeros():
    def optimizer(model):
        stranger = nn.Parameter(np.ones(4))
        stranger.grad = np.ones(4)
        return optim.SGD([stranger, *model.parameters()], lr=0.1, weight_decay=0.5)

    after = check(optimizer, clip_norm=0.5, clip_value=0.1)
    np.testing.assert_allclose(after["parameter 0"], (1 - 0.05) ** 12)


def test_an_optimizer_of_one_parameter_of_a_layer_trains_it_alike(dtype):
    check(lambda model: optim.SGD([model[0].weight], lr=0.1), dtype)


@pytest.mark.parametrize(
    "clips", [{"clip_value": 0.01}, {"clip_norm": 0.02}, {"clip_value": 0.05, "clip_norm": 0.04}], ids=str
)
def test_gradients_are_clipped_alike(clips, dtype):
    after = check(lambda model: optim.SGD(model.parameters(), lr=0.1, momentum=0.9), dtype, **clips)
    gradients = np.concatenate([value.ravel() for name, value in after.items() if name.startswith("gradient of")])
    if "clip_norm" in clips:
        np.testing.assert_allclose(np.linalg.norm(gradients), clips["clip_norm"], rtol=1e-3)
    else:
        np.testing.assert_allclose(np.abs(gradients).max(), clips["clip_value"], rtol=1e-6)


SIZES = {np.float32: [3e19, 1e37, 1e-25], np.float64: [3e19, 1e200, 1e305, 1e-200]}


@pytest.mark.parametrize("limit", [1.0, 1e-4])
@pytest.mark.parametrize("native", [True, False])
def test_gradients_whose_squares_overflow_or_underflow_are_clipped(native, limit, dtype):
    for size in SIZES[dtype]:
        x, y = np.full((8, 3), size, dtype), np.zeros((8, 2), dtype)
        model = nn.Sequential(nn.Linear(3, 2, rng=0, bias=False, dtype=dtype))
        before = model[0].weight.data.copy()
        task = Task(model, nn.L1Loss(), optim.SGD(model.parameters(), lr=0.25 / limit), None, limit)
        engine = engine_for(task, x, y, 8) if native else PlainEngine(task, "")
        assert engine.native is native
        engine.epoch(x, y, None, 8, None)
        change = np.linalg.norm(model[0].weight.data - before)
        np.testing.assert_allclose(change, 0.25 if size > 1 else 0, rtol=1e-4, atol=1e-20)


def test_the_norm_is_of_all_groups_together_and_of_no_frozen_parameter():
    def optimizer(model):
        model[0].weight.requires_grad = False
        return optim.SGD([{"params": [layer.weight, layer.bias]} for layer in (model[2], model[0])], lr=0.1)

    after = check(optimizer, clip_norm=0.01)
    gradients = np.concatenate([value.ravel() for name, value in after.items() if name.startswith("gradient of")])
    np.testing.assert_allclose(np.linalg.norm(gradients), 0.01, rtol=1e-3)


def test_tied_parameters_are_stepped_once():
    def tied(dtype):
        model = nn.Sequential(nn.Linear(3, 3, rng=1, dtype=dtype), nn.Tanh(), nn.Linear(3, 3, rng=2, dtype=dtype))
        model[2].weight, model[2].bias = model[0].weight, model[0].bias
        return nn.Sequential(model, nn.Tanh(), model[0], nn.Linear(3, 2, rng=3, dtype=dtype))

    after = check(lambda model: optim.SGD(model.parameters(), lr=0.1), make_model=tied)
    np.testing.assert_array_equal(after["0.0.weight"], after["2.weight"])


def test_layers_that_share_only_the_weight_train_alike():
    def make():
        model = nn.Sequential(*(nn.Linear(3, 3, rng=seed, dtype=np.float64) for seed in (1, 2, 3)))
        model[1].weight = model[0].weight
        model[2].bias = model[0].bias
        return Parts(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1, momentum=0.9))

    compare(make, X[:, :3], X[:, :3])


def test_training_goes_on_from_the_optimizers_state():
    """Steps and state of a run before, by either engine."""

    def make():
        model = network()
        optimizer = optim.Adam(model.parameters(), lr=0.01)
        for parameter in model.parameters():
            parameter.grad = np.ones(parameter.shape)
        for _ in range(3):
            optimizer.step()
        model[0].bias.requires_grad = False
        optimizer.step()
        model[0].bias.requires_grad = True
        return Parts(model, nn.MSELoss(), optimizer)

    after = compare(make, X, Y)
    assert (after["step of 0"], after["step of 1"]) == (12, 11)
