"""Modules that define forward alone: their calls, gradients and pullbacks are those of a native program."""

from contextlib import nullcontext

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.graph.value import METHODS
from fastdl.nn import functional

F32 = np.float32


class Net(nn.Module):
    """Two outputs, a tied weight, a batch norm, a dropout and a parameter of its own."""

    def __init__(self, p=0.0, dtype=F32):
        self.body = nn.Sequential(
            nn.Linear(4, 8, rng=1), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 8, rng=2), nn.Dropout(p), nn.ReLU()
        )
        self.second = nn.Linear(8, 8, rng=3)
        self.second.weight = self.body[3].weight
        self.policy, self.value = nn.Linear(8, 2, rng=4), nn.Linear(8, 1, rng=5)
        self.scale = nn.Parameter(np.ones(1, F32))
        self.astype(dtype)

    def forward(self, x):
        h = self.body(x)
        h = h + 0.5 * np.tanh(self.second(h))
        return self.policy(h) * self.scale, self.value(h)[:, 0]


class Through(nn.Module):
    """A part."""

    def __init__(self, part):
        self.part = part

    def forward(self, x):
        return self.part(x)


class Two(nn.Module):
    """Two inputs by name, outputs in a dictionary."""

    def __init__(self):
        self.image, self.state, self.out = nn.Linear(3, 4, rng=1), nn.Linear(2, 4, rng=2), nn.Linear(4, 1, rng=3)

    def forward(self, image, state):
        h = np.tanh(self.image(image) + self.state(state))
        return {"y": self.out(h), "h": h}


X = np.random.default_rng(0).standard_normal((20, 4))


def slope(function, x, direction, step):
    return (function(x + step * direction) - function(x - step * direction)) / (2 * step)


def weighed(outputs, weights):
    return sum(float(np.sum(output * weight)) for output, weight in zip(outputs, weights, strict=True))


@pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])
def test_gradients_are_slopes(mode):
    net = Net(dtype=np.float64).train(mode)
    y = net(X)
    assert [each.shape for each in y] == [(20, 2), (20,)]
    rng = np.random.default_rng(1)
    weights = [rng.standard_normal(each.shape) for each in y]
    gx = net.backward(tuple(weights))
    direction = rng.standard_normal(X.shape)
    found = slope(lambda x: weighed(net(x), weights), X, direction, 1e-6)
    assert np.sum(gx * direction) == pytest.approx(found, rel=1e-6)
    for name, parameter in net.named_parameters():
        at, direction = parameter.data.copy(), rng.standard_normal(parameter.shape)

        def of(data, parameter=parameter):
            parameter.data = data
            return weighed(net(X), weights)

        wanted = slope(of, at, direction, 1e-6)
        parameter.data = at
        assert np.sum(parameter.grad * direction) == pytest.approx(wanted, rel=1e-5, abs=1e-7), name


def test_gradients_are_added_and_each_forward_serves_one_backward():
    net, ones = Net(), (np.ones((20, 2), F32), np.ones(20, F32))
    net(X.astype(F32))
    net.backward(ones)
    once = net.policy.weight.grad.copy()
    net(X.astype(F32))
    net.backward(ones)
    np.testing.assert_allclose(net.policy.weight.grad, 2 * once, rtol=1e-6)
    with pytest.raises(RuntimeError, match="a forward before each backward"):
        net.backward(ones)
    with nn.no_grad():
        net(X.astype(F32))
    with pytest.raises(RuntimeError, match="a forward before each backward"):
        net.backward(ones)


