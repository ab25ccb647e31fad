"""Models of one structure are planned once, whatever their weights are; what computes anything else is planned anew."""

import gc
import weakref
from contextlib import nullcontext
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.graph.lowering import Lowering, plans
from tests.nn.random_models import STEPS, RandomModel

X = np.random.default_rng(0).standard_normal((12, 6))
Y = np.random.default_rng(1).standard_normal((12, 6))
IMAGES = np.random.default_rng(2).standard_normal((12, 1, 5, 5))


@pytest.fixture(autouse=True)
def anew():
    plans.forget()
    yield
    plans.forget()


def planned(*runs, trained=False):
    """How many programs some runs make, or how many of these are trained."""
    made = []
    own = Lowering.lowered

    def watched(self, criterion=-1):
        made.append(self)
        return own(self, criterion)

    with mock.patch.object(Lowering, "lowered", watched):
        for run in runs:
            run()
    return sum(each.loss is not None for each in made) if trained else len(made)


def stack(seed=0, activation=nn.Tanh, features=5):
    rng = np.random.default_rng(seed)
    dtype = np.float64
    return nn.Sequential(
        nn.Linear(6, features, rng=rng, dtype=dtype), activation(), nn.Linear(features, 6, rng=rng, dtype=dtype)
    )


def fitted(model, criterion=None, x=X, y=Y, **options):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    trainer = Trainer(model, nn.MSELoss() if criterion is None else criterion, optimizer, **options)
    trainer.fit(x, y, epochs=3, batch_size=5, seed=0, progress=False)
    assert trainer.history.engine.startswith("native")
    return trainer


class Gated(nn.Module):
    def __init__(self, seed=0, factor=0.5):
        rng = np.random.default_rng(seed)
        self.one, self.two = (nn.Linear(6, 6, rng=rng, dtype=np.float64) for _ in range(2))
        self.scale, self.factor = nn.Parameter(rng.standard_normal(6)), factor

    def forward(self, x):
        return np.tanh(self.one(x)) * self.scale * self.factor + np.exp(-np.square(self.two(x)))


@pytest.mark.parametrize("make", [stack, Gated])
def test_models_of_one_structure_share_a_program_and_nothing_else(make):
    def losses(seed):
        trainer = fitted(make(seed))
        return trainer.history["loss"], trainer.model.state_dict()

    alone = []
    for seed in range(3):
        plans.forget()
        alone.append(losses(seed))
    plans.forget()
    together = [losses(0)]
    assert planned(lambda: together.append(losses(1)), lambda: together.append(losses(2))) == 0
    for (one, weights), (other, others) in zip(alone, together, strict=True):
        assert one == other
        for name, array in weights.items():
            np.testing.assert_array_equal(array, others[name])


def test_calls_share_a_program_and_keep_their_own_records():
    models = [Gated(seed) for seed in range(3)]
    outputs = []
    assert planned(*(lambda model=model: outputs.append(model(X)) for model in models)) == 1
    for model, output in zip(models, outputs, strict=True):
        found = model.backward(np.ones_like(output))
        with fastdl.eager():
            other = Gated(models.index(model))
            np.testing.assert_allclose(other(X), output, rtol=1e-12)
            np.testing.assert_allclose(other.backward(np.ones_like(output)), found, rtol=1e-12)
        for one, wanted in zip(model.parameters(), other.parameters(), strict=True):
            np.testing.assert_allclose(one.grad, wanted.grad, rtol=1e-12)


def tied(model):
    model[2].weight = model[0].weight
    return model


def frozen(model, name):
    dict(model.named_parameters())[name].requires_grad = False
    return model


def normalized(**options):
    return nn.Sequential(
        stack(features=6), nn.BatchNorm1d(6, dtype=np.float64, **options), nn.Linear(6, 6, rng=0, dtype=np.float64)
    )


def twice(shared):
    norm = nn.BatchNorm1d(6, dtype=np.float64)
    other = norm if shared else nn.BatchNorm1d(6, dtype=np.float64)
    return nn.Sequential(norm, nn.Tanh(), other, nn.Linear(6, 6, rng=0, dtype=np.float64))


def pooled(pool):
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, rng=0, dtype=np.float64), pool, nn.Flatten(), nn.LazyLinear(6, rng=0, dtype=np.float64)
    )


