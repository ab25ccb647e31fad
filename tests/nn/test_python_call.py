"""Modules in Python amid native programs: in fits, calls and pullbacks."""

import threading
import time
from contextlib import nullcontext

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.errors import DivergenceError
from tests.nn.test_eager import Around, Branching, Doubling, Joined, Summing

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 4))
TARGET = np.stack([np.sin(X[:, 0]), X[:, 1]], axis=1)


class Tied(nn.Module):
    """A layer that shares its weight with a module in Python."""

    class Back(nn.Module):
        def __init__(self, weight):
            self.weight = weight

        def forward(self, x):
            self.x = x
            return x @ self.weight.data

        def backward(self, grad_output):
            self.weight.grad += self.x.T @ grad_output
            return grad_output @ self.weight.data.T

    def __init__(self):
        self.first, self.last = nn.Linear(4, 3, rng=0, dtype=np.float64), nn.Linear(4, 2, rng=1, dtype=np.float64)
        self.back = self.Back(self.first.weight)

    def forward(self, x):
        return self.last(self.back(np.tanh(self.first(x))))


def squares(y, t):
    return np.mean((y - t) ** 2)


class Halves(nn.Module):
    """A branch on values around layers."""

    traced = False

    def __init__(self):
        self.layer = nn.Linear(3, 3, rng=5, dtype=np.float64)

    def forward(self, x):
        h = self.layer(x)
        while np.max(np.abs(h)) > 0.1:
            h = 0.5 * h
        return h


MODELS = {
    "a backward in Python": lambda: Around(Doubling()),
    "not traced": lambda: Around(Branching()),
    "not traced, with parameters": lambda: Around(Halves()),
    "two inputs": lambda: Joined(Summing()),
    "a tied parameter": Tied,
    "itself": Branching,
}


@pytest.mark.parametrize("criterion", [nn.MSELoss, lambda: squares], ids=["a loss", "a function"])
@pytest.mark.parametrize("name", [name for name in MODELS if name != "itself"])
def test_a_native_fit_is_that_of_the_loop_to_rounding(name, criterion):
    """With a last batch that is shorter."""
    found = []
    for eager in (True, False):
        model = MODELS[name]()
        trainer = Trainer(model, criterion(), optim.Adam(model.parameters(), lr=0.02), clip_norm=1.0)
        with fastdl.eager() if eager else nullcontext():
            history = trainer.fit(X, TARGET, epochs=5, batch_size=7, seed=0)
        assert history.engine.startswith("plain" if eager else "native")
        found.append((history["loss"], trainer.step(X, TARGET), [p.data.copy() for p in model.parameters()]))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-9)
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-9)
    for one, other in zip(found[0][2], found[1][2], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("parameters", [True, False])
def test_pullbacks_are_those_of_a_run_node_by_node(name, parameters):
    found = []
    for eager in (True, False):
        model = MODELS[name]()
        with fastdl.eager() if eager else nullcontext():
            y, pullback = model.vjp(X)
            _, other = model.vjp(X[:5])
        other(np.ones_like(y[:5]), parameters=parameters)
        for _ in range(2):
            gx = pullback(np.cos(y), parameters=parameters)
        found.append([y, gx, *(p.grad.copy() for p in model.parameters())])
        assert all(p.grad.any() == parameters for p in model.parameters())
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_an_optimizer_steps_over_its_own_parameters_alone():
    model = Around(Doubling())
    model.inner.factor.requires_grad = False
    trainer = Trainer(model, squares, optim.SGD(model.last.parameters(), lr=0.1))
    first = model.first.weight.data.copy()
    trainer.step(X, TARGET)
    once = model.first.weight.grad.copy(), model.inner.factor.grad.copy()
    trainer.step(X, TARGET)
    np.testing.assert_array_equal(model.first.weight.data, first)
    np.testing.assert_array_equal(model.inner.factor.data, [2.0])
    assert not np.array_equal(model.first.weight.grad, once[0])


def test_a_module_in_python_runs_once_a_step_and_draws_no_more():
    class Noise(nn.Module):
        def __init__(self):
            self.calls, self.rng = 0, np.random.default_rng(3)

        def forward(self, x):
            self.calls += 1
            self.factor = self.rng.normal(size=x.shape)
            return x * self.factor

        def backward(self, grad_output):
            return grad_output * self.factor

    found = []
    for eager in (True, False):
        model = Around(nn.Tanh())
        model.inner = Noise()
        trainer = Trainer(model, squares, optim.SGD(model.parameters(), lr=0.01))
        with fastdl.eager() if eager else nullcontext():
            for _ in range(4):
                found.append(trainer.step(X, TARGET))
        assert model.inner.calls == 2 * 4  # in two places
    np.testing.assert_allclose(found[:4], found[4:], rtol=1e-9)


class Raises(Doubling):
    """Raises in the n-th forward or backward."""

    def __init__(self, where, number):
        super().__init__()
        self.where, self.left = where, [None] * number

    def forward(self, x):
        self.count("forward")
        return super().forward(x)

    def backward(self, grad_output):
        self.count("backward")
        return super().backward(grad_output)

    def count(self, where):
        if where == self.where and self.left:
            self.left.pop()
            if not self.left:
                raise KeyError("mine")


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_an_error_ends_a_fit_and_leaves_the_steps_before_it(where):
    found = []
    for eager in (True, False):
        model = Around(Raises(where, 7))
        optimizer = optim.Adam(model.parameters(), lr=0.02)
        trainer = Trainer(model, squares, optimizer)
        with fastdl.eager() if eager else nullcontext(), pytest.raises(KeyError, match="mine"):
            trainer.fit(X, TARGET, epochs=1, batch_size=4, shuffle=False)
        found.append([model.first.weight.data.copy(), list(optimizer._steps)])
        trainer.fit(X, TARGET, epochs=1, batch_size=4, shuffle=False)
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-9)
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize("kind", ["forward", "backward"])
def test_arrays_of_other_shapes_than_traced_are_an_error(kind):
    class Moody(Doubling):
        wrong = False

        def forward(self, x):
            y = super().forward(x)
            return y[:, :1] if self.wrong and kind == "forward" else y

        def backward(self, grad_output):
            gx = super().backward(grad_output)
            return gx[:, :1] if self.wrong and kind == "backward" else gx

    model = Around(Moody())
    trainer = Trainer(model, squares, optim.SGD(model.parameters(), lr=0.01))
    trainer.step(X, TARGET)
    model.inner.wrong = True
    with pytest.raises(
        ValueError, match=rf"Moody\.{kind}: expected float64 of shape \(20, 3\), got float64 of shape \(20, 1\)"
    ):
        trainer.step(X, TARGET)
    model.inner.wrong = False
    trainer.step(X, TARGET)


