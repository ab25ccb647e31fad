"""What a user writes in Python, in a few lines each: a module, an activation, a loss, an optimizer, in every place."""

import copy
import pickle
from contextlib import nullcontext

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.data import batches
from fastdl.nn import Module, Parameter
from fastdl.testing import gradcheck


class Shift(Module):
    """y = x + offset."""

    def __init__(self, size, dtype=np.float64):
        self.offset = Parameter(np.full(size, 0.1, dtype=dtype))

    def forward(self, x):
        return x + self.offset.data

    def backward(self, grad_output):
        self.offset.grad += grad_output.reshape(-1, self.offset.size).sum(axis=0)
        return grad_output


class Double(Module):
    """Without a constructor."""

    def forward(self, x):
        return 2 * x

    def backward(self, grad_output):
        return 2 * grad_output


class Swish(nn.Activation):
    """An activation as a subclass with two methods."""

    def __init__(self, beta=1.5):
        self.beta = beta

    def function(self, x):
        return x / (1 + np.exp(-self.beta * x))

    def derivative(self, x):
        s = 1 / (1 + np.exp(-self.beta * x))
        return s + self.beta * x * s * (1 - s)


class Cosine(nn.Activation):
    """The same without a constructor."""

    def __init__(self):
        pass

    def function(self, x):
        return np.cos(x)

    def derivative(self, x):
        return -np.sin(x)


class Fourth(nn.Loss):
    """l = (output - target)^4, element by element."""

    def function(self, output, target):
        return (output - target) ** 4

    def derivative(self, output, target):
        return 4 * (output - target) ** 3


