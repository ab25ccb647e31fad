"""Criteria that are modules with forward alone: the same as functions, natively and node by node."""

from contextlib import nullcontext

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((50, 8)).astype(np.float32), RNG.standard_normal((50, 3)).astype(np.float32)


def mean(output, target):
    return np.mean((output - target) ** 2)


def of_samples(output, target):
    return np.mean((output - target) ** 2, axis=1)


def of_fastdl(output, target):
    return nn.HuberLoss()(output, target)


def terms(output, target):
    return {"fit": np.mean((output - target) ** 2), "size": 0.1 * np.mean(np.abs(output))}


def with_model(output, target, model):
    return np.mean((output - target) ** 2) + 0.1 * np.sum(model[0].weight.data ** 2)


def as_module(function):
    """A module whose forward is the function."""
    if function is with_model:
        forward = lambda self, output, target, model: function(output, target, model)  # noqa: E731
    else:
        forward = lambda self, output, target: function(output, target)  # noqa: E731
    return type("Criterion", (nn.Module,), {"forward": forward})()


class Scaled(nn.Module):
    """The squared distance by learned factors."""

    def __init__(self):
        self.factor = nn.Parameter(np.ones(3, np.float32))

    def forward(self, output, target):
        return np.mean((self.factor * output - target) ** 2)


def fit(criterion, eager=False, own=()):
    model = nn.Sequential(nn.Linear(8, 16, rng=1), nn.ReLU(), nn.Linear(16, 3, rng=2))
    trainer = Trainer(model, criterion, optim.Adam([*model.parameters(), *own], lr=0.01))
    with fastdl.eager() if eager else nullcontext():
        history = trainer.fit(X, Y, epochs=3, batch_size=16, seed=0, validation_data=(X[:9], Y[:9]), progress=False)
        found = {name: history[name] for name in history.names if name != "seconds"}
        found["evaluated"] = list(trainer.evaluate(X, Y).values())
        found["step"] = trainer.step(X[:7], Y[:7])
    assert history.engine.startswith("plain" if eager else "native")
    return found | dict(model.state_dict())


