"""Changes of what functions are, their code, defaults and a partial's arguments, count from the next call, fit or step on."""

from functools import partial

import numpy as np
import pytest

from fastdl import Trainer, nn, optim

X = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
Y = 2 * X[:, :2]


def scaled(output, target, scale=1.0):
    return scale * np.mean((output - target) ** 2)


def twice(output, target, scale=1.0):
    return 2 * np.mean((output - target) ** 2)


def squares():
    def squares(output, target, scale=1.0):
        return scale * np.mean((output - target) ** 2)

    return squares


def by_name():
    def squares(output, target, *, scale=1.0):
        return scale * np.mean((output - target) ** 2)

    return squares


def through(function):
    """A loss that calls a function."""

    def squares(output, target):
        return function(output, target)

    squares.inner = function
    return squares


def default():
    """A loss that calls a function that is its default."""

    inner = by_name()

    def squares(output, target, function=inner):
        return function(output, target)

    squares.inner = inner
    return squares


class Slotted:
    __slots__ = ("scale",)

    def __init__(self):
        self.scale = 1.0

    def __call__(self, output, target):
        return self.scale * np.mean((output - target) ** 2)


class Inherited(Slotted):
    __slots__ = ("__weakref__",)


class Both(Slotted):
    """With a dictionary, too."""


class Methods(Slotted):
    __slots__ = ()

    def loss(self, output, target):
        return self.scale * np.mean((output - target) ** 2)


class Holding:
    """What it holds in a slot is called, or an array."""

    __slots__ = ("held",)

    def __init__(self, held):
        self.held = held

    def __call__(self, output, target):
        factor, function = (self.held, squares()) if isinstance(self.held, np.ndarray) else (1.0, self.held)
        return np.mean(factor) * function(output, target)


class Default:
    """Whose class says what the object does not."""

    scale = 1.0

    def __call__(self, output, target):
        return self.scale * np.mean((output - target) ** 2)

    def loss(self, output, target):
        return self(output, target)


def with_attribute():
    """A loss that reads an attribute of its own."""

    def squares(output, target):
        return squares.scale * np.mean((output - target) ** 2)

    squares.scale = 1.0
    return squares