class Distance(nn.Loss):
    """l = |output - target|^2, one number a sample, with an option of its own and no call of the base's constructor."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def function(self, output, target):
        return self.factor * ((output - target) ** 2).sum(axis=1)

    def derivative(self, output, target):
        return 2 * self.factor * (output - target)


class HeavyBall(optim.Optimizer):
    """An optimizer with state."""

    state_names = ("velocity",)

    def __init__(self, params, lr=0.01, mass=0.9):
        super().__init__(params, {"lr": lr, "mass": mass})

    def update(self, data, grad, state, group, step):
        state["velocity"] *= group["mass"]
        state["velocity"] += grad
        data -= group["lr"] * state["velocity"]


def linear(inputs, outputs, seed=0, dtype=np.float64):
    return nn.Linear(inputs, outputs, rng=seed, dtype=dtype)


def inputs(*shape, seed=7):
    return np.random.default_rng(seed).standard_normal(shape)


OWN = {
    "module": lambda: Shift(3),
    "module without constructor": Double,
    "activation of two functions": lambda: nn.Activation(np.sin, np.cos),
    "activation of two methods": Swish,
    "activation without options": Cosine,
    "module of modules": lambda: nn.Sequential(Shift(3), Swish(), Double()),
}
PLACES = {
    "alone": (lambda own: own, (5, 3)),
    "Sequential": (lambda own: nn.Sequential(linear(3, 3), own, linear(3, 2)), (5, 3)),
    "nested Sequential": (lambda own: nn.Sequential(nn.Sequential(own), nn.Sequential(nn.Sequential(own))), (5, 3)),
    "body of Residual": (nn.Residual, (5, 3)),
    "shortcut of Residual": (lambda own: nn.Residual(linear(3, 3), own), (5, 3)),
    "Parallel": (lambda own: nn.Parallel(own, linear(3, 2), own), (5, 3)),
    "Siamese": (nn.Siamese, (5, 2, 3)),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("own", OWN)
def test_a_users_own_layer_is_right_in_every_place(own, place):
    build, shape = PLACES[place]
    model = build(OWN[own]())
    assert gradcheck(model, inputs(*shape))


@pytest.mark.parametrize("own", OWN)
def test_a_model_with_a_users_own_layer_copies_pickles_and_stores(own):
    model = nn.Sequential(linear(3, 3), OWN[own](), linear(3, 2))
    x = inputs(4, 3)
    want = model(x)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert (twin(x) == want).all()
    fresh = nn.Sequential(linear(3, 3, 5), OWN[own](), linear(3, 2, 6))
    fresh.load_state_dict(model.state_dict())
    assert (fresh(x) == want).all()


def test_a_users_own_parameters_are_the_models():
    model = nn.Sequential(linear(3, 3), Shift(3))
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.offset"]
    model.astype(np.float32)
    assert model(inputs(2, 3).astype(np.float32)).dtype == np.float32


def test_a_users_own_activation_is_spelled_by_its_functions_or_its_class():
    assert repr(nn.Activation(np.sin, np.cos)) == "Activation(sin, cos)"
    assert repr(Swish()) == "Swish()"
    assert repr(Swish(2.0)) == "Swish(beta=2.0)"
    assert repr(Cosine()) == "Cosine()"


def test_a_users_own_activation_keeps_the_dtype_of_its_input():
    model = nn.Activation(lambda x: np.sin(x.astype(np.float64)), lambda x: np.cos(x.astype(np.float64)))
    x = np.ones((2, 3), dtype=np.float32)
    assert model(x).dtype == np.float32
    assert model.backward(x).dtype == np.float32


@pytest.mark.parametrize(
    ("function", "derivative", "name"),
    [(lambda x: x[:1], np.cos, "function"), (lambda x: None, np.cos, "function"), (np.sin, np.sum, "derivative")],
)
def test_an_activation_that_returns_another_shape_is_refused(function, derivative, name):
    model = nn.Activation(function, derivative)
    with pytest.raises(ValueError, match=rf"Activation\(.*\): expected {name} to return shape \(2, 3\)"):
        model.backward(model(np.ones((2, 3))))


# Losses.


def slopes(criterion, x, t, step=1e-6):
    found = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        found[index] = (criterion(up, t) - criterion(down, t)) / (2 * step)
    return found


@pytest.mark.parametrize("reduction", ["mean", "sum", "batchmean"])
@pytest.mark.parametrize("make", [Fourth, Distance], ids=["elements", "samples"])
def test_a_users_own_loss_has_every_reduction_and_its_gradient(make, reduction):
    criterion = make()
    criterion.reduction = reduction
    x, t = inputs(4, 3), inputs(4, 3, seed=8)
    losses = criterion.function(x, t)
    want = {"mean": losses.mean(), "sum": losses.sum(), "batchmean": losses.sum() / 4}[reduction]
    value = criterion(x, t)
    assert type(value) is float
    assert value == pytest.approx(want, rel=1e-12)
    np.testing.assert_allclose(criterion.backward(), slopes(copy.deepcopy(criterion), x, t), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("make", [Fourth, Distance], ids=["elements", "samples"])
def test_a_users_own_loss_without_reduction_weighs_each_loss_by_grad_output(make):
    criterion = make()
    criterion.reduction = "none"
    x, t = inputs(4, 3), inputs(4, 3, seed=8)
    losses = criterion(x, t)
    assert (losses == criterion.function(x, t)).all()
    weights = inputs(*losses.shape, seed=9)
    gx = criterion.backward(weights)
    spread = weights.reshape(weights.shape + (1,) * (2 - weights.ndim))
    np.testing.assert_allclose(gx, criterion.derivative(x, t) * spread, rtol=1e-12)


def test_a_users_own_loss_may_take_any_target():
    class FirstClass(nn.Loss):
        def function(self, output, target):
            return np.array([row["ab".index(name)] for row, name in zip(output, target, strict=True)])

        def derivative(self, output, target):
            return np.array([[name == "a", name == "b"] for name in target], dtype=float)

    criterion = FirstClass("sum")
    assert criterion(np.array([[1.0, 2.0], [3.0, 4.0]]), ["a", "b"]) == 5.0
    assert (criterion.backward() == np.eye(2)).all()


def test_a_loss_whose_derivative_has_another_shape_is_refused():
    class Wrong(Fourth):
        def derivative(self, output, target):
            return np.zeros(3)

    criterion = Wrong()
    criterion(np.ones((2, 2)), np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"Wrong\(\): expected derivative to return shape \(2, 2\), got \(3,\)"):
        criterion.backward()


def test_a_loss_without_a_function_says_so():
    with pytest.raises(TypeError, match="Loss has no function: define function"):
        nn.Loss()(np.ones(2), np.ones(2))


# Optimizers.


def test_a_users_own_optimizer_steps_every_kind_of_parameter():
    model = nn.Sequential(linear(3, 3), Shift(3))
    optimizer = HeavyBall(model.parameters(), lr=0.5, mass=0.5)
    before = [parameter.data.copy() for parameter in model.parameters()]
    for _ in range(2):
        for parameter in model.parameters():
            parameter.grad = np.ones(parameter.shape)
        optimizer.step()
    for parameter, start in zip(model.parameters(), before, strict=True):
        np.testing.assert_allclose(parameter.data, start - 0.5 * (1 + 1.5), rtol=1e-12)


def test_a_users_own_optimizer_stores_and_loads_its_state():
    p, q = Parameter(np.zeros(3)), Parameter(np.zeros(3))
    one, other = HeavyBall([p]), HeavyBall([q], lr=0.5)
    p.grad = np.ones(3)
    one.step()
    other.load_state_dict(one.state_dict())
    assert other.param_groups[0]["lr"] == 0.01
    assert (other.state_dict()["state"][0]["velocity"] == 1).all()
    assert repr(one) == "HeavyBall(1 parameters, lr=0.01, mass=0.9)"


def test_a_users_own_optimizer_works_with_a_schedule():
    p = Parameter(np.zeros(1))
    optimizer = HeavyBall([p], lr=1.0)
    optim.ExponentialLR(optimizer, 0.5).step()
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_an_optimizer_without_update_says_so():
    class Bare(optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {})

    with pytest.raises(TypeError, match="Bare has no update: define update"):
        Bare([Parameter(np.zeros(1))]).step()


def test_a_schedule_wants_an_optimizer_with_a_rate():
    class Rateless(optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {})

    with pytest.raises(ValueError, match="StepLR: expected an optimizer with an option lr"):
        optim.StepLR(Rateless([Parameter(np.zeros(1))]), 2)


# All together.


def build():
    model = nn.Sequential(
        linear(2, 8), Swish(), Shift(8), nn.Residual(nn.Activation(np.sin, np.cos)), linear(8, 2, seed=1)
    )
    return model, Fourth(), HeavyBall(model.parameters(), lr=0.01)


def test_a_network_of_ones_own_parts_learns_in_the_explicit_loop():
    model, criterion, optimizer = build()
    x = inputs(60, 2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        losses.append(criterion(model(x), x[:, ::-1].copy()))
        model.backward(criterion.backward())
        optimizer.step()
    assert losses[-1] < 0.1 * losses[0]


class Cubes(nn.Loss):
    """With a derivative that is half of the true one."""

    def function(self, output, target):
        return np.abs(output - target) ** 3

    def derivative(self, output, target):
        return 1.5 * (output - target) * np.abs(output - target)


class RowCubes(Cubes):
    """One loss for each sample."""

    def function(self, output, target):
        return np.sum(super().function(output, target), axis=1)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("criterion", [Cubes, RowCubes])
def test_given_derivatives_are_used_in_native_fits_too(criterion, reduction):
    x = inputs(20, 2)
    found = []
    for native in (True, False):
        parts = nn.Linear(2, 2, rng=0, dtype=x.dtype), nn.Activation(np.sin, lambda x: 3 * np.cos(x))
        model = nn.Sequential(*parts)
        trainer = Trainer(model, criterion(reduction), optim.SGD(model.parameters(), lr=0.01))
        with nullcontext() if native else fastdl.eager():
            history = trainer.fit(x, x[:, ::-1].copy(), epochs=3, batch_size=8, seed=0)
        assert history.engine.startswith("native" if native else "plain")
        found.append((history["loss"], model[0].weight.data, model[0].weight.grad))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-14)


def test_a_given_derivative_is_that_of_its_second_derivatives_too():
    """Through the derivative as it is written, not through the function's."""

    class Layer(nn.Module):
        def __init__(self):
            self.sine = nn.Activation(np.sin, lambda x: 3 * np.cos(x))

        def forward(self, x):
            return fastdl.grad(lambda x: np.sum(self.sine(x)))(x)

    layer, x = Layer(), inputs(3, 2)
    np.testing.assert_allclose(layer(x), 3 * np.cos(x), rtol=1e-12)
    np.testing.assert_allclose(layer.backward(np.ones_like(x)), -3 * np.sin(x), rtol=1e-12)


