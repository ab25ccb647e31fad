"""Arrays that modules register as buffers, in forward functions that are traced: each call computes with what they hold then."""

import copy
import pickle
from contextlib import nullcontext

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim

F32 = np.float32
X = np.random.default_rng(0).standard_normal((6, 3)).astype(F32)
ROWS = np.random.default_rng(1).standard_normal((48, 3)).astype(F32) + 3


class Of(nn.Module):
    """A function of x and an array."""

    def __init__(self, array, function):
        self.function = function
        self.register_buffer("array", array)

    def forward(self, x):
        return self.function(x, self.array)


READ = {
    "factor": (np.array([1, 2, 3], F32), np.array([0, 1, 5], F32), lambda x, a: x * a),
    "factor of another dtype": (np.array([1.0, 2, 3]), np.array([0.0, 1, 5]), lambda x, a: x * a),
    "whole numbers": (np.array([1, 2, 3]), np.array([0, 1, 5]), lambda x, a: x * a),
    "a number": (np.array(2, F32), np.array(3, F32), lambda x, a: x**2 * a),
    "columns": (np.array([2, 0]), np.array([1, 1]), lambda x, a: x[:, a]),
    "columns of int32": (np.array([2, 0], np.int32), np.array([1, 1], np.int32), lambda x, a: x[:, a]),
    "columns by take": (np.array([2, 0]), np.array([1, 1]), lambda x, a: np.take(x, a, axis=1)),
    "truth": (np.array([True, False, True]), np.array([False, False, True]), lambda x, a: np.where(a, x, 0)),
    "a table": (np.ones((3, 2), F32), np.eye(3, 2, dtype=F32), lambda x, a: x @ a),
    "a table, transposed": (np.ones((2, 3), F32), np.eye(2, 3, dtype=F32), lambda x, a: x @ a.T),
    "a table in columns": (
        np.asfortranarray(np.arange(6, dtype=F32).reshape(3, 2)),
        np.asfortranarray(np.eye(3, 2, dtype=F32)),
        lambda x, a: x @ a,
    ),
    "what is computed of it": (np.array([1, 2, 3], F32), np.array([0, 1, 5], F32), lambda x, a: x / np.sqrt(a + 1)),
    "a view of it": (np.array([1, 2, 3], F32), np.array([0, 1, 5], F32), lambda x, a: x * a[None, ::-1]),
}


@pytest.mark.parametrize("name", READ)
def test_what_is_loaded_counts_from_the_next_call_on(name):
    array, other, function = READ[name]
    module, outer = Of(array.copy("K"), function), nn.Sequential(Of(array.copy("K"), function))
    for model, part in ((module, module), (outer, outer[0])):
        for _ in range(4):
            np.testing.assert_allclose(model(X), function(X, array), rtol=1e-5)
        model.load_state_dict(dict.fromkeys(model.state_dict(), other))
        for _ in range(3):
            y = model(X)
            np.testing.assert_allclose(y, function(X, other), rtol=1e-5)
        np.testing.assert_array_equal(part.array, other)
        model.backward(np.ones_like(y))


@pytest.mark.parametrize("dtype", [F32, np.float64])
@pytest.mark.parametrize(
    "function",
    [lambda x, a: x * a, lambda x, a: x / np.sqrt(a + 1), lambda x, a: x * a[None, ::-1]],
    ids=["itself", "computed", "a view"],
)
def test_what_numpy_writes_counts_from_the_next_call_on(function, dtype):
    model = Of(np.ones(3, dtype), function)
    model.layer = nn.Linear(3, 3, rng=0, dtype=dtype)  # which decides on the dtype
    x = X.astype(dtype)
    for value in (1, 2, 5):
        model.array[...] = value, 1, 2 * value
        np.testing.assert_allclose(model(x), function(x, model.array), rtol=1e-6)
        gx = model.backward(np.ones_like(x))
        np.testing.assert_allclose(gx, function(np.ones_like(x), model.array), rtol=1e-5)


def test_a_forward_that_writes_into_one_is_refused():
    def moving(x, a):
        a += 1
        return x * a

    model = Of(np.ones(3, F32), moving)
    with pytest.raises(
        TypeError, match=r"^test_registered_buffers\.py:\d+: expected in-place .*, got \+= on a parameter or buffer"
    ):
        model(X)
    np.testing.assert_array_equal(model.array, np.ones(3))

    class Assigns(nn.Module):
        def __init__(self):
            self.register_buffer("count", np.zeros(3, F32))

        def forward(self, x):
            self.count = self.count + 1
            return x + self.count

    with pytest.raises(TypeError, match=r"to leave the module's attributes as they are, got a traced value in count"):
        Assigns()(X)


