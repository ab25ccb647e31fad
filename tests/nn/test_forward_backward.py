"""What happens between a forward and its backward: the same at every call, and one backward for each forward."""

import copy
import functools

import numpy as np
import pytest

from fastdl import Trainer, nn, optim
from fastdl._kernels.program.call import Record
from fastdl.graph.lowering import Lowering
from fastdl.nn import evaluation
from fastdl.nn.grad_mode import no_grad
from fastdl.training.inference import predict

RNG = np.random.default_rng(0)
PLAIN = r"expected a forward before each backward, got none since the latest backward; call the model on a batch first"


def dense():
    return nn.Sequential(nn.Linear(3, 4, rng=1), nn.BatchNorm1d(4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 2, rng=2))


def nested():
    return nn.Sequential(
        nn.Linear(3, 4, rng=1), nn.Residual(nn.Sequential(nn.Linear(4, 4, rng=3), nn.ReLU())), nn.Softmax()
    )


class Own(nn.Module):
    """A module in Python that keeps what its backward needs in its parts and in an attribute."""

    def __init__(self):
        self.inner, self.calls = nn.Linear(3, 2, rng=1), 0

    def forward(self, x):
        self.calls += 1
        return self.inner(x)

    def backward(self, gy):
        return self.inner.backward(gy)


BETWEEN = {
    "nothing": lambda model, x: None,
    "eval": lambda model, x: model.eval(),
    "frozen": lambda model, x: model.requires_grad_(False),
    "one frozen": lambda model, x: setattr(next(iter(model.parameters())), "requires_grad", False),
    "no_grad": lambda model, x: _under_no_grad(model, x),
    "predict": lambda model, x: predict(model, x),
    "state": lambda model, x: (model.state_dict(), copy.deepcopy(model), repr(model)),
    "loaded": lambda model, x: model.load_state_dict(model.state_dict()),
}


def _under_no_grad(model, x):
    model.eval()  # for running statistics stay then
    with no_grad():
        model(x)
    model.train()


def _gradients(make, between, calls):
    """The gradients after so many forwards, each with its backward, the latest with something in between."""
    model, x = make(), np.random.default_rng(5).standard_normal((6, 3)).astype(np.float32)
    for call in range(calls):
        for parameter in model.parameters():
            parameter.grad = np.full(parameter.shape, 0.25)
        for part in model.modules():
            if isinstance(part, nn.BatchNorm1d):
                part.reset_running_stats()
        with_seed(7)
        y = model(x)
        if call == calls - 1:
            BETWEEN[between](model, x)
        gx = model.backward(np.full_like(y, 0.5) * y)
        model.train()
    return [gx, *(parameter.grad.copy() for parameter in model.parameters())]


def with_seed(seed):
    import fastdl

    fastdl.manual_seed(seed)


@pytest.mark.parametrize("make", [dense, nested, Own])
@pytest.mark.parametrize("between", BETWEEN)
def test_what_comes_between_works_the_same_at_every_call(make, between):
    want = _gradients(make, between, 1)
    for calls in (2, 3, 4, 5, 7):
        for one, two in zip(want, _gradients(make, between, calls), strict=True):
            np.testing.assert_allclose(two, one, rtol=2e-5, atol=2e-7)
    if "frozen" not in between:
        for one, two in zip(_gradients(make, "nothing", 1), want, strict=True):
            np.testing.assert_allclose(two, one, rtol=1e-6)


@pytest.mark.parametrize("make", [dense, nested, Own])
def test_frozen_parameters_between_get_no_gradient_at_any_call(make):
    for calls in (1, 2, 3, 4):
        _, *gradients = _gradients(make, "frozen", calls)
        assert all((each == 0.25).all() for each in gradients)


