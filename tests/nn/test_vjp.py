"""vjp: gradients in any order and again, beside whatever else happens to the model."""

import threading
import time
from contextlib import nullcontext

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, no_grad, optim
from fastdl._kernels.access import Access
from fastdl.testing import LAYER_CASES, make_input
from fastdl.training.inference import predict

pytestmark = pytest.mark.usefixtures("same_draws")


class Scale(nn.Module):
    """A module in the papers' form, which counts its forwards."""

    def __init__(self, size=3):
        self.factor, self.calls = nn.Parameter(np.linspace(0.5, 1.5, size)), 0

    def forward(self, x):
        self.calls += 1
        self.x = x
        return self.factor.data * x * x

    def backward(self, grad_output):
        self.factor.grad += (grad_output * self.x * self.x).reshape(-1, self.factor.size).sum(axis=0)
        return 2 * self.factor.data * self.x * grad_output


class Block(nn.Module):
    """A module in the papers' form with parts, one of them a container."""

    def __init__(self):
        self.body, self.scale = nn.Sequential(linear(3, 3, 4), nn.Tanh()), Scale()

    def forward(self, x):
        return self.scale(self.body(x))

    def backward(self, grad_output):
        return self.body.backward(self.scale.backward(grad_output))


class Negative(nn.Linear):
    """One of fastdl's layers with a forward and a backward of its own."""

    def forward(self, x):
        return -super().forward(x)

    def backward(self, grad_output):
        return super().backward(-grad_output)


def linear(inputs, outputs, seed=0):
    return nn.Linear(inputs, outputs, rng=seed, dtype=np.float64)


def inputs(*shape, seed=7):
    return np.random.default_rng(seed).standard_normal(shape)


def shared(make):
    part = make()
    return nn.Sequential(part, nn.Tanh(), nn.Residual(part), nn.Parallel(part, nn.Sequential(part)))


