"""Forward functions that run node by node: where branches are on values, where a module is in Python, inside fastdl.eager."""

import threading
from contextlib import nullcontext

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.nn.eager import run
from tests.nn.test_forward_only import Net, Two

F32 = np.float32
RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 4))


class Doubling(nn.Module):
    """A layer in the papers' form."""

    def __init__(self):
        self.factor = nn.Parameter(np.full(1, 2.0))

    def forward(self, x):
        self.x = x
        return self.factor.data * x

    def backward(self, grad_output):
        self.factor.grad += np.sum(grad_output * self.x)
        return self.factor.data * grad_output


class Summing(nn.Module):
    """Two inputs, in Python."""

    def forward(self, one, other):
        return 3 * one + other

    def backward(self, grad_output):
        return 3 * grad_output, grad_output


class Branching(nn.Module):
    """A branch on values."""

    traced = False

    def forward(self, x):
        return 2 * x if np.sum(x) > 0 else -x


class Around(nn.Module):
    """Layers around a module, which stands in two places."""

    def __init__(self, inner):
        self.first, self.inner = nn.Linear(4, 3, rng=0, dtype=np.float64), inner
        self.last = nn.Linear(3, 2, rng=1, dtype=np.float64)

    def forward(self, x):
        h = np.tanh(self.inner(self.first(x)))
        return self.last(h + self.inner(0.5 * h))


class Joined(Around):
    def forward(self, x):
        h = self.first(x)
        return self.last(self.inner(np.tanh(h), h))


def gradients_of(model, x, seed, eager):
    """Outputs, gradients and buffers of one call in training."""
    model.zero_grad()
    if eager:
        with fastdl.eager():
            y = model(*x)
    else:
        y = model(*x)
    gx = model.backward(seed(y))
    return y, gx, [p.grad.copy() for p in model.parameters()], [b.copy() for b in model.buffers()]


def same(found, wanted, tolerance):
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        found, wanted = list(found.values()), list(wanted.values())
    if isinstance(wanted, (tuple, list)):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            same(one, other, tolerance)
    else:
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_outputs_gradients_and_statistics_are_those_of_the_program(dtype, mode):
    x = X.astype(dtype)
    twins = [Net(dtype=dtype).train(mode) for _ in range(2)]
    for twin in twins:
        twin.second.bias.requires_grad = False
    found, wanted = (
        gradients_of(twin, (x,), lambda y: (np.sin(y[0]), np.cos(y[1])), eager)
        for twin, eager in zip(twins, (True, False), strict=True)
    )
    same(found, wanted, 1e-5 if dtype == F32 else 1e-12)


def test_so_are_those_of_several_inputs_by_name():
    x = np.ones((5, 3), F32), np.linspace(-1, 1, 10, dtype=F32).reshape(5, 2)
    found, wanted = (gradients_of(Two(), x, lambda y: {"y": y["y"] + 1, "h": y["h"]}, eager) for eager in (True, False))
    same(found, wanted, 1e-5)
    with fastdl.eager():
        model = Two()
        y = model(image=x[0], state=x[1])
    same(model.backward({"y": y["y"] + 1, "h": y["h"]}), dict(zip(("image", "state"), wanted[1], strict=True)), 1e-5)


@pytest.mark.parametrize(("around", "inner"), [(Around, Doubling), (Around, Branching), (Joined, Summing)])
def test_gradients_through_modules_in_python_are_slopes(around, inner):
    model = around(inner())
    weights = RNG.normal(size=(20, 2))

    def loss(x):
        return float(np.sum(model(x) * weights))

    model(X)
    model.zero_grad()
    model(X)
    gx = model.backward(weights)
    grads = {name: p.grad.copy() for name, p in model.named_parameters()}
    direction, h = RNG.normal(size=X.shape), 1e-6
    slope = (loss(X + h * direction) - loss(X - h * direction)) / (2 * h)
    assert np.sum(gx * direction) == pytest.approx(slope, rel=1e-6)
    for name, parameter in model.named_parameters():
        direction, before = RNG.normal(size=parameter.shape), parameter.data.copy()
        sides = []
        for sign in (1, -1):
            parameter.data = before + sign * h * direction
            sides.append(loss(X))
        parameter.data = before
        assert np.sum(grads[name] * direction) == pytest.approx((sides[0] - sides[1]) / (2 * h), rel=1e-6), name