def test_pullbacks_in_any_order_again_and_beside_predictions():
    net, x = Net(0.4), X.astype(F32)
    parts = [x[:7], x[7:]]
    first, second = net.vjp(parts[0]), net.vjp(parts[1])
    net.eval()
    predicted = net(x[:3]), fastdl.training.predict(net, x)
    net.train()
    ones = [(np.ones_like(y[0]), np.ones_like(y[1])) for y, _ in (first, second)]
    of_second = second[1](ones[1], parameters=False)
    of_first = first[1](ones[0], parameters=False)
    assert not net.scale.grad.any()
    np.testing.assert_array_equal(first[1](ones[0]), of_first)
    np.testing.assert_array_equal(second[1](ones[1]), of_second)
    assert net.scale.grad.any()
    assert predicted[1][0].shape == (20, 2)
    np.testing.assert_array_equal(predicted[0][0], predicted[1][0][:3])


def test_a_pullback_after_a_step_is_refused():
    net, x = Net(), X.astype(F32)
    y, pullback = net.vjp(x)
    net.scale.data = np.full(1, 2, F32)
    with pytest.raises(RuntimeError, match="they were changed since"):
        pullback((np.ones_like(y[0]), np.ones_like(y[1])))


def test_frozen_parameters_keep_their_gradients_whenever_they_were_frozen():
    net, x, ones = Net(), X.astype(F32), (np.ones((20, 2), F32), np.ones(20, F32))
    net.policy.weight.requires_grad = False
    net(x)
    net.backward(ones)
    assert not net.policy.weight.grad.any()
    assert net.policy.bias.grad.any()
    net.policy.weight.requires_grad = True
    net(x)
    net.policy.weight.requires_grad = False  # between forward and backward
    net.backward(ones)
    assert not net.policy.weight.grad.any()


def test_calls_of_several_arrays_follow_their_places_names_and_lengths():
    net, rng = Two(), np.random.default_rng(2)
    image, state = rng.standard_normal((5, 3)).astype(F32), rng.standard_normal((5, 2)).astype(F32)
    wanted = net(image, state)["y"]
    for _ in range(3):
        for y in (
            net(image, state),
            net(image=image, state=state),
            net(state=state, image=image),
            net(image, state=state),
            net(image.astype(np.float64), state),
            net(np.asfortranarray(image), state[:, ::-1][:, ::-1]),
        ):
            np.testing.assert_allclose(y["y"], wanted, rtol=1e-6)
        np.testing.assert_allclose(net(image[:2], state[:2])["y"], wanted[:2], rtol=1e-5)
        with fastdl.no_grad():
            np.testing.assert_allclose(net(image, state)["y"], wanted, rtol=1e-6)
        y, pullback = net.vjp(image, state)
        np.testing.assert_allclose(y["y"], wanted, rtol=1e-6)
        found = pullback({"y": np.ones((5, 1), F32), "h": np.zeros((5, 4), F32)})
        assert [each.shape for each in found] == [(5, 3), (5, 2)]
        with pytest.raises(ValueError, match="broadcast"):
            net(image, state[:2])
        with pytest.raises(TypeError, match="state"):
            net(image)
        with pytest.raises(TypeError):
            net(image, states=state)
        with pytest.raises(TypeError):
            net(image, state, other=state)


def test_released_parameters_have_gradients_from_the_next_call_on():
    net = Net()
    x, ones = X.astype(F32), (np.ones((20, 2), F32), np.ones(20, F32))
    net.policy.weight.requires_grad = False
    for _ in range(3):
        net(x)
    net.policy.weight.requires_grad = True
    net(x)
    net.backward(ones)
    assert net.policy.weight.grad.any()


def test_calls_like_the_latest_follow_weights_that_move_and_change():
    net = Net().eval()
    x = X.astype(F32)
    with fastdl.no_grad():
        before = net(x), net(x)
        np.testing.assert_array_equal(before[0][0], before[1][0])
        optim.SGD(net.parameters(), lr=0.1)  # into memory of its own
        np.testing.assert_array_equal(net(x)[0], before[0][0])
        for p in net.parameters():
            p.data[...] = 0
        assert not net(x)[0].any()
        net.traced = False
        assert not net(x)[1].any()