MODELS = {
    "layer": lambda: linear(3, 2),
    "row": lambda: nn.Sequential(linear(3, 4), nn.BatchNorm1d(4, dtype=np.float64), nn.Tanh(), linear(4, 2, 1)),
    "shared layer": lambda: shared(lambda: linear(3, 3)),
    "module in Python": Scale,
    "shared module in Python": lambda: shared(Scale),
    "shared block in Python": lambda: shared(Block),
    "block in Python": Block,
    "layer of one's own": lambda: nn.Sequential(Negative(3, 3, rng=0, dtype=np.float64), nn.Tanh()),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def grads(model):
    return [parameter.grad.copy() for parameter in model.parameters()]


def by_backward(model, x, gy):
    """Output, input gradient and parameter gradients of a copy, by forward and backward."""
    import copy

    twin = copy.deepcopy(model)
    twin.zero_grad()
    y = twin(x)
    return y, twin.backward(gy), grads(twin)


def same(got, want):
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("case", LAYER_CASES, ids=str)
def test_each_layer_has_the_bits_of_backward(each_dtype, case):
    for dtype in each_dtype():
        layer = case.make(dtype)
        x = make_input(case, case.shapes[0], np.random.default_rng(0), dtype)
        twin = case.make(dtype)
        want = twin(x)
        gy = np.random.default_rng(1).standard_normal(want.shape).astype(dtype)
        want_gx = twin.backward(gy)
        y, pullback = layer.vjp(x)
        np.testing.assert_array_equal(y, want)
        np.testing.assert_array_equal(pullback(gy, parameters=False), want_gx)
        assert not any(each.any() for each in grads(layer))
        np.testing.assert_array_equal(pullback(gy), want_gx)
        same(grads(layer), grads(twin))
        same(layer.buffers(), twin.buffers())


def test_pullbacks_are_called_in_any_order_and_again(model):
    pairs = [(inputs(5, 3, seed=seed), seed) for seed in range(3)]
    outputs = [(x, *model.vjp(x)) for x, _ in pairs]
    gradients = [np.cos(y) for _, y, _ in outputs]
    for number in (1, 2, 0, 0, 2, 1):
        x, y, pullback = outputs[number]
        want_y, want, want_grads = by_backward(model, x, gradients[number])
        np.testing.assert_array_equal(y, want_y)
        model.zero_grad()
        np.testing.assert_array_equal(pullback(gradients[number]), want)
        same(grads(model), want_grads)


def test_a_pullback_leaves_gradients_where_none_are_asked_for(model):
    x = inputs(5, 3)
    y, pullback = model.vjp(x)
    for parameter in model.parameters():
        parameter.grad = np.full(parameter.shape, 0.25)
    gx = pullback(np.ones_like(y), parameters=False)
    np.testing.assert_array_equal(gx, by_backward(model, x, np.ones_like(y))[1])
    assert all((each == 0.25).all() for each in grads(model))
    optim.SGD(model.parameters()).forget_gradients()
    _, pullback = model.vjp(x)
    pullback(np.ones_like(y), parameters=False)
    assert not any(each.any() for each in grads(model))


def test_frozen_parameters_get_no_gradient():
    model = MODELS["row"]().requires_grad_(False)
    y, pullback = model.vjp(inputs(5, 3))
    pullback(np.ones_like(y))
    assert not any(each.any() for each in grads(model))


@pytest.mark.parametrize("calls", [1, 4])
def test_the_latest_forward_keeps_its_backward(model, calls):
    x, other = inputs(5, 3), inputs(9, 3, seed=1)
    for _ in range(calls):  # a container is a program from some call on
        y = model(x)
    want = model.backward(gy := np.cos(y))
    model(x)
    z, pullback = model.vjp(other)
    pullback(np.ones_like(z))
    np.testing.assert_array_equal(model.backward(gy), want)


def test_without_a_forward_a_backward_stays_an_error():
    model = MODELS["row"]()
    y, _ = model.vjp(inputs(5, 3))
    with pytest.raises(RuntimeError, match="expected a forward before each backward"):
        model.backward(np.ones_like(y))


def test_other_uses_of_the_model_come_between(model):
    x, before = inputs(5, 3), inputs(6, 3, seed=2)
    y, pullback = model.vjp(x)
    z, other = model.vjp(before)
    want, want_other = pullback(np.ones_like(y)), other(np.ones_like(z))
    predict(model, before)
    model.eval()
    with no_grad():
        model(before)
    model.train()
    model.backward(model(x))
    np.testing.assert_array_equal(pullback(np.ones_like(y)), want)
    np.testing.assert_array_equal(other(np.ones_like(z)), want_other)


def test_it_records_under_no_grad(model):
    x = inputs(5, 3)
    with no_grad():
        y, pullback = model.vjp(x)
        gx = pullback(np.ones_like(y))
        assert not nn.is_grad_enabled()
    np.testing.assert_array_equal(gx, by_backward(model, x, np.ones_like(y))[1])


def test_counts_go_on_and_nothing_else_stays():
    scale = Scale()
    model = nn.Sequential(scale, scale)
    model.vjp(inputs(5, 3))
    assert scale.calls == 2
    assert "x" not in vars(scale)


def test_what_a_forward_makes_for_good_stays():
    class Lazy(nn.Module):
        def forward(self, x):
            if "inner" not in vars(self):
                self.inner = linear(x.shape[1], 2)
                self.register_buffer("seen", np.zeros(x.shape[1]))
            self.seen = self.seen + x.sum(axis=0)
            return self.inner(x)

        def backward(self, grad_output):
            return self.inner.backward(grad_output)

    lazy, x = Lazy(), inputs(5, 3)
    _, pullback = lazy.vjp(x)
    pullback(np.ones((5, 2)))
    weight = lazy.inner.weight
    lazy.vjp(x)
    assert lazy.inner.weight is weight
    np.testing.assert_array_equal(weight.grad, np.ones((2, 5)) @ x)
    np.testing.assert_array_equal(lazy.seen, 2 * x.sum(axis=0))


def test_the_gradient_is_that_of_the_structure_and_options_of_the_forward():
    model = nn.Sequential(linear(3, 3), nn.LeakyReLU(0.1))
    x = inputs(5, 3)
    y, pullback = model.vjp(x)
    want = pullback(np.ones_like(y))
    model[1].negative_slope = model[1]._alpha = 0.5
    model.append(linear(3, 1))
    np.testing.assert_array_equal(pullback(np.ones_like(y)), want)


# Parameters that change.


def stepped(model, x):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    model.backward(model(x))
    optimizer.step()


def fitted(model, x):
    Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1)).fit(
        x, model(x) + 1, epochs=1, batch_size=5, progress=False
    )