@pytest.mark.parametrize("inner", [Doubling, Branching])
def test_a_pullback_gives_gradients_in_any_order_and_again(inner):
    model = Around(inner())
    y, pullback = model.vjp(X)
    _, other = model.vjp(X[:5])
    first = pullback(np.ones_like(y), parameters=False)
    assert not any(p.grad.any() for p in model.parameters())
    other(np.ones((5, 2)))
    held = {name: p.grad.copy() for name, p in model.named_parameters()}
    np.testing.assert_array_equal(pullback(np.ones_like(y)), first)
    once = {name: p.grad - held[name] for name, p in model.named_parameters()}
    pullback(np.ones_like(y))
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(parameter.grad, held[name] + 2 * once[name], atol=1e-12)
        assert once[name].any()
    model.first.weight.data = np.zeros((3, 4))
    with pytest.raises(RuntimeError, match="expected the parameters' values of the forward"):
        pullback(np.ones_like(y))


def test_a_record_does_not_grow_with_its_pullbacks():
    model = Around(Branching())
    record = run(model, (X,), {}, np.dtype(np.float64))
    graph = record._graph
    before = len(graph.nodes), len(graph._arrays), len(graph._known)
    for _ in range(3):
        record.pull(model, np.ones((20, 2)))
    assert (len(graph.nodes), len(graph._arrays), len(graph._known)) == before


@pytest.mark.parametrize("inner", [Doubling, Branching, None])
def test_fits_learn_and_say_what_is_in_python(inner):
    model = Around(inner() if inner else nn.Tanh())
    trainer = Trainer(model, lambda y, t: np.mean((y - t) ** 2), optim.Adam(model.parameters(), lr=0.05))
    target = np.stack([np.sin(X[:, 0]), X[:, 1]], axis=1)
    if inner is None:
        with fastdl.eager():
            history = trainer.fit(X, target, epochs=30, batch_size=7, seed=0)
            trainer.step(X, target)
    else:
        history = trainer.fit(X, target, epochs=30, batch_size=7, seed=0)
        trainer.step(X, target)
    if inner is None:
        assert history.engine == "plain: a Python loop, because of fastdl.eager()"
    else:
        assert history.engine.endswith(f"bytes of planned memory, with {inner.__name__} in Python")
    assert history["loss"][-1] < history["loss"][0] / 3
    assert trainer.predict(X).shape == (20, 2)
    if inner is None:
        assert trainer.fit(X, target, epochs=1, batch_size=7).engine.startswith("native")
        trainer.step(X, target)
        assert all(engine.native for engine in trainer._step_engines.values())