def assert_close(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("eager", [False, True], ids=["native", "node by node"])
@pytest.mark.parametrize("function", [mean, of_samples, of_fastdl, terms, with_model])
def test_a_module_with_forward_alone_is_a_function(function, eager):
    assert_close(fit(as_module(function), eager), fit(function))


def test_its_parameters_learn_where_the_optimizer_has_them():
    kept, native, plain = Scaled(), Scaled(), Scaled()
    fit(kept)
    np.testing.assert_array_equal(kept.factor.data, 1)
    assert_close(fit(native, own=native.parameters()), fit(plain, eager=True, own=plain.parameters()))
    assert np.abs(native.factor.data - 1).min() > 1e-3
    np.testing.assert_allclose(native.factor.data, plain.factor.data, rtol=1e-4)


@pytest.mark.parametrize("change", ["of its own", "of the loss in it"])
def test_what_changes_in_it_counts_in_the_next_fit_and_step(change):
    class Weighed(nn.Module):
        def __init__(self):
            self.loss, self.weight = nn.HuberLoss(delta=0.1), 1.0

        def forward(self, output, target):
            return self.weight * self.loss(output, target)

    found = []
    for before in (True, False):
        model, criterion = nn.Sequential(nn.Linear(8, 3, rng=1)), Weighed()
        trainer = Trainer(model, criterion, optim.SGD(model.parameters(), lr=0.0))
        if before:
            trainer.fit(X, Y, epochs=1, batch_size=25, shuffle=False, progress=False)
            trainer.step(X, Y)
        if change == "of its own":
            criterion.weight = 2.0
        else:
            criterion.loss.delta = 0.5
        found.append(
            (trainer.fit(X, Y, epochs=1, batch_size=25, shuffle=False, progress=False)["loss"], trainer.step(X, Y))
        )
    assert found[0] == found[1]


def test_an_object_with_a_forward_of_its_own_is_called_as_it_is():
    class Penalized:
        def __call__(self, output, target, model):
            return with_model(output, target, model)

        def forward(self, start):
            """Nothing to do with a module's."""

    assert_close(fit(Penalized()), fit(with_model))


def with_default(output, target, model=None):
    return np.mean((output - target) ** 2) + (0 if model is None else 0.1 * np.sum(model[0].weight ** 2))


def with_other_default(output, target, beta=0.5):
    return beta * np.mean((output - target) ** 2)


class CalledWithDefault:
    def __call__(self, output, target, model=None):
        return with_default(output, target, model)


CRITERIA = {"function": with_default, "object": CalledWithDefault(), "module": as_module(with_model)}


@pytest.mark.parametrize("eager", [False, True], ids=["native", "node by node"])
@pytest.mark.parametrize("criterion", CRITERIA.values(), ids=CRITERIA)
def test_an_argument_named_model_is_given_the_model(criterion, eager):
    wanted = fit(lambda output, target, model: with_default(output, target, model), eager)
    if isinstance(criterion, nn.Module):
        wanted = fit(with_model, eager)
    assert_close(fit(criterion, eager), wanted)


@pytest.mark.parametrize("eager", [False, True], ids=["native", "node by node"])
def test_other_arguments_with_a_default_keep_it(eager):
    assert_close(fit(with_other_default, eager), fit(lambda o, t: 0.5 * np.mean((o - t) ** 2), eager))


def test_a_loss_of_outputs_alone_may_have_the_model_too():
    def size(output, model=None):
        return np.mean(output**2) + np.sum(model[0].weight ** 2)

    model = nn.Sequential(nn.Linear(8, 3, rng=1))
    loss = Trainer(model, size, optim.SGD(model.parameters(), lr=0.1)).step(X)
    output = X @ nn.Linear(8, 3, rng=1).weight.data.T + nn.Linear(8, 3, rng=1).bias.data
    assert loss == pytest.approx(np.mean(output**2) + np.sum(nn.Linear(8, 3, rng=1).weight.data ** 2), rel=1e-5)


class NamedOutput(nn.Module):
    def __init__(self):
        self.linear = nn.Linear(8, 3, rng=1)

    def forward(self, x):
        return {"kind": self.linear(x)}


CLASSES = np.arange(50) % 3
WRONG = {
    "a dictionary": (NamedOutput, lambda: {"kind": (nn.CrossEntropyLoss(), 0.5)}, lambda y: {"kind": y}),
    "a function": (lambda: nn.Sequential(nn.Linear(8, 3, rng=1)), lambda: nn.functional.cross_entropy, lambda y: y),
    "a sum": (
        NamedOutput,
        lambda: lambda o, t: nn.functional.nll_loss(nn.functional.log_softmax(o["kind"]), t) + np.sum(o["kind"] ** 2),
        lambda y: y,
    ),
}


@pytest.mark.parametrize("eager", [False, True], ids=["native", "node by node"])
@pytest.mark.parametrize("name", WRONG)
def test_a_class_out_of_range_is_named_by_every_way_of_training(name, eager):
    make, criterion, target = WRONG[name]
    model = make()
    trainer = Trainer(model, criterion(), optim.SGD(model.parameters(), lr=0.1))
    wrong = CLASSES.copy()
    wrong[4] = 7
    batches = [(X, target(CLASSES)), (X, target(wrong))]
    with fastdl.eager() if eager else nullcontext():
        for train in (
            lambda: trainer.step(X, target(wrong)),
            lambda: trainer.fit(X, target(wrong), epochs=1, batch_size=10),
            lambda: trainer.fit(batches, epochs=1),
        ):
            with pytest.raises(ValueError, match="expected class indices from 0 to 2, got 7 at index"):
                train()
        trainer.step(X, target(CLASSES))
        with pytest.raises(ValueError, match="expected class indices from 0 to 2, got 7 at index 4"):
            trainer.step(X, target(wrong))