def test_each_of_several_frames_follows_weights_that_move():
    net, x = nn.Sequential(nn.Linear(4, 3, rng=0)), X.astype(F32)
    one = Through(net)
    pending = one.vjp(x), one.vjp(x)
    del pending  # two frames are idle
    optim.SGD(one.parameters(), lr=0.1)
    _, pullback = one.vjp(x)
    net[0].weight.data[...] = net[0].bias.data[...] = 0
    assert not one(x).any()  # in the other frame
    with pytest.raises(TypeError):
        pullback()


def test_a_class_may_be_run_in_python_from_the_next_call_on():
    lines = []

    class Own(nn.Module):
        def forward(self, x):
            lines.append(1)
            return np.tanh(x)

    own, x = Own(), X.astype(F32)
    for _ in range(4):
        own(x)
    before = len(lines)
    own(x)
    assert len(lines) == before
    Own.traced = False
    own(x)
    assert len(lines) == before + 1


def test_inputs_by_place_and_by_name_and_outputs_in_a_dictionary():
    net, rng = Two(), np.random.default_rng(2)
    image, state = rng.standard_normal((5, 3)).astype(F32), rng.standard_normal((5, 2)).astype(F32)
    by_name = net(image=image, state=state)
    np.testing.assert_array_equal(by_name["y"], net(image, state)["y"])
    gradients = net.backward({"y": np.ones((5, 1), F32), "h": np.zeros((5, 4), F32)})
    assert [each.shape for each in gradients] == [(5, 3), (5, 2)]
    net(image=image, state=state)
    named = net.backward({"y": np.ones((5, 1), F32), "h": np.zeros((5, 4), F32)})
    np.testing.assert_array_equal(named["state"], gradients[1])
    for eager in (False, True):
        with fastdl.eager() if eager else nullcontext():
            net(image, state=state)
            both = net.backward({"y": np.ones((5, 1), F32), "h": np.zeros((5, 4), F32)})
        for name, gradient in zip(("image", "state"), gradients, strict=True):
            np.testing.assert_allclose(both[name], gradient, rtol=1e-4, atol=1e-6)
    net(image, state)
    with pytest.raises(ValueError, match="a gradient for each of 2 outputs, got 1"):
        net.backward({"y": np.ones((5, 1), F32)})


@pytest.mark.parametrize("eager", [False, True])
def test_gradients_of_named_outputs_are_taken_by_name(eager):
    class Named(nn.Module):
        def forward(self, x):
            return {"one": x, "ten": 10 * x}

    ones, zeros, net = np.ones((2, 3), F32), np.zeros((2, 3), F32), Named()
    with fastdl.eager() if eager else nullcontext():
        _, pullback = net.vjp(ones)
        np.testing.assert_array_equal(pullback({"one": ones, "ten": zeros}), ones)
        np.testing.assert_array_equal(pullback({"ten": zeros, "one": ones}), ones)
        net(ones)
        np.testing.assert_array_equal(net.backward({"ten": ones, "one": zeros}), 10 * ones)
        for wrong, got in (({"one": ones, "two": zeros}, "one, two"), ((ones, zeros), "0, 1")):
            with pytest.raises(ValueError, match=f"a gradient for each of the outputs one, ten, got some for {got}"):
                pullback(wrong)


def test_one_program_for_all_batches_up_to_the_largest_and_few_for_all():
    net = Net().eval()
    for samples in (20, 3, 1, 20, 7):
        one = net(X[:samples].astype(F32))
        np.testing.assert_allclose(one[0], net(X.astype(F32))[0][:samples], rtol=1e-5, atol=1e-6)
    assert len(net._flat._programs) == 1
    for samples in range(1, 30):
        y = net(np.zeros((samples, 4), F32))
        assert len(y[0]) == samples
    assert len(net._flat._programs) == 1