def test_a_fit_node_by_node_is_the_native_one_to_rounding():
    losses = []
    for eager in (True, False):
        net = Net(p=0.3, dtype=np.float64)
        fastdl.manual_seed(5)
        trainer = Trainer(
            net,
            lambda y, t: np.mean(y[0] ** 2, axis=1) + (y[1] - t) ** 2,
            optim.SGD(net.parameters(), lr=0.05),
            clip_norm=1.0,
        )
        if eager:
            with fastdl.eager():
                losses.append(trainer.fit(X, X[:, 0], epochs=4, batch_size=6, seed=1)["loss"])
        else:
            losses.append(trainer.fit(X, X[:, 0], epochs=4, batch_size=6, seed=1)["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9)


def test_a_dropped_element_has_no_gradient():
    model = Around(nn.Dropout(0.5))
    with fastdl.eager():
        y, pullback = nn.Sequential(Branching(), nn.Dropout(0.5)).vjp(np.ones((50, 4)))
        assert 0 < np.count_nonzero(y) < y.size
        np.testing.assert_array_equal(pullback(np.ones_like(y)), y)
        model(X)
    assert model.backward(np.ones((20, 2))).shape == X.shape


def test_values_show_and_give_their_elements():
    seen = {}

    class Looks(nn.Module):
        def forward(self, x):
            seen["text"], seen["list"] = repr(x), x.tolist()
            seen["item"], seen["float"] = x[0].item(), float(x[1])
            seen["rows"] = [float(row) for row in x]
            seen["array"] = np.asarray(x)
            assert (x > 0).all()
            assert x[int(x[0])] == 2
            return x * len(x)

    looks = Looks()
    with fastdl.eager():
        np.testing.assert_array_equal(looks(np.array([1.0, 2.0])), [2.0, 4.0])
    np.testing.assert_array_equal(seen.pop("array"), [1.0, 2.0])
    assert seen == {
        "text": "Value([1., 2.], dtype=float64)",
        "list": [1.0, 2.0],
        "item": 1.0,
        "float": 2.0,
        "rows": [1.0, 2.0],
    }
    np.testing.assert_array_equal(looks.backward(np.ones(2)), [2.0, 2.0])


def test_what_has_no_derivative_here_runs_as_it_is_written_and_says_so_in_backward():
    class Decomposes(nn.Module):
        traced = False

        def forward(self, x):
            return np.linalg.svd(x)[1]

    module = Decomposes()
    np.testing.assert_array_equal(module(X), np.linalg.svd(X)[1])
    with pytest.raises(
        TypeError, match=r"test_eager\.py:\d+: expected NumPy functions that can be traced, got np\.linalg\.svd"
    ):
        module.backward(np.ones(4))
    _, pullback = module.vjp(X)
    with pytest.raises(TypeError, match=r"got np\.linalg\.svd"):
        pullback(np.ones(4))


def test_an_error_of_forward_is_the_users_own():
    class Fails(nn.Module):
        traced = False

        def forward(self, x):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        Fails()(X)


def test_eager_is_a_setting_of_its_thread_and_ends_with_the_block():
    model, found = Around(nn.Tanh()), []

    def look():
        model(X)
        found.append(type(model._kept).__name__)

    def looks():
        with fastdl.eager():
            look()
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
            with fastdl.eager():
                look()
            look()
            raise KeyError

    with pytest.raises(KeyError):
        looks()
    look()
    assert found == ["EagerRecord", "Record", "EagerRecord", "EagerRecord", "Record"]


def test_inside_no_grad_nothing_is_kept():
    model = Around(Branching())
    y = model(X)
    kept = model._kept
    with fastdl.no_grad():
        np.testing.assert_array_equal(model(X), y)
    assert model._kept is kept


def test_a_criterion_may_branch_on_values_where_the_loop_is_in_python():
    model = Around(Doubling())
    chosen = set()

    def criterion(output, target):
        loss = np.mean((output - target) ** 2)
        chosen.add(bool(loss > 0.5))
        return loss if loss > 0.5 else np.sqrt(loss)

    trainer = Trainer(model, criterion, optim.Adam(model.parameters(), lr=0.05))
    with fastdl.eager():
        history = trainer.fit(X, np.full((20, 2), 2.0), epochs=40, batch_size=20)
    assert len(chosen) == 2
    assert history["loss"][-1] < history["loss"][0]


class Pair(nn.Module):
    """Several outputs: of one shape, of another, and in a dictionary."""

    def __init__(self, kind):
        self.kind, self.scale = kind, nn.Parameter(np.full(1, 2.0))

    def forward(self, x):
        self.x = x
        one, other = self.scale.data * x, np.stack([x, x**2], axis=1)
        return (one, other) if self.kind is tuple else {"one": one, "other": (other,)}

    def backward(self, grad_output):
        one, other = grad_output if self.kind is tuple else (grad_output["one"], grad_output["other"][0])
        self.scale.grad += np.sum(one * self.x)
        return self.scale.data * one + other[:, 0] + 2 * self.x * other[:, 1]


class PairByNodes(nn.Module):
    """The same, written as forward alone that is not to be traced."""

    traced = False

    def __init__(self, kind):
        self.kind, self.scale = kind, nn.Parameter(np.full(1, 2.0))

    def forward(self, x):
        one, other = self.scale * x, np.stack([x, x**2], axis=1)
        return (one, other) if self.kind is tuple else {"one": one, "other": (other,)}


class TakesPair(nn.Module):
    def __init__(self, pair):
        self.pair, self.weight = pair, nn.Parameter(np.linspace(0.5, 1, X.shape[1]))

    def forward(self, x):
        found = self.pair(np.tanh(x) * self.weight)
        one, other = found if self.pair.kind is tuple else (found["one"], found["other"][0])
        return one * other[:, 0] + np.sin(other[:, 1])


@pytest.mark.parametrize("kind", [tuple, dict])
@pytest.mark.parametrize("make", [Pair, PairByNodes])
@pytest.mark.parametrize("eager", [False, True])
def test_a_module_in_python_returns_several_arrays(kind, make, eager):
    model, twin = TakesPair(make(kind)), TakesPair(PairByNodes(kind))
    type(twin.pair).traced = True
    try:
        wanted = twin(X)
        gy = np.cos(wanted)
        wanted_gx = twin.backward(gy)
    finally:
        type(twin.pair).traced = False
    with fastdl.eager() if eager else nullcontext():
        np.testing.assert_allclose(model(X), wanted, rtol=1e-12)
        np.testing.assert_allclose(model.backward(gy), wanted_gx, rtol=1e-9, atol=1e-12)
        for one, other in zip(model.parameters(), twin.parameters(), strict=True):
            np.testing.assert_allclose(one.grad, other.grad, rtol=1e-9)
    trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.01))
    history = trainer.fit(X, np.tanh(X), epochs=3, batch_size=8)
    assert history.engine.startswith("native")
    assert history["loss"][-1] < history["loss"][0]