def stepped_once(model, x):
    Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1)).step(x, model(x) + 1)


CHANGES = {
    "a step": stepped,
    "a fit": fitted,
    "a load": lambda model, x: model.load_state_dict(model.state_dict()),
    "an assignment": lambda model, x: setattr(next(model.parameters()), "data", next(model.parameters()).data),
    "another dtype": lambda model, x: model.astype(np.float32),
    "a draw": lambda model, x: model.reset_parameters(rng=1),
}
if hasattr(Trainer, "step"):
    CHANGES["a trainer's step"] = stepped_once


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["layer", "row", "shared module in Python"])
def test_a_pullback_of_values_that_have_changed_is_refused(name, change):
    if (name, change) == ("shared module in Python", "a draw"):
        pytest.skip("a module of one's own draws nothing")
    model, x = MODELS[name](), inputs(5, 3)
    y, pullback = model.vjp(x)
    CHANGES[change](model, x)
    before = grads(model)
    with pytest.raises(RuntimeError, match=r"expected the values that .* had in vjp, got others") as caught:
        pullback(np.ones_like(y))
    assert "\n" not in str(caught.value)
    same(grads(model), before)
    x = x.astype(next(model.parameters()).dtype)
    y, pullback = model.vjp(x)
    pullback(np.ones_like(y))


def test_a_new_optimizer_moves_arrays_and_no_values():
    model, x = MODELS["row"](), inputs(5, 3)
    y, pullback = model.vjp(x)
    want = pullback(np.ones_like(y), parameters=False)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    optimizer.zero_grad()
    np.testing.assert_array_equal(pullback(np.ones_like(y)), want)
    assert any(each.any() for each in grads(model))


def test_a_step_of_another_model_changes_nothing():
    model, other, x = MODELS["row"](), MODELS["row"](), inputs(5, 3)
    y, pullback = model.vjp(x)
    stepped(other, x)
    fitted(other, x)
    pullback(np.ones_like(y))


def test_frozen_parameters_stay_what_they_are_through_a_step():
    model, x = MODELS["row"](), inputs(5, 3)
    before = [parameter.version for parameter in model.parameters()]
    model[0].requires_grad_(False)
    stepped(model, x)
    moved = [p.version > v for p, v in zip(model.parameters(), before, strict=True)]
    assert moved == [False, False, True, True, True, True]


def test_a_version_grows_with_each_part_of_a_fit():
    from fastdl.callbacks import Callback

    model, x = MODELS["row"](), inputs(8, 3)
    refused = []

    class Between(Callback):
        def on_epoch_end(self, trainer, record):
            y, pullback = model.vjp(x)
            pullback(np.ones_like(y), parameters=False)
            refused.append((pullback, y))

    trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
    trainer.fit(x, np.ones((8, 2)), epochs=3, batch_size=4, progress=False, callbacks=[Between()])
    assert len(refused) == 3
    for pullback, y in refused[:-1]:
        with pytest.raises(RuntimeError, match="got others"):
            pullback(np.ones_like(y))


# Errors, threads.


def test_what_does_not_fit_is_refused_as_by_forward_and_backward():
    model = nn.Sequential(linear(3, 2), nn.Tanh())
    with pytest.raises(ValueError, match="expected input of shape"):
        model.vjp(inputs(5, 4))
    assert nn.is_grad_enabled()
    y, pullback = model.vjp(inputs(5, 3))
    with pytest.raises(ValueError, match="expected a gradient of shape"):
        pullback(np.ones((5, 3)))
    with pytest.raises(TypeError, match="expected True or False for parameters"):
        pullback(np.ones_like(y), parameters=None)
    assert pullback(np.ones_like(y)).shape == (5, 3)