def test_in_containers_beside_layers():
    class Double(nn.Module):
        def forward(self, x):
            return 2 * x + np.mean(x, axis=1, keepdims=True)

    def stack(middle):
        return nn.Sequential(nn.Linear(4, 6, rng=1), middle, nn.Tanh(), nn.Linear(6, 2, rng=2))

    model, x = stack(Double()), X.astype(F32)
    y = model(x)
    gx = model.backward(np.ones_like(y))
    alone = Double()
    h = model[0](x)
    np.testing.assert_allclose(y, model[3](model[2](alone(h))), rtol=1e-5)
    wanted = model[0].backward(alone.backward(model[2].backward(model[3].backward(np.ones_like(y)))))
    np.testing.assert_allclose(gx, wanted, rtol=1e-5, atol=1e-6)


def test_a_length_that_forward_asks_for_is_traced_anew():
    class Picks(nn.Module):
        def __init__(self):
            self.body = nn.Linear(4, 3, rng=0)

        def forward(self, x, which):
            scores = functional.log_softmax(self.body(x))
            return scores[np.arange(len(which)), which]

    net = Picks()
    for samples in (5, 3, 5):
        which = np.arange(samples) % 3
        y = net(X[:samples].astype(F32), which)
        scores = nn.LogSoftmax(1)(net.body(X[:samples].astype(F32)))
        np.testing.assert_allclose(y, scores[np.arange(samples), which], rtol=1e-6)
    gradients = net.backward(np.ones(5, F32))
    assert gradients[0].shape == (5, 4)
    assert gradients[1] is None  # whole numbers have no gradient


def test_shapes_that_do_not_broadcast_name_the_line():
    class Wrong(nn.Module):
        def forward(self, x):
            return x + np.ones(3)

    with pytest.raises(ValueError, match=r"test_forward_only\.py:\d+: np\.add: expected shapes that broadcast"):
        Wrong()(X)

    class Outer(nn.Module):
        def __init__(self):
            self.value = nn.Linear(4, 1, rng=0)

        def forward(self, x):
            return self.value(x) - x[:, 0]

    with pytest.raises(ValueError, match=r"expected one shape of both, got \(N,\) and \(N, 1\); write x\[:, 0\]"):
        Outer()(X.astype(F32))


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda self, x: x if x > 0 else -x, r"if, and, or or not, on a traced value; .*traced = False"),
        (lambda self, x: np.linalg.inv(x), "np.linalg.inv, which traced code cannot use"),
        (lambda self, x: np.add(x, 1, out=np.empty(4)), "with out="),
        (lambda self, x: float(x[0, 0]), "a number, of a traced value"),
        (lambda self, x: sum(x), "a loop, over an axis whose size is not fixed"),
        (lambda self, x: print, "to return what is computed of its inputs"),
    ],
)
def test_what_cannot_be_traced_is_said_in_one_sentence(forward, message):
    module = type("Own", (nn.Module,), {"forward": forward})()
    with pytest.raises(TypeError, match=message):
        module(np.ones((3, 4), F32))


def test_an_empty_batch_gives_empty_outputs():
    net = Two()
    y = net(np.zeros((0, 3), F32), np.zeros((0, 2), F32))
    assert y["y"].shape == (0, 1)
    gradients = net.backward({"y": np.zeros((0, 1), F32), "h": np.zeros((0, 4), F32)})
    assert gradients[0].shape == (0, 3)
    assert not net.out.weight.grad.any()


def test_a_batch_norm_asks_for_two_samples_and_moves_its_statistics_once():
    net = Net()
    with pytest.raises(ValueError, match="at least 2 samples"):
        net(X[:1].astype(F32))
    before = net.body[1].num_batches_tracked.copy()
    y = net(X.astype(F32))
    net.backward((np.ones_like(y[0]), np.ones_like(y[1])))
    assert net.body[1].num_batches_tracked == before + 1