@pytest.mark.parametrize("wrong", ["function", "derivative"])
def test_functions_of_other_shapes_are_an_error(wrong):
    given = {"function": np.sin, "derivative": np.cos} | {wrong: lambda x: np.sum(x, axis=1)}

    class Layer(nn.Module):
        def __init__(self):
            self.sine = nn.Activation(**given)

        def forward(self, x):
            return self.sine(x)

    with pytest.raises(ValueError, match=f"{wrong} to return shape"):
        Layer()(inputs(3, 2))


def test_the_trainer_fits_a_network_of_ones_own_parts_as_the_explicit_loop_does():
    x = inputs(60, 2)
    y = x[:, ::-1].copy()
    fitted, criterion, optimizer = build()
    Trainer(fitted, criterion, optimizer).fit(x, y, epochs=3, batch_size=16, seed=5)
    model, criterion, optimizer = build()
    rng = np.random.default_rng(5)
    for _ in range(3):
        for xb, yb in batches(x, y, 16, rng=rng):
            optimizer.zero_grad()
            criterion(model(xb), yb)
            model.backward(criterion.backward())
            optimizer.step()
    for name, array in model.state_dict().items():
        np.testing.assert_allclose(fitted.state_dict()[name], array, rtol=1e-12, err_msg=name)