class Masked(nn.Module):
    def __init__(self, mask):
        self.linear, self.mask = nn.Linear(6, 6, rng=0, dtype=np.float64), mask

    def forward(self, x):
        return self.linear(x) * self.mask


class Updating(nn.Module):
    """Lets one of two buffers, or none, be the mean of what it is given."""

    def __init__(self, which):
        self.linear, self.which = nn.Linear(6, 6, rng=0, dtype=np.float64), which
        self.one, self.two = nn.Buffer(np.zeros(6)), nn.Buffer(np.zeros(6))

    def forward(self, x):
        h = self.linear(x) + 0.5 * self.one + 0.25 * self.two
        mean = np.mean(x, axis=0)
        if self.which:
            getattr(self, self.which).update(mean)
        return h + mean


class Reading(nn.Module):
    """Reads a buffer, an array that it has registered, or the running mean of one of two layers."""

    def __init__(self, which):
        self.one, self.two = (nn.BatchNorm1d(6, dtype=np.float64, affine=False) for _ in range(2))
        self.linear, self.which = nn.Linear(6, 6, rng=0, dtype=np.float64), which
        if which == "buffer":
            self.mean = nn.Buffer(np.ones(6))
        elif which == "registered":
            self.register_buffer("mean", np.ones(6))

    def forward(self, x):
        h = self.one(self.linear(x)) + self.two(x)
        return h + (getattr(self, self.which).running_mean if self.which in ("one", "two") else self.mean)


class Cut(nn.Module):
    def __init__(self, stops):
        self.one, self.two = (nn.Linear(6, 6, rng=seed, dtype=np.float64) for seed in range(2))
        self.stops = stops

    def forward(self, x):
        with fastdl.no_grad() if self.stops else nullcontext():
            h = np.tanh(self.one(x))
        return self.two(h)


DIFFERENT = {
    "a number in forward": (lambda: Gated(factor=0.5), lambda: Gated(factor=0.25)),
    "its sign where it is zero": (lambda: Gated(factor=0.0), lambda: Gated(factor=-0.0)),
    "an array in forward": (lambda: Masked(np.ones(6)), lambda: Masked(np.arange(6.0))),
    "an activation": (stack, lambda: stack(activation=nn.Sigmoid)),
    "an activation's option": (lambda: stack(activation=nn.ELU), lambda: stack(activation=lambda: nn.ELU(0.5))),
    "a slope": (lambda: stack(activation=nn.LeakyReLU), lambda: stack(activation=lambda: nn.LeakyReLU(0.3))),
    "dropout": (lambda: stack(activation=nn.Dropout), lambda: stack(activation=lambda: nn.Dropout(0.25))),
    "a width": (stack, lambda: stack(features=7)),
    "a tie": (lambda: stack(features=6), lambda: tied(stack(features=6))),
    "what is frozen": (lambda: frozen(stack(), "0.weight"), lambda: frozen(stack(), "0.bias")),
    "momentum": (normalized, lambda: normalized(momentum=0.3)),
    "epsilon": (normalized, lambda: normalized(eps=0.1)),
    "the sign of a slope of zero": (
        lambda: stack(activation=lambda: nn.LeakyReLU(0.0)),
        lambda: stack(activation=lambda: nn.LeakyReLU(-0.0)),
    ),
    "the buffer that is updated": (lambda: Updating("one"), lambda: Updating("two")),
    "whether a buffer is updated": (lambda: Updating("one"), lambda: Updating("")),
    "the kind of an array": (lambda: Reading("buffer"), lambda: Reading("registered")),
    "whose statistics are read": (lambda: Reading("one"), lambda: Reading("two")),
    "what no_grad cuts": (lambda: Cut(True), lambda: Cut(False)),
    "a layer that stands twice": (lambda: twice(True), lambda: twice(False)),
}  # fmt: skip


@pytest.mark.parametrize("pair", DIFFERENT.values(), ids=DIFFERENT)
def test_what_differs_is_planned_anew(pair):
    alone, together = [], []
    for make in pair:
        plans.forget()
        alone.append(fitted(make()).model.state_dict())
    plans.forget()
    runs = [lambda make=make: together.append(fitted(make()).model.state_dict()) for make in pair]
    assert planned(*runs, trained=True) == 2
    for one, other in zip(alone, together, strict=True):
        for name, array in one.items():
            np.testing.assert_array_equal(array, other[name], err_msg=name)