def test_copies_and_pickles_trace_for_themselves():
    import copy
    import pickle

    net, x = Two(), (np.ones((2, 3), F32), np.ones((2, 2), F32))
    y = net(*x)["y"]
    for twin in (copy.deepcopy(net), copy.copy(net)):
        np.testing.assert_array_equal(twin(*x)["y"], y)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(lambda: net)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(net))(*x)["y"], y)


def test_an_explicit_loop_learns():
    net, x = Net(), X.astype(F32)
    optimizer = optim.Adam(net.parameters(), lr=0.01)
    target, losses = np.sin(x[:, 0]), []
    for _ in range(60):
        optimizer.zero_grad()
        _, value = net(x)
        losses.append(float(np.mean((value - target) ** 2)))
        net.backward((np.zeros((20, 2), F32), 2 * (value - target) / 20))
        optimizer.step()
    assert losses[-1] < losses[0] / 2


def test_a_call_outside_of_no_grad_keeps_what_backward_reads():
    net, x = Net(), X.astype(F32)
    with nn.no_grad():
        net(x)
        net(x)
    net(x)
    net.backward((np.ones((20, 2), F32), np.ones(20, F32)))
    assert net.scale.grad.any()


def test_a_frame_does_not_name_arrays_of_another_kind():
    net, x = Net(), X.astype(F32)
    net(x)
    (program,) = net._flat._programs.values()
    net.astype(np.float64)
    with pytest.raises(RuntimeError, match="expected parameters of float32"):
        program.forward(net, [x], len(x))


@pytest.mark.parametrize("name", ["T", "ndim", "copy", *METHODS])
def test_parameters_have_arrays_methods_in_a_trace_and_only_there(name):
    arguments = {
        "take": ([0, 2],),
        "repeat": (2,),
        "swapaxes": (0, 1),
        "reshape": (2, 6),
        "clip": (-0.5, 0.5),
        "astype": (F32,),
        "dot": (np.ones(4, F32),),
    }.get(name, ())
    weight = nn.Parameter(np.random.default_rng(0).normal(size=(3, 4)).astype(F32))

    class Uses(nn.Module):
        def __init__(self):
            self.weight = weight

        def forward(self, x):
            found = getattr(self.weight, name)
            return x + np.sum(found(*arguments) if callable(found) else found)

    found = getattr(weight.data, name)
    want = np.sum(found(*arguments) if callable(found) else found)
    np.testing.assert_allclose(Uses()(np.zeros(2, F32)), np.full(2, want), rtol=1e-5, atol=1e-5)
    if name != "astype":  # which changes a parameter
        with pytest.raises(AttributeError, match=f"'Parameter' object has no attribute '{name}'"):
            getattr(weight, name)


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Linear(4, 3, rng=0), nn.Tanh(), nn.LayerNorm(3), nn.BatchNorm1d(3), nn.Dropout(0.0), nn.Softmax()],
        [nn.Sequential(nn.Linear(4, 4, rng=0), nn.ReLU()), nn.Residual(nn.Linear(4, 4, rng=1)), nn.Activation(np.sin)],
        [nn.Conv2d(1, 2, 3, rng=0), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten()],
    ],
)
def test_forward_of_a_layer_is_its_call(layers):
    class Calls(nn.Module):
        def __init__(self):
            self.layers = nn.ModuleList(layers)

        def forward(self, x):
            for layer in self.layers:
                x = layer.forward(x)
            return x

    shape = (5, 1, 8, 8) if isinstance(layers[0], nn.Conv2d) else (5, 4)
    x = np.random.default_rng(0).normal(size=shape).astype(F32)
    model, plain = Calls(), nn.Sequential(*layers)
    wanted = plain(x)
    weights = np.cos(np.arange(wanted.size, dtype=F32)).reshape(wanted.shape)
    gx = plain.backward(weights)
    np.testing.assert_allclose(model(x), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.backward(weights), gx, rtol=1e-5, atol=1e-6)
    with fastdl.eager():
        np.testing.assert_allclose(model(x), wanted, rtol=1e-5, atol=1e-6)


