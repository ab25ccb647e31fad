"""Containers, and one instance in several places: what each place keeps, and gradients that add up."""

import copy
import threading
import tracemalloc
from contextlib import nullcontext

import numpy as np
import pytest

import fastdl
from fastdl import nn, optim
from fastdl.nn import Module, Parameter
from fastdl.testing import gradcheck


def linear(inputs, outputs, seed=0, dtype=np.float64):
    return nn.Linear(inputs, outputs, rng=seed, dtype=dtype)


def square():
    return linear(3, 3)


def inputs(*shape, seed=7, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


class Scale(Module):
    """A user's own layer, which keeps its input in an attribute."""

    def __init__(self, size):
        self.factor = Parameter(np.linspace(0.5, 1.5, size))

    def forward(self, x):
        self.x = x
        return self.factor.data * x * x

    def backward(self, grad_output):
        self.factor.grad += (grad_output * self.x * self.x).reshape(-1, self.factor.size).sum(axis=0)
        return 2 * self.factor.data * self.x * grad_output


class Block(Module):
    """A user's own module made of layers, one of them the user's own too."""

    def __init__(self, size):
        self.linear = linear(size, size)
        self.act = nn.Tanh()
        self.scale = Scale(size)

    def forward(self, x):
        return self.scale(self.act(self.linear(x)))

    def backward(self, grad_output):
        return self.linear.backward(self.act.backward(self.scale.backward(grad_output)))


# Sequential.


def test_a_sequential_applies_its_layers_in_order():
    first, second = linear(2, 3), linear(3, 4)
    x = inputs(5, 2)
    assert (nn.Sequential(first, nn.Tanh(), second)(x) == second(nn.Tanh()(first(x)))).all()


def test_a_nested_sequential_is_the_flat_one():
    layers = linear(2, 3), nn.Tanh(), linear(3, 4), nn.Sigmoid()
    flat = nn.Sequential(*layers)
    nested = nn.Sequential(layers[0], nn.Sequential(layers[1], nn.Sequential(layers[2])), layers[3])
    x, gy = inputs(5, 2), inputs(5, 4)
    assert (flat(x) == nested(x)).all()
    assert (flat.backward(gy) == nested.backward(gy)).all()
    assert list(nested.state_dict()) == ["0.weight", "0.bias", "1.1.0.weight", "1.1.0.bias"]


def test_an_empty_sequential_is_the_identity():
    x = inputs(2, 3)
    model = nn.Sequential()
    assert model(x) is x
    assert model.backward(x) is x
    assert len(model) == 0


def test_append_adds_at_the_end_and_returns_the_container():
    model = nn.Sequential(linear(2, 3))
    assert model.append(nn.ReLU()) is model
    assert model.append(linear(3, 1)) is model
    assert [name for name, _ in model.named_children()] == ["0", "1", "2"]
    assert model(inputs(4, 2)).shape == (4, 1)
    assert len([*model.parameters()]) == 4


def test_layers_are_reached_by_index_name_and_slice():
    model = nn.Sequential({"in": linear(2, 3), "act": nn.ReLU(), "out": linear(3, 1)})
    assert model["act"] is model[1] is model[-2]
    assert list(model) == [model["in"], model["act"], model["out"]]
    part = model[1:]
    assert isinstance(part, nn.Sequential)
    assert list(part) == [model[1], model[2]]
    assert list(part.state_dict()) == ["out.weight", "out.bias"]
    assert list(model[::-1]) == [model[2], model[1], model[0]]
    assert len(model[5:]) == 0


@pytest.mark.parametrize(("index", "error"), [(3, IndexError), (-4, IndexError), ("none", KeyError), (1.5, TypeError)])
def test_a_layer_that_is_not_there_is_an_error(index, error):
    with pytest.raises(error, match=rf"Sequential: expected .*, got {index!r}"):
        nn.Sequential(nn.ReLU(), nn.ReLU(), nn.ReLU())[index]


def test_a_mapping_names_the_layers_and_append_finds_a_free_number():
    model = nn.Sequential({"1": linear(2, 3), "out": linear(3, 1)}).append(nn.ReLU()).append(nn.Tanh())
    assert [name for name, _ in model.named_children()] == ["1", "out", "2", "3"]
    assert list(model.state_dict()) == ["1.weight", "1.bias", "out.weight", "out.bias"]


def test_a_container_is_not_put_into_itself():
    model = nn.Sequential(nn.ReLU())
    with pytest.raises(ValueError, match="Sequential: expected another module, got the container itself"):
        model.append(model)
    with pytest.raises(ValueError, match="Sequential: expected another module"):
        model.append(nn.Residual(nn.Sequential(model)))
    assert len(model) == 1


# Residual, Parallel, Siamese.


def test_a_residual_adds_what_goes_around():
    body, shortcut = linear(3, 4), linear(3, 4, seed=1)
    x = inputs(5, 3)
    assert (nn.Residual(body, shortcut)(x) == body(x) + shortcut(x)).all()
    body = square()
    assert (nn.Residual(body)(x) == body(x) + x).all()


def test_a_residual_refuses_ways_of_different_shapes():
    with pytest.raises(ValueError, match=r"Residual\(Linear\(3, 4\)\): expected body and shortcut of one shape"):
        nn.Residual(linear(3, 4))(inputs(5, 3))
    with pytest.raises(ValueError, match=r"got \(5, 1\) and \(5, 4\)"):
        nn.Residual(linear(3, 1), linear(3, 4))(inputs(5, 3))


def test_parallel_branches_stand_side_by_side():
    one, other = linear(3, 4), linear(3, 2, seed=1)
    x = inputs(5, 3)
    assert (nn.Parallel(one, other)(x) == np.concatenate([one(x), other(x)], axis=1)).all()


def test_parallel_refuses_branches_that_do_not_fit_beside_each_other():
    with pytest.raises(ValueError, match=r"Parallel.*: expected outputs that agree in every axis but 1"):
        nn.Parallel(nn.ReLU(), nn.Siamese(nn.ReLU()))(inputs(5, 3, 2))


def test_a_siamese_body_sees_each_input_alone():
    body = linear(3, 4)
    x = inputs(5, 2, 3)
    want = np.concatenate([body(x[:, 0].copy()), body(x[:, 1].copy())], axis=1)
    assert (nn.Siamese(body)(x) == want).all()
    assert (nn.Siamese(body)((x[:, 0], x[:, 1])) == want).all()


def test_a_siamese_returns_its_gradient_in_the_form_of_the_input():
    model = nn.Siamese(linear(3, 4))
    x, gy = inputs(5, 2, 3), inputs(5, 8)
    model(x)
    stacked = model.backward(gy)
    model((x[:, 0], x[:, 1]))
    apart = model.backward(gy)
    assert stacked.shape == (5, 2, 3)
    assert isinstance(apart, tuple)
    assert (np.stack(apart, axis=1) == stacked).all()


@pytest.mark.parametrize("join", [nn.Parallel, nn.Residual])
def test_gradients_with_respect_to_several_inputs_are_added_input_by_input(join):
    one, other = nn.Siamese(linear(3, 4)), nn.Siamese(linear(3, 4, seed=1))
    x = inputs(5, 2, 3)
    model = join(one, other)
    gy = inputs(*model(x).shape)
    stacked = model.backward(gy)
    model((x[:, 0], x[:, 1]))
    apart = model.backward(gy)
    assert len(apart) == 2
    np.testing.assert_allclose(np.stack(apart, axis=1), stacked, rtol=1e-12)


CONTAINERS = {
    "Sequential": lambda body: nn.Sequential(body, nn.Tanh(), body),
    "Residual": lambda body: nn.Residual(body, body),
    "Parallel": lambda body: nn.Parallel(body, body),
    "Siamese": nn.Siamese,
}
SHAPES = {"Sequential": (5, 3), "Residual": (5, 3), "Parallel": (5, 3), "Siamese": (5, 2, 3)}


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize(
    "gradient",
    [np.zeros((5, 99)), np.zeros(5), np.zeros((1, 1, 1)), np.array(1.0)],
    ids=["wide", "one-axis", "three-axes", "scalar"],
)
def test_a_gradient_of_another_shape_is_refused(name, gradient):
    model = CONTAINERS[name](linear(3, 3))
    model(inputs(*SHAPES[name]))
    with pytest.raises(ValueError, match="expected a gradient of shape"):
        model.backward(gradient)


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize(
    "gradient", [None, [[0.0] * 6] * 5, np.zeros((5, 6), dtype=np.int64), np.zeros((5, 6), dtype=np.float32)]
)
def test_a_gradient_of_another_kind_is_refused(name, gradient):
    model = CONTAINERS[name](linear(3, 3))
    model(inputs(*SHAPES[name]))
    with pytest.raises(TypeError, match=r"expected an? .*array of float64"):
        model.backward(gradient)


# One instance in several places.


# A part that is made once, the model that holds it in several places, and the shape of that model's input.
SHARED = {
    "one activation twice": (nn.Tanh, lambda act: nn.Sequential(linear(3, 4), act, linear(4, 3), act), (5, 3)),
    "one activation twice in a row": (nn.Sigmoid, lambda act: nn.Sequential(linear(3, 4), act, act), (5, 3)),
    "tied layer in a row": (square, lambda tied: nn.Sequential(tied, tied), (5, 3)),
    "tied layer thrice": (square, lambda tied: nn.Sequential(tied, nn.Tanh(), tied, nn.Sigmoid(), tied), (5, 3)),
    "tied layer across branches": (
        square,
        lambda tied: nn.Parallel(nn.Sequential(tied, nn.Tanh()), nn.Sequential(nn.Sigmoid(), tied)),
        (5, 3),
    ),
    "tied layer as both ways": (square, lambda tied: nn.Residual(nn.Sequential(nn.Tanh(), tied), tied), (5, 3)),
    "one body for two inputs": (lambda: nn.Sequential(linear(3, 4), nn.Tanh(), linear(4, 2)), nn.Siamese, (5, 2, 3)),
    "one container in two places": (
        lambda: nn.Residual(nn.Sequential(linear(3, 3), nn.Tanh())),
        lambda body: nn.Sequential(body, linear(3, 3, 1), body),
        (5, 3),
    ),
    "siamese of parallel of one": (
        square,
        lambda tied: nn.Siamese(nn.Parallel(tied, nn.Sequential(tied, nn.Tanh(), tied))),
        (4, 3, 3),
    ),
    "a user's layer twice": (lambda: Scale(3), lambda own: nn.Sequential(linear(3, 3), own, nn.Tanh(), own), (5, 3)),
    "a user's layer for two inputs": (lambda: Scale(3), nn.Siamese, (5, 2, 3)),
    "a user's block twice": (lambda: Block(3), lambda own: nn.Sequential(own, nn.Tanh(), own), (5, 3)),
    "a user's block for two inputs": (lambda: Block(3), nn.Siamese, (5, 2, 3)),
    "a user's block as both ways": (
        lambda: Block(3),
        lambda own: nn.Residual(nn.Sequential(nn.Tanh(), own), own),
        (5, 3),
    ),
    "a user's block across branches": (
        lambda: Block(3),
        lambda own: nn.Parallel(own, nn.Sequential(own, nn.Tanh())),
        (5, 3),
    ),
    "a user's activation twice": (
        lambda: nn.Activation(np.sin, np.cos),
        lambda own: nn.Sequential(own, linear(3, 3), own),
        (5, 3),
    ),
}


def shared(name):
    part, build, shape = SHARED[name]
    return build(part()), shape


@pytest.mark.parametrize("name", SHARED)
def test_gradients_of_shared_parts_are_those_of_central_differences(name):
    model, shape = shared(name)
    assert gradcheck(model, inputs(*shape))


def test_tied_parameters_of_two_layers_get_the_gradients_of_both():
    model = nn.Sequential(linear(3, 3), nn.Tanh(), linear(3, 3, seed=1))
    model[2].weight = model[0].weight
    assert gradcheck(model, inputs(5, 3))


@pytest.mark.parametrize("name", SHARED)
def test_each_forward_serves_one_backward(name):
    model, shape = shared(name)
    x = inputs(*shape)
    model.zero_grad()
    gy = inputs(*model(x).shape, seed=8)
    once = model.backward(gy)
    gradients = [parameter.grad.copy() for parameter in model.parameters()]
    with pytest.raises(RuntimeError, match="expected a forward before each backward"):
        model.backward(gy)
    model(x)
    assert (model.backward(gy) == once).all()
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        np.testing.assert_allclose(parameter.grad, 2 * gradient, rtol=1e-12)


@pytest.mark.parametrize("name", SHARED)
def test_backward_parameters_gives_the_parameters_the_gradients_of_backward(name):
    model, shape = shared(name)
    gy = inputs(*model(inputs(*shape)).shape, seed=8)
    model.zero_grad()
    model.backward(gy)
    want = [parameter.grad.copy() for parameter in model.parameters()]
    model.zero_grad()
    model(inputs(*shape))
    assert model.backward_parameters(gy) is None
    for parameter, gradient in zip(model.parameters(), want, strict=True):
        assert (parameter.grad == gradient).all()


def test_backward_belongs_to_the_latest_forward():
    model = nn.Sequential(linear(3, 4), nn.Tanh(), linear(4, 2))
    x, other, gy = inputs(5, 3), inputs(9, 3, seed=1), inputs(5, 2, seed=2)
    model(x)
    want = model.backward(gy)
    model(other)
    model(x)
    assert (model.backward(gy) == want).all()


@pytest.mark.parametrize("calls", [1, 2, 3, 4])
def test_backward_goes_through_the_layers_of_its_forward(calls):
    model = nn.Sequential(linear(3, 4), nn.Tanh())
    for _ in range(calls):
        model(inputs(5, 3))
    want = model.backward(gy := inputs(5, 4))
    model(inputs(5, 3))
    model.append(nn.Tanh())
    assert (model.backward(gy) == want).all()


# Subclasses of fastdl's layers, and instances, with methods of their own.


class Doubled(nn.Linear):
    def forward(self, x):
        self.calls = getattr(self, "calls", 0) + 1
        self.x = x
        return super().forward(2 * x)

    def backward(self, grad_output):
        assert (self.x >= self.least).all()
        return 2 * super().backward(grad_output)


class Halved(Doubled):
    """Another level of methods, one of them by super()."""

    def forward(self, x):
        return super().forward(x / 2)

    def backward(self, grad_output):
        return super().backward(grad_output) / 2


class Spared(nn.Sequential):
    """A container whose backward of the parameters alone is its own."""

    def backward_parameters(self, grad_output):
        self.spared = True
        return super().backward_parameters(grad_output)


@pytest.mark.parametrize(("kind", "factor"), [(Doubled, 2), (Halved, 1)])
def test_a_subclass_with_methods_of_its_own_stands_in_several_places(kind, factor):
    layer, plain = kind(3, 3, rng=0, dtype=np.float64), linear(3, 3)
    layer.least = -np.inf
    model = nn.Sequential(layer, nn.Tanh(), layer)
    want = nn.Sequential(plain, nn.Tanh(), plain)
    plain.weight.data = factor * plain.weight.data
    x = inputs(5, 3)
    for call in range(1, 5):
        y = model(x)
        np.testing.assert_allclose(y, want(x), rtol=1e-12)
        np.testing.assert_allclose(model.backward(np.cos(y)), want.backward(np.cos(y)), rtol=1e-12)
        assert layer.calls == 2 * call
    np.testing.assert_allclose(layer.weight.grad, factor * plain.weight.grad, rtol=1e-12)


def test_a_subclass_with_a_backward_of_the_parameters_alone_is_asked_where_it_comes_first():
    first = Spared(linear(3, 3))
    model = nn.Sequential(first, nn.Tanh())
    model.backward_parameters(model(inputs(5, 3)))
    assert first.spared
    assert first[0].weight.grad.any()


@pytest.mark.parametrize("names", [("forward", "backward"), ("forward",), ("backward",)])
def test_methods_that_are_replaced_in_an_instance_count_in_each_place(names):
    layer = nn.Tanh()
    ways = {
        "forward": lambda x: nn.Tanh.forward(layer, 2 * x),
        "backward": lambda gy: 2 * nn.Tanh.backward(layer, gy),
    }
    for name in names:
        setattr(layer, name, ways[name])
    model, plain = nn.Sequential(layer, linear(3, 3), layer), nn.Sequential(nn.Tanh(), linear(3, 3), nn.Tanh())
    x, forward, backward = inputs(5, 3), 1 + ("forward" in names), 1 + ("backward" in names)
    y = model(x)
    np.testing.assert_allclose(y, plain[2](forward * plain[1](plain[0](forward * x))), rtol=1e-12)
    gx = model.backward(np.cos(y))
    want = backward * plain[0].backward(plain[1].backward(backward * plain[2].backward(np.cos(y))))
    np.testing.assert_allclose(gx, want, rtol=1e-12)


# Memory.


@pytest.mark.parametrize("name", SHARED)
def test_memory_does_not_grow_over_forwards(name):
    model, shape = shared(name)
    x = inputs(1000, *shape[1:])
    for _ in range(5):  # by then a container runs as a program
        model(x)
    tracemalloc.start()
    try:
        for _ in range(5):
            model(x)
        seen = [tracemalloc.get_traced_memory()[0]]
        for _ in range(3):
            for _ in range(20):
                model(x)
            seen.append(tracemalloc.get_traced_memory()[0])
        # A test runner's own threads may take memory once in a while; what grows does so each time.
        assert min(np.diff(seen)) < x.nbytes // 2
    finally:
        tracemalloc.stop()


# backward without forward, and no_grad.

LAYERS = (
    linear(3, 3), nn.ReLU(), nn.LeakyReLU(), nn.ELU(), nn.Tanh(), nn.Sigmoid(), nn.GELU(), nn.SiLU(), nn.Softplus(),
    nn.Identity(), nn.Softmax(), nn.LogSoftmax(), nn.Activation(np.sin, np.cos), nn.Sequential(), nn.Residual(nn.Tanh()),
    nn.Parallel(nn.Tanh()),
)  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_backward_without_forward_is_a_runtime_error_that_names_the_layer(layer):
    fresh = copy.deepcopy(layer)
    with pytest.raises(RuntimeError, match=r": expected a forward before each backward") as caught:
        fresh.backward(inputs(5, 3))
    assert str(caught.value).startswith(fresh.spec())


@pytest.mark.parametrize("layer", [*LAYERS, nn.Siamese(nn.Tanh())], ids=str)
def test_no_grad_keeps_nothing(layer):
    with fastdl.no_grad():
        layer(inputs(5, 3, 3))
    for module in layer.modules():
        with pytest.raises(RuntimeError, match="expected a forward before each backward"):
            module.backward(inputs(5, 3, 3))


def test_a_forward_under_no_grad_leaves_the_one_before_it_for_backward():
    model = nn.Sequential(linear(3, 4), nn.Tanh())
    x, gy = inputs(5, 3), inputs(5, 4)
    model(x)
    want = model.backward(gy)
    model(x)
    with fastdl.no_grad():
        model(inputs(9, 3, seed=3))
    assert (model.backward(gy) == want).all()


def test_no_grad_ends_with_its_block_also_by_an_error_and_decorates_functions():
    with pytest.raises(KeyError), fastdl.no_grad():
        _ = {}["no such key"]
    assert nn.is_grad_enabled()
    with fastdl.no_grad():
        with fastdl.no_grad():
            pass
        assert not nn.is_grad_enabled()

    @fastdl.no_grad()
    def enabled():
        return nn.is_grad_enabled()

    assert not enabled()
    assert enabled.__name__ == "enabled"
    assert nn.is_grad_enabled()


def test_no_grad_is_a_setting_of_the_calling_thread():
    seen = []
    with fastdl.no_grad():
        thread = threading.Thread(target=lambda: seen.append(nn.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_one_model_serves_many_threads_at_once_under_no_grad():
    act, body = nn.ReLU(), linear(16, 16, dtype=np.float32)
    model = nn.Sequential(
        body, act, nn.Residual(nn.Sequential(body, nn.GELU(), body), nn.Tanh()), act,
        nn.Parallel(body, nn.Sequential(nn.Softmax(), body)), nn.LogSoftmax(),
    )  # fmt: skip
    batches = [inputs(rows, 16, seed=rows, dtype=np.float32) for rows in (1, 3, 40, 64, 150, 300, 7, 33)]
    with fastdl.no_grad():
        wanted = [model(x) for x in batches]
    wrong, start = [], threading.Barrier(len(batches))

    def serve(x, want):
        start.wait()
        with fastdl.no_grad():
            wrong.extend(1 for _ in range(100) if not (model(x) == want).all())

    threads = [threading.Thread(target=serve, args=pair) for pair in zip(batches, wanted, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_backward_parameters_spares_the_first_layer_its_input_gradient_and_no_other():
    asked = []

    class Asked(nn.Module):
        def forward(self, x):
            return x

        def backward(self, grad_output):
            asked.append("input")
            return grad_output

        def backward_parameters(self, grad_output):
            asked.append("parameters")

    model = nn.Sequential(Asked(), Asked(), Asked())
    model.backward_parameters(model(np.ones((1, 2), np.float32)))
    assert asked == ["input", "input", "parameters"]


def test_an_empty_batch_sets_forgotten_gradients_of_a_wide_layer_to_zero():
    layer = nn.Linear(1100, 2, rng=0)
    optimizer = fastdl.optim.SGD(layer.parameters(), lr=1.0)
    layer.weight.grad, layer.bias.grad = np.ones((2, 1100)), np.ones(2)
    optimizer.forget_gradients()
    layer.backward(layer(np.zeros((0, 1100), np.float32)))
    assert not layer.weight.grad.any()
    assert not layer.bias.grad.any()


def often_called():
    return nn.Sequential(
        nn.Linear(4, 6, rng=0), nn.LeakyReLU(0.1), nn.BatchNorm1d(6), nn.Sequential(nn.Linear(6, 5, rng=1), nn.ELU())
    )


CHANGES = {
    "an option": lambda model: setattr(model[1], "negative_slope", 0.5),
    "an option inside": lambda model: setattr(model[3][1], "alpha", 0.5),
    "another layer": lambda model: model._layers.update({"1": nn.Tanh()}),
    "one more layer": lambda model: model.append(nn.Tanh()),
    "one more layer inside": lambda model: model[3].append(nn.Tanh()),
    "a layer less": lambda model: model._layers.pop("3"),
    "the layers in another order": lambda model: model._layers.update({"1": model[2], "2": model[1]}),
    "another weight": lambda model: setattr(model[0], "weight", nn.Parameter(np.full((6, 4), 0.1, np.float32))),
    "values of a weight": lambda model: setattr(model[0].weight, "data", np.full((6, 4), 0.1)),
    "no bias": lambda model: setattr(model[0], "bias", None),
    "a tied weight": lambda model: setattr(model[0], "bias", model[2].weight),
    "moved weights": lambda model: optim.SGD(model.parameters()),
    "a frozen layer": lambda model: model[0].requires_grad_(False),
    "a mode": lambda model: model[2].eval(),
    "all modes": lambda model: model.eval(),
    "a running mean": lambda model: setattr(model[2], "running_mean", np.ones(6, np.float32)),
    "another dtype": lambda model: model.astype(np.float64),
}


@pytest.mark.parametrize("calls", ["training", "no_grad"])
@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_in_a_container_called_often_counts_in_the_next_call(name, calls):
    model, x = often_called(), np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32)
    with nn.no_grad() if calls == "no_grad" else nullcontext():
        for _ in range(6):
            model(x)
        assert model._flat.latest  # a program
        CHANGES[name](model)
        x = x.astype(next(model.parameters()).dtype)
        other = copy.deepcopy(model)  # layer by layer at first
        got, want = model(x), other(x)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    for one, two in zip(model.buffers(), other.buffers(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
    if calls == "training":
        gy = np.cos(want)
        np.testing.assert_allclose(model.backward(gy), other.backward(gy), rtol=1e-4, atol=1e-5)
        for one, two in zip(model.parameters(), other.parameters(), strict=True):
            np.testing.assert_allclose(one.grad, two.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["container", "forward alone"])
def test_parameters_that_are_released_learn_in_the_next_call(kind):
    class Alone(nn.Module):
        def __init__(self, body):
            self.body = body

        def forward(self, x):
            return self.body(x)

    model = often_called() if kind == "container" else Alone(often_called())
    first, x = next(model.parameters()), np.ones((3, 4), np.float32)
    first.requires_grad = False
    for _ in range(6):
        model.backward(np.ones_like(model(x)))
    assert not first.grad.any()
    first.requires_grad = True
    model.zero_grad()
    model.backward(np.ones_like(model(x)))
    found = first.grad.copy()
    fresh = copy.deepcopy(model)
    fresh.zero_grad()
    fresh.backward(np.ones_like(fresh(x)))
    assert found.any()
    np.testing.assert_allclose(found, next(fresh.parameters()).grad, rtol=1e-4, atol=1e-6)


def test_a_container_called_often_does_not_go_back_with_other_weights():
    model, x = often_called(), np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32)
    for _ in range(6):
        y = model(x)
    model.astype(np.float64)
    with pytest.raises(
        RuntimeError, match="expected parameters of float32, as when it was called, got others; call it again"
    ):
        model.backward(np.ones_like(y))
    assert not any(parameter.grad.any() for parameter in model.parameters())