CHANGES = {
    "defaults": (squares, lambda loss: setattr(loss, "__defaults__", (2.0,))),
    "defaults by name": (by_name, lambda loss: setattr(loss, "__kwdefaults__", {"scale": 2.0})),
    "one by name": (by_name, lambda loss: loss.__kwdefaults__.update(scale=2.0)),
    "code": (squares, lambda loss: setattr(loss, "__code__", twice.__code__)),
    "of a partial": (lambda: partial(scaled, scale=1.0), lambda loss: loss.keywords.update(scale=2.0)),
    "a partial": (lambda: partial(scaled, scale=1.0), lambda loss: loss.__setstate__((twice, (), {}, None))),
    "defaults within": (lambda: through(squares()), lambda loss: setattr(loss.inner, "__defaults__", (2.0,))),
    "code within": (lambda: through(squares()), lambda loss: setattr(loss.inner, "__code__", twice.__code__)),
    "partial within": (
        lambda: through(partial(scaled, scale=1.0)),
        lambda loss: loss.inner.keywords.update(scale=2.0),
    ),
    "default's own": (default, lambda loss: loss.inner.__kwdefaults__.update(scale=2.0)),
    "slot": (Slotted, lambda loss: setattr(loss, "scale", 2.0)),
    "slot of a base": (Inherited, lambda loss: setattr(loss, "scale", 2.0)),
    "slot beside others": (Both, lambda loss: setattr(loss, "scale", 2.0)),
    "slot of a method's object": (lambda: Methods().loss, lambda loss: setattr(loss.__self__, "scale", 2.0)),
    "slot of a called object": (lambda: through(Slotted()), lambda loss: setattr(loss.inner, "scale", 2.0)),
    "function in a slot": (lambda: Holding(squares()), lambda loss: setattr(loss.held, "__defaults__", (2.0,))),
    "array in a slot": (lambda: Holding(np.ones(2)), lambda loss: loss.held.fill(2.0)),
    "further argument": (lambda: partial(scaled), lambda loss: loss.keywords.update(scale=2.0)),
    "partial of a method": (lambda: partial(Methods().loss), lambda loss: setattr(loss.func.__self__, "scale", 2.0)),
    "partial of an object": (lambda: partial(Default()), lambda loss: setattr(loss.func, "scale", 2.0)),
    "attribute of a called object": (lambda: through(Default()), lambda loss: setattr(loss.inner, "scale", 2.0)),
    "attribute of a method's object": (lambda: Default().loss, lambda loss: setattr(loss.__self__, "scale", 2.0)),
    "attribute of a function": (with_attribute, lambda loss: setattr(loss, "scale", 2.0)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_loss_counts_from_the_next_fit_and_step_on(change):
    make, do = CHANGES[change]
    loss, model = make(), nn.Sequential(nn.Linear(3, 2, rng=0))
    trainer = Trainer(model, loss, optim.SGD(model.parameters(), lr=0.0))

    def losses():
        fit = trainer.fit(X, Y, epochs=1, batch_size=20, progress=False)
        return np.array([fit["loss"][-1], *(trainer.step(X, Y) for _ in range(4)), trainer.evaluate(X, Y)["loss"]])

    before = losses()
    do(loss)
    np.testing.assert_allclose(losses(), 2 * before, rtol=1e-5)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_function_of_a_module_counts_from_the_next_call_on(change):
    make, do = CHANGES[change]
    function = make()

    class Losses(nn.Module):
        def __init__(self):
            self.layer, self.function = nn.Linear(3, 2, rng=0), function

        def forward(self, x, target):
            return self.layer(x) * self.function(x[:, :2], target)

    model = Losses()

    def outputs():
        return np.stack([*(model(X, Y) for _ in range(3)), model.vjp(X, Y)[0]])

    before = outputs()
    do(function)
    if change == "array in a slot":  # what objects in attributes hold is looked at, but not the numbers in their arrays
        function.held = function.held.copy()
    np.testing.assert_allclose(outputs(), 2 * before, rtol=1e-5)


def helper(x, factor=1.0):
    return factor * x


class Calls(nn.Module):
    def __init__(self, function):
        self.layer, self.function = nn.Linear(3, 2, rng=0), function

    def forward(self, x):
        return self.function(self.layer(x))


class Global(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(3, 2, rng=0)

    def forward(self, x):
        return helper(self.layer(x))


@pytest.mark.parametrize("kind", ["attribute", "partial", "global"])
def test_a_changed_function_counts_from_the_next_call_on(kind):
    function = partial(helper, factor=1.0) if kind == "partial" else helper
    model = Global() if kind == "global" else Calls(function)
    before = [model(X) for _ in range(3)][-1]
    try:
        if kind == "partial":
            function.keywords["factor"] = 2.0
        else:
            helper.__defaults__ = (2.0,)
        np.testing.assert_allclose(model(X), 2 * before, rtol=1e-6)
        np.testing.assert_allclose(model.vjp(X)[0], 2 * before, rtol=1e-6)
    finally:
        helper.__defaults__ = (1.0,)


def test_what_stays_is_not_traced_again(monkeypatch):
    traced = []

    def loss(output, target, scale=1.0):
        traced.append(1)
        return scale * np.mean((output - target) ** 2)

    model = nn.Sequential(nn.Linear(3, 2, rng=0))
    trainer = Trainer(model, partial(loss, scale=0.5), optim.SGD(model.parameters(), lr=0.01))
    for _ in range(3):
        trainer.step(X, Y)
    count = len(traced)
    for _ in range(5):
        trainer.step(X, Y)
    assert len(traced) == count