def test_forward_of_a_loss_is_its_call_in_a_trace():
    losses = []
    for criterion in (lambda y, t: nn.MSELoss().forward(y, t), nn.MSELoss()):
        net = nn.Sequential(nn.Linear(4, 1, rng=0))
        trainer = fastdl.Trainer(net, criterion, optim.SGD(net.parameters(), lr=0.1))
        history = trainer.fit(X.astype(F32), X[:, :1].astype(F32), epochs=3, batch_size=5, seed=0)
        assert history.engine.startswith("native")
        losses.append(history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)


class Detached(nn.Module):
    """A target network's value, through which no gradient goes, and the same line again with one."""

    def __init__(self):
        self.online, self.target = (nn.Linear(4, 2, rng=n, dtype=np.float64) for n in (0, 1))

    def forward(self, x):
        with fastdl.no_grad():
            best = np.max(self.target(x), axis=1)
            again = np.tanh(x)
        return np.sum(self.online(x), axis=1) * best + np.sum(np.tanh(x) * again, axis=1)


@pytest.mark.parametrize("eager", [False, True])
def test_no_gradient_goes_through_what_is_computed_inside_no_grad(eager):
    model, x = Detached(), np.random.default_rng(0).standard_normal((5, 4))
    with fastdl.eager() if eager else nullcontext():
        y, pullback = model.vjp(x)
        with fastdl.no_grad():
            np.testing.assert_array_equal(model(x), y)
    best = model.target(x).max(axis=1)
    np.testing.assert_allclose(y, model.online(x).sum(axis=1) * best + (np.tanh(x) ** 2).sum(axis=1))
    gx = pullback(np.ones(5))
    slope = model.online.weight.data.sum(axis=0) * best[:, None] + (1 - np.tanh(x) ** 2) * np.tanh(x)
    np.testing.assert_allclose(gx, slope)
    assert not model.target.weight.grad.any()
    assert model.online.weight.grad.any()


def test_a_fit_inside_no_grad_learns_as_outside():
    found = []
    for block in (nullcontext, fastdl.no_grad):
        model = Detached()
        x = np.random.default_rng(0).standard_normal((20, 4))
        with block():
            Trainer(model, lambda y: np.mean(y**2), optim.SGD(model.parameters(), lr=0.01)).fit(
                x, epochs=2, batch_size=5, seed=0
            )
        found.append(model.online.weight.data)
    np.testing.assert_array_equal(*found)


def test_what_traces_a_class_is_imported_with_it(python):
    """A signal handler amid the import could not call the model."""
    code = """
import sys
from fastdl import nn
assert "fastdl.nn.forward_only" not in sys.modules
class Net(nn.Module):
    def forward(self, x):
        return x
assert {"fastdl.nn.forward_only", "fastdl.nn.functional"} <= sys.modules.keys()
"""
    run = python(code)
    assert run.returncode == 0, run.stderr


class Centred(nn.Module):
    """With a function that a trace cannot follow."""

    def __init__(self):
        self.linear = nn.Linear(3, 3, rng=0)

    def forward(self, x):
        h = self.linear(x)
        return h - np.median(h, axis=1, keepdims=True)


class Median(nn.Module):
    traced = False

    def forward(self, x):
        return np.median(x, axis=1, keepdims=True)


class Around(nn.Module):
    def __init__(self, stops):
        self.linear, self.median, self.stops = nn.Linear(3, 3, rng=0), Median(), stops

    def forward(self, x):
        h = self.linear(x)
        centre = self.median(h)
        return h - (fastdl.stop_gradient(centre) if self.stops else centre)