def _layers():
    x, images = RNG.standard_normal((4, 6)), RNG.standard_normal((2, 3, 6, 6))
    yield from (
        (layer, x) for layer in (nn.Linear(6, 3), nn.BatchNorm1d(6), nn.LayerNorm(6), nn.Dropout(0.5), nn.Flatten())
    )
    activations = (
        "ReLU",
        "LeakyReLU",
        "ELU",
        "GELU",
        "SiLU",
        "Sigmoid",
        "Tanh",
        "Softplus",
        "Softmax",
        "LogSoftmax",
        "Identity",
    )
    yield from ((getattr(nn, name)(), x) for name in activations if hasattr(nn, name))
    yield nn.Activation(np.sin, np.cos), x
    yield from ((layer, images) for layer in (nn.Conv2d(3, 2, 3), nn.BatchNorm2d(3), nn.MaxPool2d(2), nn.AvgPool2d(2)))
    yield from ((layer, images) for layer in (nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    yield nn.Sequential(nn.Linear(6, 3), nn.Tanh()), x
    yield nn.Residual(nn.Linear(6, 6)), x
    yield nn.Parallel(nn.Linear(6, 3), nn.Tanh()), x
    yield nn.Sequential(nn.Sequential(nn.Linear(6, 3)), nn.ReLU()), x


LAYERS = list(_layers())
CHECKING = [each for each in LAYERS if not isinstance(each[0], nn.Identity)]


@pytest.mark.parametrize(("layer", "x"), LAYERS, ids=[str(layer) for layer, _ in LAYERS])
def test_a_second_backward_is_an_error(layer, x):
    layer, gradients = layer.astype(np.float64), []
    for forwards in (1, 2, 3, 4):  # a container is one program from some call on
        for _ in range(forwards):
            y = layer(x)
        gradients.append(layer.backward(np.ones_like(y)))
        with pytest.raises(RuntimeError, match=PLAIN):
            layer.backward(np.ones_like(y))
        with pytest.raises(RuntimeError, match=PLAIN):
            layer.backward_parameters(np.ones_like(y))


@pytest.mark.parametrize(("layer", "x"), CHECKING, ids=[str(layer) for layer, _ in CHECKING])
def test_a_refused_gradient_leaves_the_forward(layer, x):
    layer = layer.astype(np.float64)
    for _ in range(4):
        y = layer(x)
        with pytest.raises(ValueError, match=r"expected a gradient of shape .*, got \(9, 1\)"):
            layer.backward(np.ones((9, 1)))
        layer.backward(np.ones_like(y))


LOSSES = {
    "MSELoss": RNG.uniform(size=(4, 3)),
    "MAELoss": RNG.uniform(size=(4, 3)),
    "HuberLoss": RNG.uniform(size=(4, 3)),
    "BCELoss": RNG.uniform(size=(4, 3)),
    "BCEWithLogitsLoss": RNG.uniform(size=(4, 3)),
    "CrossEntropyLoss": np.array([0, 1, 2, 0]),
    "NLLLoss": np.array([0, 1, 2, 0]),
}


class LogCosh(nn.Loss):
    """A loss of a user's."""

    def function(self, output, target):
        return np.log(np.cosh(output - target))

    def derivative(self, output, target):
        return np.tanh(output - target)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", [*LOSSES, "LogCosh"])
def test_a_second_backward_of_a_loss_is_an_error(name, reduction):
    criterion = LogCosh(reduction) if name == "LogCosh" else getattr(nn, name)(reduction=reduction)
    output, target = RNG.uniform(0.1, 0.9, (4, 3)), LOSSES.get(name, np.zeros((4, 3)))
    for forwards in (1, 2):
        for _ in range(forwards):
            criterion(output, target)
        criterion.backward()
        with pytest.raises(RuntimeError, match="expected a forward before each backward"):
            criterion.backward()


def test_a_module_at_two_places_keeps_its_own_counters():
    inner = Own()
    model = nn.Sequential(nn.Linear(3, 3, rng=0), inner, nn.Linear(2, 3, rng=4), inner)
    x = RNG.standard_normal((5, 3)).astype(np.float32)
    for call in range(1, 6):
        model.zero_grad()
        y = model(x)
        assert inner.calls == 2 * call
        model.backward(np.ones_like(y))
        assert inner.calls == 2 * call
        assert np.abs(inner.inner.weight.grad).sum() > 0


def test_a_module_at_two_places_has_the_gradient_of_both():
    shared, x = nn.Linear(3, 3, rng=0, dtype=np.float64), RNG.standard_normal((5, 3))
    model = nn.Sequential(shared, nn.Tanh(), shared)
    for _ in range(4):
        model.zero_grad()
        model.backward(np.ones_like(model(x)))
        gradient = shared.weight.grad.copy()
        step = np.zeros_like(shared.weight.data)
        step[1, 2] = 1e-6
        shared.weight.data[...] += step
        above = model(x).sum()
        shared.weight.data[...] -= 2 * step
        below = model(x).sum()
        shared.weight.data[...] += step
        assert gradient[1, 2] == pytest.approx((above - below) / 2e-6, rel=1e-5)


def test_a_backward_has_what_its_forward_left_though_another_thread_takes_it(monkeypatch):
    model = nn.Sequential(nn.Linear(3, 4, rng=0), nn.Tanh())
    x = np.ones((2, 3), np.float32)
    y = model(x)
    expected = model.backward(np.ones_like(y))
    for _ in range(4):
        model(x)
    assert type(model._kept) is Record

    own = nn.Sequential._backward

    def taken(*given):
        model._kept = None
        return own(*given)

    monkeypatch.setattr(nn.Sequential, "_backward", taken)
    np.testing.assert_array_equal(model.backward(np.ones_like(y)), expected)


@pytest.mark.parametrize("between", [lambda model, x: predict(model, x), lambda model, x: model.summary(3)])
def test_a_prediction_leaves_the_program_of_a_model_as_it_is(between):
    model, x = nn.Sequential(nn.Linear(3, 4, rng=0), nn.Tanh()), np.ones((2, 3), np.float32)
    for _ in range(4):
        model(x)
    calls = model._flat.latest
    between(model, x)
    model(x)
    assert type(model._kept) is Record
    assert model._flat.latest is calls
    model[0].note = "an attribute of a user's"
    model(x)
    assert model._flat.latest is not calls or type(model._kept) is not Record


@pytest.fixture
def while_planned(monkeypatch):
    """Do something once, when a program has been planned, as another thread may."""

    def then(*changes):
        left, lowered = list(changes), Lowering.lowered

        def planned(self, *arguments):
            made = lowered(self, *arguments)
            if left:
                left.pop()()
            return made

        monkeypatch.setattr(Lowering, "lowered", planned)

    return then


def test_a_model_that_changes_while_it_is_planned_is_planned_anew(while_planned):
    model, x = nn.Sequential(nn.Linear(3, 8, rng=0), nn.Tanh()), np.ones((2, 3), np.float32)
    while_planned(lambda: model.append(nn.ReLU()))
    y = called_often(model, x)
    assert len(model) == 3
    assert (y >= 0).all()


def called_often(model, x):
    """The latest of as many calls as let a container become a program."""
    return [model(x) for _ in range(4)][-1]


def test_weights_of_another_dtype_are_noticed_while_a_model_is_planned(while_planned):
    model, x = nn.Sequential(nn.Linear(3, 8, rng=0), nn.BatchNorm1d(8)).astype(np.float64), np.ones((2, 3))
    while_planned(lambda: model[1].weight.astype(np.float32))
    with pytest.raises(ValueError, match="expected bias of float32"):
        called_often(model, x)


def test_a_fit_trains_the_weights_that_move_while_it_is_planned(while_planned):
    def trained(*changes):
        model = nn.Sequential(nn.Linear(3, 8, rng=0), nn.Tanh(), nn.Linear(8, 2, rng=1))
        trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
        while_planned(*(functools.partial(change, model) for change in changes))
        trainer.fit(np.ones((8, 3), np.float32), np.ones((8, 2), np.float32), epochs=3, batch_size=4, progress=False)
        return [parameter.data.copy() for parameter in model.parameters()]

    for one, other in zip(trained(lambda model: optim.SGD(model.parameters(), lr=0.5)), trained(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_evaluated_is_copied_anew_after_a_change_amid_the_copy(monkeypatch):
    model, x = nn.Sequential(nn.Linear(3, 8, rng=0), nn.Tanh()), np.ones((2, 3), np.float32)
    copy_of, left = evaluation.copy_of, [nn.ReLU()]

    def copied(*arguments):
        copy = copy_of(*arguments)
        if left:
            model.append(left.pop())
        return copy

    monkeypatch.setattr(evaluation, "copy_of", copied)
    predict(model, x)
    assert (predict(model, x) >= 0).all()