CRITERIA = {
    "a loss's option": (nn.HuberLoss(), nn.HuberLoss(delta=0.1)),
    "a reduction": (nn.MSELoss(), nn.MSELoss("sum")),
    "weights": (nn.BCEWithLogitsLoss(weight=np.ones(6)), nn.BCEWithLogitsLoss(weight=np.arange(6.0))),
    "a function": (lambda y, t: np.mean((y - t) ** 2), lambda y, t: np.mean((y - t) ** 4)),
    "a number in it": (lambda y, t: 1.0 * np.mean((y - t) ** 2), lambda y, t: 2.0 * np.mean((y - t) ** 2)),
}


@pytest.mark.parametrize("pair", CRITERIA.values(), ids=CRITERIA)
def test_so_are_losses_that_differ(pair):
    together = []
    assert (
        planned(
            *(
                lambda each=each: together.append(fitted(stack(), each, y=np.float64(Y > 0)).history["loss"])
                for each in pair
            )
        )
        == 2
    )
    for each, losses in zip(pair, together, strict=True):
        plans.forget()
        assert fitted(stack(), each, y=np.float64(Y > 0)).history["loss"] == losses


def test_so_are_dtypes_and_sizes_of_batches():
    model = stack(activation=nn.Dropout)

    def step(batch):
        Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1)).step(X[:batch], Y[:batch])

    assert planned(lambda: step(4), lambda: step(4), lambda: step(5)) == 2
    model.astype(np.float32)
    assert planned(lambda: step(4)) == 1


class One(nn.Module):
    def forward(self, x, index):
        return np.take_along_axis(x, index, axis=1)


class Other(nn.Module):
    def forward(self, x, index):
        return np.take_along_axis(x, index, axis=1)


@pytest.mark.parametrize("eager", [False, True])
def test_an_error_names_the_line_of_its_own_model(eager):
    for kind in (One, Other):
        line = f"test_plans.py:{kind.forward.__code__.co_firstlineno + 1}: expected indices within the axis"
        model, index = kind(), np.zeros((12, 1), np.int64)
        index[7] = 6
        with fastdl.eager() if eager else nullcontext(), pytest.raises(IndexError, match=line):
            model(X, index)


@pytest.mark.parametrize("make", [stack, Gated, normalized])
def test_plans_hold_no_model(make):
    model = make()
    fitted(model)
    model(X)
    kept = [weakref.ref(model), *map(weakref.ref, model.parameters())]
    del model
    gc.collect()
    assert plans._PLANS
    assert [each() for each in kept] == [None] * len(kept)


def test_plans_are_bounded(monkeypatch):
    monkeypatch.setattr(plans, "MOST_ENTRIES", 100)
    for width in range(1, 30):
        fitted(stack(features=width))
        assert sum(len(each.entries) for each in plans._PLANS.values()) <= 100
    assert len(plans._PLANS) > 3
    assert planned(lambda: fitted(stack(features=29)), lambda: fitted(stack(features=1))) == 1
    monkeypatch.setattr(plans, "MOST_ENTRIES", 1)
    fitted(stack(features=8))
    assert len(plans._PLANS) == 1  # the latest stays, however large it is


def test_large_constants_are_not_kept():
    mask = np.random.default_rng(0).random((1, 6, 2000))

    def criterion(y, t):
        return np.mean(np.mean(y[:, :, None] * mask, axis=2) - t)

    assert planned(lambda: fitted(stack(), criterion), lambda: fitted(stack(), criterion)) == 2
    assert not plans._PLANS


@settings(max_examples=20)
@given(
    st.lists(st.tuples(st.integers(0, len(STEPS) - 1), st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=30)
)
def test_random_models_train_as_those_that_are_planned_alone(steps):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (7, 4)), rng.integers(0, 3, 7), rng.random((7, 3)) > 0.5

    def trained(scale):
        model = RandomModel(steps)
        for parameter in model.parameters():
            parameter.data[...] *= scale
        first, second = model(*x)
        model.backward((np.ones_like(first), np.ones_like(second)))
        gradients = [parameter.grad.copy() for parameter in model.parameters()]
        return [first, second, *gradients]

    plans.forget()
    trained(1.0)
    shared = trained(0.7)
    plans.forget()
    for one, other in zip(shared, trained(0.7), strict=True):
        np.testing.assert_array_equal(one, other)