def test_other_functions_run_where_no_gradient_is_asked_for():
    x = np.random.default_rng(0).standard_normal((6, 3)).astype(F32)
    model = Centred()
    h = model.linear(x)
    expected = h - np.median(h, axis=1, keepdims=True)
    with fastdl.no_grad():
        for _ in range(2):
            np.testing.assert_array_equal(model(x), expected)
    trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
    np.testing.assert_array_equal(trainer.predict(x), expected)
    assert trainer.evaluate(x, x)["loss"] == pytest.approx(float(np.mean((expected - x) ** 2)))
    for call in (lambda: model(x), lambda: trainer.fit(x, x, epochs=1, batch_size=3), lambda: model.vjp(x)):
        with pytest.raises(TypeError, match=r"got np\.median, which traced code cannot use"):
            call()
    for stops in (True, False):
        around = Around(stops)
        np.testing.assert_allclose(around(x), expected, rtol=1e-6)
        fitting = Trainer(around, nn.MSELoss(), optim.SGD(around.parameters(), lr=0.1))
        before = around.linear.weight.data.copy()
        if stops:
            fitting.fit(x, x, epochs=1, batch_size=3)
            assert (around.linear.weight.data != before).any()
            continue
        with pytest.raises(TypeError, match=r"got np\.median, which traced code cannot use"):
            fitting.fit(x, x, epochs=1, batch_size=3)
        np.testing.assert_array_equal(around.linear.weight.data, before)


def test_programs_are_bounded_by_their_memory():
    class Tokens(nn.Module):
        def __init__(self):
            self.one, self.two = nn.Linear(64, 64), nn.Linear(64, 64)

        def forward(self, x):
            return np.mean(np.tanh(self.two(np.tanh(self.one(x)))), axis=1)

    model = Tokens()
    for length in range(200, 212):
        model(np.zeros((8, length, 64), F32))
    programs = list(model._flat._programs.values())
    assert 1 <= len(programs) < 8
    assert sum(program.lowered.nbytes for program in programs[1:]) <= 2**24
    assert {id(call.run) for call in model._flat.latest} <= {id(program.run) for program in programs}
    large = np.zeros((64, 400, 64), F32)
    model(large)
    assert len(model._flat._programs) == 1  # the latest stays, however large it is
    np.testing.assert_array_equal(model(large), model(large))


@pytest.mark.parametrize("forget", [optim.SGD.forget_gradients, optim.SGD.zero_grad, lambda optimizer: None])
def test_gradients_are_stored_or_added_in_layers_and_in_functions(forget):
    class Scaled(nn.Module):
        def __init__(self):
            self.linear, self.scale = nn.Linear(3, 3, rng=0), nn.Parameter(np.ones(3, F32))

        def forward(self, x):
            return self.linear(x) * self.scale + self.linear.bias

    x, model, other = np.ones((4, 3), F32), Scaled(), Scaled()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        forget(optimizer)
        model.backward(np.ones_like(model(x)))
    with fastdl.eager():
        for _ in range(1 if forget in (optim.SGD.forget_gradients, optim.SGD.zero_grad) else 4):
            other.backward(np.ones_like(other(x)))
    for one, wanted in zip(model.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(one.grad, wanted.grad, rtol=1e-5)


def test_gradients_beside_outputs_that_have_none():
    class Places(nn.Module):
        def __init__(self):
            self.linear = nn.Linear(3, 3, rng=0, dtype=np.float64)

        def forward(self, x):
            y = self.linear(x)
            return np.argmax(y, axis=1), y, fastdl.stop_gradient(y), 2 * y

    x, model = np.random.default_rng(0).standard_normal((4, 3)), Places()
    place, y, *_ = model(x)
    expected = np.ones_like(y) @ model.linear.weight.data
    for nothing in (None, place, np.zeros_like(place)):
        model(x)
        found = model.backward((nothing, np.ones_like(y), np.ones_like(y), np.zeros_like(y)))
        np.testing.assert_allclose(found, expected, rtol=1e-12)