def test_branches_on_one_are_refused_and_run_without_a_trace():
    model = Of(np.array(1, F32), lambda x, a: x if a > 0 else -x)
    with pytest.raises(
        TypeError, match=r"got if, and, or or not, on a traced value; write np\.where, or set traced = False"
    ):
        model(X)
    model.traced = False
    np.testing.assert_array_equal(model(X), X)
    model.array[...] = -1
    np.testing.assert_array_equal(model(X), -X)


@pytest.mark.parametrize("within", [nullcontext, fastdl.eager])
def test_a_pullback_reads_what_the_forward_has_read(within):
    model = Of(np.full(3, 2, F32), lambda x, a: x * a)
    with within():
        _, pullback = model.vjp(X)
    model.array[...] = 7
    np.testing.assert_array_equal(pullback(np.ones_like(X)), np.full_like(X, 2))


class Statistics(nn.Module):
    """Reads a batch norm's running mean before it moves, amid the layers around it, and after."""

    def __init__(self):
        self.first, self.norm, self.last = nn.Linear(3, 3, rng=0), nn.BatchNorm1d(3), nn.Linear(3, 3, rng=1)

    def forward(self, x):
        h = self.first(x)
        before = self.norm.running_mean * 2
        h = self.norm(h)
        between = self.norm.running_mean + 1
        h = np.tanh(self.last(h)) * between
        return h + self.norm.running_mean - h * (x * self.norm.running_var) + np.mean(before)


@pytest.mark.parametrize("threads", [1, 2])
def test_running_statistics_in_a_fit(threads):
    fastdl.set_num_threads(threads)
    found = []
    for eager in (False, True):
        model = Statistics()
        trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=1e-3))
        if eager:
            with fastdl.eager():
                history = trainer.fit(ROWS, ROWS, epochs=3, batch_size=16, seed=0)
        else:
            history = trainer.fit(ROWS, ROWS, epochs=3, batch_size=16, seed=0)
            assert history.engine.startswith("native")
        found.append((history["loss"], model.state_dict()))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    for name, array in found[0][1].items():
        np.testing.assert_allclose(array, found[1][1][name], rtol=2e-4, atol=1e-5, err_msg=name)


def test_loaded_amid_a_fit():
    model = Of(np.ones(3, F32), lambda x, a: x / (a + 1))
    model.layer = nn.Linear(3, 3, rng=0)
    model.function = lambda x, a, layer=model.layer: layer(x) / (a + 1)
    state = model.state_dict() | {"array": np.full(3, 3, F32)}

    class Loads(fastdl.callbacks.Callback):
        def on_epoch_end(self, trainer, record):
            if len(trainer.history) == 2:
                model.load_state_dict(state)

    trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.0))
    history = trainer.fit(X, 0 * X, epochs=4, batch_size=6, seed=0, callbacks=[Loads()])
    np.testing.assert_allclose(history["loss"][2], history["loss"][1] / 4, rtol=1e-5)
    assert history["loss"][3] == history["loss"][2]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_copies_have_arrays_of_their_own(duplicate):
    model = nn.Sequential(nn.Linear(3, 3, rng=0), Scaled())
    model(X)
    model.load_state_dict(model.state_dict())
    twin = duplicate(model)
    twin[1].scale[...] = 0
    assert model(X).any()
    assert not twin(X).any()


class Scaled(nn.Module):
    def __init__(self):
        self.register_buffer("scale", np.ones(3, F32))

    def forward(self, x):
        return x * self.scale


def test_what_is_read_from_a_pickle_is_followed_too():
    state = pickle.dumps(Scaled())
    del Scaled.scale  # as in a process that has made none
    twin = pickle.loads(state)
    np.testing.assert_array_equal(twin(X), X)
    twin.scale[...] = 3
    np.testing.assert_array_equal(twin(X), 3 * X)


class Optional(nn.Module):
    """Registers an array or leaves what the class has."""

    scale = 4.0

    def shift(self):
        return 5.0

    def __init__(self, registers):
        if registers:
            self.register_buffer("scale", np.ones(3, F32))
            self.register_buffer("shift", np.zeros(3, F32))

    def forward(self, x):
        return x * self.scale + (self.shift() if callable(self.shift) else self.shift)


def test_others_of_a_class_have_what_the_class_says():
    one, other = Optional(True), Optional(False)
    assert Optional.scale == other.scale == 4
    np.testing.assert_array_equal(other(X), 4 * X + 5)
    np.testing.assert_array_equal(one(X), X)
    one.scale[...] = 2
    np.testing.assert_array_equal(one(X), 2 * X)
    del one.scale
    assert one.scale == 4
    assert not hasattr(Scaled(), "shift")
    with pytest.raises(AttributeError):
        Of.array  # noqa: B018


def test_a_property_is_not_replaced():
    class Fixed(nn.Module):
        @property
        def scale(self):
            return 3

    module = Fixed()
    with pytest.raises(AttributeError, match="scale"):
        module.register_buffer("scale", np.ones(3, F32))
    assert module.scale == 3
    assert not module.state_dict()