def test_what_a_module_in_python_must_return():
    class Returning(nn.Module):
        def __init__(self, *outputs):
            self.outputs = outputs

        def forward(self, x):
            return self.outputs[0]

        def backward(self, grad_output):
            return grad_output

    class Takes(nn.Module):
        def __init__(self, inner):
            self.inner = inner

        def forward(self, x):
            return x * 2 + self.inner(x)[0]

    for output, got in (
        ([X], "floating arrays from a module in Python, got list"),
        ((X, np.ones(len(X), int)), "floating arrays from a module in Python, got int64 values"),
        ((X, np.ones(3)), r"outputs with a row for each sample from a module in Python, got \(20, 4\), \(3,\)"),
    ):
        model = Takes(Returning(output))
        model(X)  # as it is written
        with pytest.raises(TypeError, match=got):
            model.backward(X)
    with pytest.raises(IndexError):
        Takes(Returning(()))(X)


def test_a_module_in_python_that_reads_whole_numbers_has_gradients():
    class Table(nn.Module):
        def __init__(self):
            self.rows = nn.Parameter(np.zeros((3, 2)))

        def forward(self, index):
            self.index = index
            return self.rows.data[index]

        def backward(self, grad_output):
            np.add.at(self.rows.grad, self.index, grad_output)

    class Looks(nn.Module):
        def __init__(self):
            self.table = Table()

        def forward(self, index):
            return 2 * self.table(index)

    looks = Looks()
    y = looks(np.array([0, 2, 2]))
    looks.backward(np.ones_like(y))
    np.testing.assert_array_equal(looks.table.rows.grad, [[2, 2], [0, 0], [4, 4]])


class Counting(nn.Module):
    """Counts its forwards outside of itself."""

    def __init__(self, *parts):
        self.layer, self.parts = nn.Linear(4, 2, rng=0, dtype=np.float64), nn.ModuleList(parts)

    def forward(self, x):
        forwards.append(1)
        for part in self.parts:
            x = part(x)
        return self.layer(x)


forwards = []


def test_fits_and_steps_that_were_native_run_node_by_node_inside():
    model, target = Counting(), X[:, :2]
    trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.01))
    trainer.fit(X, target, epochs=1, batch_size=10)
    trainer.step(X, target)
    forwards.clear()
    trainer.step(X, target)
    assert not forwards
    with fastdl.eager():
        trainer.step(X, target)
        assert len(forwards) == 1
        assert trainer.fit(X, target, epochs=1, batch_size=10).engine.startswith("plain")
    assert trainer.fit(X, target, epochs=1, batch_size=10).engine.startswith("native")


def test_a_model_that_cannot_be_traced_is_not_traced_at_each_call():
    class Listing(nn.Module):
        def forward(self, x):
            return [x]

        def backward(self, grad_output):
            return grad_output

    model = Counting(Listing())
    for _ in range(2):
        with pytest.raises(TypeError, match="list"):
            model(X)
        forwards.clear()
    for _ in range(3):
        with pytest.raises(TypeError, match="list"):
            model(X)
    assert len(forwards) == 6


def test_so_has_one_that_reads_nothing_but_frozen_parameters():
    class Frozen(nn.Module):
        def __init__(self):
            self.scale, self.inner = nn.Parameter(np.full(4, 3.0), requires_grad=False), Doubling()

        def forward(self, x):
            return x + self.inner(np.square(self.scale))

    model = Frozen()
    y = model(X)
    model.backward(np.ones_like(y))
    np.testing.assert_allclose(model.inner.factor.grad, [20 * 4 * 9.0])
    assert not model.scale.grad.any()