def test_shapes_follow_the_number_of_samples_or_are_those_of_one():
    class Halves(nn.Module):
        """Joins pairs of rows."""

        def forward(self, x):
            return x.reshape(len(x) // 2, -1)

        def backward(self, grad_output):
            return grad_output.reshape(2 * len(grad_output), -1)

    class Doubles(nn.Module):
        def forward(self, x):
            return np.concatenate([x, -x])

        def backward(self, grad_output):
            half = len(grad_output) // 2
            return grad_output[:half] - grad_output[half:]

    class Whole(nn.Module):
        def __init__(self, inner):
            self.inner = inner

        def forward(self, x):
            return np.sum(self.inner(np.square(x)) ** 3, axis=0)

    for inner, rows in ((Doubles(), (20, 6, 1)), (Halves(), (20, 6))):
        model = Whole(inner)
        for n in rows:
            x = X[:n]
            y, pullback = model.vjp(x)
            with fastdl.eager():
                wanted, other = model.vjp(x)
            np.testing.assert_allclose(y, wanted, atol=1e-12)
            np.testing.assert_allclose(pullback(np.ones_like(y)), other(np.ones_like(y)), atol=1e-12)
        assert len(model._flat._programs) == (1 if isinstance(inner, Doubles) else len(rows))


def test_one_that_cannot_be_copied_or_tried_leaves_the_model_to_python():
    class Locked(Doubling):
        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()

    class Picky(Doubling):
        def forward(self, x):
            if not x.any():
                raise ValueError("zeros")
            return super().forward(x)

    for inner, why in ((Locked(), "Locked cannot be copied: "), (Picky(), "Picky cannot be run on zeros: zeros")):
        model = Around(inner)
        trainer = Trainer(model, squares, optim.SGD(model.parameters(), lr=0.01))
        history = trainer.fit(X, TARGET, epochs=1, batch_size=10)
        assert history.engine.startswith(f"plain: a Python loop, because {why}")


def test_weights_that_move_amid_a_step_are_those_of_the_next():
    """The module's own code casts the model, as a signal handler might."""

    left = []

    class Casts(Doubling):
        def backward(self, grad_output):
            if left:
                left.pop()
                if not left:
                    model.astype(np.float32)
            return super().backward(grad_output)

    model = Around(Casts())
    trainer = Trainer(model, squares, optim.SGD(model.parameters(), lr=0.01))
    trainer.step(X, TARGET)
    left += [None] * 4
    history = trainer.fit(X, TARGET, epochs=2, batch_size=5, shuffle=False)
    assert len(history) == 2
    assert model.first.weight.dtype == np.float32


def test_where_a_loss_is_not_finite_the_module_is_named():
    class Breaks(Doubling):
        def forward(self, x):
            return super().forward(x) + (np.nan if x.any() else 0.0)

    model = Around(Breaks())
    trainer = Trainer(model, squares, optim.SGD(model.parameters(), lr=0.01))
    with pytest.raises(DivergenceError, match="first in Breaks, in Python"):
        trainer.step(X, TARGET)


class Slow(Doubling):
    """Lets other threads run amid its backward."""

    def backward(self, grad_output):
        x = self.x
        time.sleep(0.001)
        assert self.x is x
        return super().backward(grad_output)


class First(nn.Module):
    """A module in Python that nothing comes before."""

    def __init__(self):
        self.inner, self.last = Doubling(), nn.Linear(4, 2, rng=0, dtype=np.float64)

    def forward(self, x):
        return self.last(self.inner(x))


def test_the_first_module_learns_too():
    found = []
    for eager in (True, False):
        model = First()
        trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
        with fastdl.eager() if eager else nullcontext():
            trainer.fit(X, TARGET, epochs=2, batch_size=8, seed=0)
        found.append(model.inner.factor.data)
    assert found[0] != 2.0
    np.testing.assert_allclose(*found, rtol=1e-10)


def test_what_a_module_in_python_stores_leads_to_no_other_trace():
    model = Around(Doubling())
    model(X)
    programs = model._flat
    for n in (20, 10, 20):
        model(X[:n])
    assert model._flat is programs
    assert len(programs._programs) == 1
    trainer = Trainer(model, squares, optim.SGD(model.parameters(), lr=0.01))
    trainer.step(X, TARGET)
    (engine,) = trainer._step_engines.values()
    trainer.step(X, TARGET)
    assert [*trainer._step_engines.values()] == [engine]


def test_pullbacks_from_several_threads_do_not_mix():
    model = Around(Slow())
    y, pullback = model.vjp(X)
    wanted = [pullback(np.full_like(y, k), parameters=False) for k in range(8)]
    found = [None] * 8

    def pull(k):
        for _ in range(5):
            found[k] = pullback(np.full_like(y, k), parameters=False)

    threads = [threading.Thread(target=pull, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(found, wanted)


def test_versions_grow_with_each_step_and_not_amid_one():
    seen = []

    class Looks(Doubling):
        def forward(self, x):
            seen.append(model.last.weight.version)
            return super().forward(x)

        def backward(self, grad_output):
            seen.append(model.last.weight.version)
            return super().backward(grad_output)

    model = First()
    model.inner = Looks()
    trainer = Trainer(model, squares, optim.SGD(model.parameters(), lr=0.01))
    trainer.step(X, TARGET)
    seen.clear()
    trainer.fit(X, TARGET, epochs=1, batch_size=5)
    latest = seen[-8:]  # before them it was tried
    steps = list(zip(latest[::2], latest[1::2], strict=True))
    assert all(forward == backward for forward, backward in steps)
    assert len({forward for forward, _ in steps}) == 4


class Scaled(nn.Module):
    """A product in Python, of arguments by name, too."""

    traced = False

    def __init__(self):
        self.calls = []

    def forward(self, x, by, times=None):
        return x * by if times is None else x * by * times


@pytest.mark.parametrize(
    "call",
    [lambda m, x, y: m(x, by=y), lambda m, x, y: m(by=y, x=x), lambda m, x, y: m(x, times=y, by=np.ones_like(x))],
    ids=["by name", "in another order", "all three"],
)
def test_values_may_be_given_by_name(call):
    class Around(nn.Module):
        def __init__(self):
            self.layer, self.scaled = nn.Linear(4, 4, rng=0, dtype=np.float64), Scaled()

        def forward(self, x):
            return call(self.scaled, self.layer(x), np.tanh(x))

    model = Around()
    y, pull = model.vjp(X)
    np.testing.assert_allclose(y, model.layer(X) * np.tanh(X))
    gradients = []
    for each in (model, Around()):
        with nullcontext() if each is model else fastdl.eager():
            y, pull = each.vjp(X)
            gradients.append((pull(np.ones_like(y)), each.layer.weight.grad))
    for got, want in zip(*gradients, strict=True):
        np.testing.assert_allclose(got, want)
    trainer = Trainer(model, squares, optim.SGD(model.parameters(), lr=0.01))
    assert trainer.fit(X, X, epochs=1, batch_size=10).engine.startswith("native")