@pytest.mark.parametrize("name", ["forward", "backward"])
def test_a_method_replaced_in_an_instance_is_refused(name):
    model = nn.Sequential(linear(3, 3), nn.Tanh())
    setattr(model[1], name, lambda array: array)
    with pytest.raises(
        TypeError, match=rf"expected a class to define {name}, got one assigned to .*; write a subclass"
    ):
        model.vjp(inputs(5, 3))


@pytest.mark.parametrize("together", [True, False], ids=["one pullback", "one each"])
def test_threads_may_use_pullbacks_at_once(model, together):
    model.eval()
    x = [inputs(6, 3, seed=seed) for seed in range(4)]
    wanted = [by_backward(model, each, np.cos(model(each)))[1] for each in x]
    common, wrong, start = model.vjp(x[0]), [], threading.Barrier(4)

    def use(number):
        start.wait()
        for _ in range(30):
            y, pullback = common if together else model.vjp(x[number])
            got = pullback(np.cos(y), parameters=False)
            if not (got == wanted[0 if together else number]).all():
                wrong.append(number)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class Inner(nn.Module):
    """A module in Python around a layer."""

    def __init__(self):
        self.layer = nn.Linear(3, 3, rng=0)

    def forward(self, x):
        return self.layer(x)

    def backward(self, grad_output):
        return self.layer.backward(grad_output)


class Outer(nn.Module):
    def __init__(self):
        self.inner = Inner()

    def forward(self, x):
        return np.tanh(self.inner(x))


def again_and_again(pullback, y):
    for _ in range(1000):
        pullback(np.ones_like(y), parameters=False)
        time.sleep(0.01)


@pytest.mark.parametrize("make", [Inner, Outer])
def test_a_pullback_amid_a_change_of_parameters_does_not_wait_for_one_that_waits_for_its_end(make):
    """As in a signal handler that has come amid an optimizer's step, while another thread calls the same pullback."""
    model = make()
    y, pullback = model.vjp(np.ones((2, 3), np.float32))
    found = []
    thread = threading.Thread(target=lambda: found.append(pullback(np.ones_like(y))))
    parameters = list(model.parameters())
    with Access(writes_gradients=parameters):
        thread.start()
        with pytest.raises(RuntimeError, match="call it again when the handler has returned"):
            again_and_again(pullback, y)  # until the other has begun
    thread.join(10)
    np.testing.assert_array_equal(pullback(np.ones_like(y)), found[0])


class Weighed(nn.Module):
    def __init__(self):
        self.w = nn.Parameter(np.array([2.0, 3.0]))

    def forward(self, a, b=None):
        return a * self.w if b is None else a * self.w - b**2


@pytest.mark.parametrize("eager", [False, True], ids=["native", "eager"])
def test_inputs_are_given_by_name_too(eager):
    a, b, gy = np.ones((3, 2)), np.full((3, 2), 0.5), np.arange(6.0).reshape(3, 2)
    module = Weighed()
    with fastdl.eager() if eager else nullcontext():
        wanted, pull = module.vjp(a, b)
        ga, gb = pull(gy)
        for y, pullback in (module.vjp(a, b=b), module.vjp(a=a, b=b), module.vjp(b=b, a=a)):
            np.testing.assert_array_equal(y, wanted)
            found = pullback(gy)
            assert found.keys() == {"a", "b"}
            np.testing.assert_array_equal(found["a"], ga)
            np.testing.assert_array_equal(found["b"], gb)
        y, pullback = module.vjp(a=a)
        np.testing.assert_array_equal(pullback(gy)["a"], gy * module.w.data)


class Several(nn.Module):
    def forward(self, *inputs, scale):
        return sum(inputs) * scale


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: Weighed().vjp(x, a=x), "Weighed.vjp: expected each input once, got a twice"),
        (
            lambda x: Several().vjp(x, x, scale=x),
            "inputs that have names, or all by place, got 2 by place beside scale",
        ),
        (lambda x: nn.Tanh().vjp(x=x), r"Tanh\(\).vjp: expected inputs by place, got x; write vjp\(x\)"),
    ],
)
def test_names_that_do_not_fit_are_refused(call, message):
    with pytest.raises(TypeError, match=message):
        call(np.ones((3, 2)))
