"""What is called between backward and each step may change gradients, and may do whatever Python code does."""

import signal
from itertools import pairwise

import numpy as np
import pytest

from fastdl import nn, optim
from fastdl.training.engine import NotFiniteError, PlainEngine, Task
from fastdl.training.native_engine import NativeEngine
from tests.training.engine.twins import Parts, compare, epochs

RNG = np.random.default_rng(0)
# The weights between are large enough for a step within backward.
WIDTHS = {"small": (6, 5, 4, 2), "large": (6, 200, 200, 2)}
X, Y = RNG.standard_normal((20, 6)), RNG.standard_normal((20, 2))


def layers(widths):
    pairs = list(pairwise(widths))
    return [each for n, m in pairs for each in (nn.Linear(n, m, rng=n + m, dtype=np.float64), nn.Tanh())][:-1]


def parts(widths="small", hook=None, clip_norm=None, optimizer=optim.Adam):
    model = nn.Sequential(*layers(WIDTHS[widths]))
    after = None if hook is None else lambda: hook(model)
    return Parts(model, nn.MSELoss(), optimizer(model.parameters(), lr=0.01), None, clip_norm, after)


def halve(model):
    for parameter in model.parameters():
        parameter.grad *= 0.5


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("clip_norm", [None, 0.1])
def test_both_engines_step_with_the_changed_gradients(widths, clip_norm):
    changed = compare(lambda: parts(widths, halve, clip_norm, optim.SGD), X, Y, batch_size=6)
    plain = compare(lambda: parts(widths, None, clip_norm, optim.SGD), X, Y, batch_size=6)
    assert (changed["0.weight"] != plain["0.weight"]).any()


@pytest.mark.parametrize("widths", WIDTHS)
def test_one_that_only_looks_changes_no_bit_and_sees_whole_gradients(widths):
    seen = []

    def look(model):
        seen.append([parameter.grad.copy() for parameter in model.parameters()])

    looked, plain = (epochs(lambda h=h: parts(widths, h), X, Y, True, batch_size=6) for h in (look, None))
    for name, values in plain.items():
        np.testing.assert_array_equal(looked[name], values, err_msg=name)
    assert len(seen) == 8  # two epochs of four batches
    assert all(gradient.any() for each in seen for gradient in each)
    # The latest gradients are those that the last step was taken with.
    for gradient, name in zip(seen[-1], parts(widths).model.state_dict(), strict=True):
        np.testing.assert_array_equal(gradient, looked[f"gradient of {name}"])


def test_the_gradient_is_clipped_after_it():
    def enlarge(model):
        for parameter in model.parameters():
            parameter.grad *= 1e6

    its = parts("small", enlarge, 0.5, optim.SGD)
    engine = NativeEngine(Task(*its), X, Y, 20)
    engine.epoch(X, Y, None, 20, None)
    norms = [np.linalg.norm(parameter.grad) for parameter in its.model.parameters()]
    assert np.linalg.norm(norms) == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("native", [True, False], ids=["native", "plain"])
def test_its_error_ends_the_epoch_before_the_step(native):
    calls = []

    def fail(model):
        calls.append(None)
        if len(calls) == 3:
            raise LookupError("no more")

    its = parts("small", fail)
    engine = NativeEngine(Task(*its), X, Y, 4) if native else PlainEngine(Task(*its), "a test wants it")
    with pytest.raises(LookupError, match="no more"):
        engine.epoch(X, Y, None, 4, None)
    assert its.optimizer._steps == [2] * 6
    twice = parts("small")
    NativeEngine(Task(*twice), X, Y, 4).epoch(X[:8], Y[:8], None, 4, None)
    for name, values in twice.model.state_dict().items():
        np.testing.assert_allclose(its.model.state_dict()[name], values, rtol=1e-9, err_msg=name)


def test_the_model_may_be_called_and_trained_in_it():
    """Both take the calling thread's scratch memory and its number of threads."""
    another = parts("large")
    engine = NativeEngine(Task(*another), X, Y, 7)

    def run(model):
        model(X)
        engine.epoch(X, Y, None, 7, None)

    ran, plain = (epochs(lambda h=h: parts("large", h), X, Y, True, batch_size=6) for h in (run, None))
    for name in parts("large").model.state_dict():
        np.testing.assert_array_equal(ran[name], plain[name], err_msg=name)


CHANGES = {
    "a parameter is frozen": lambda model: setattr(model[0].weight, "requires_grad", False),
    "a layer is replaced": lambda model: model._layers.update({"1": nn.ReLU()}),
    "a layer is added": lambda model: model.append(nn.Tanh()),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_model_changed_in_it_ends_the_call_before_the_step(change):
    its = parts("small", change)
    before = its.model[2].weight.data.copy()
    engine = NativeEngine(Task(*its), X, Y, 4)
    losses = engine.epoch(X, Y, None, 4, None)
    assert losses.rows == 0
    assert not engine.current()
    assert its.optimizer._steps == [0] * 6
    np.testing.assert_array_equal(its.model[2].weight.data, before)


def test_a_signal_in_it_is_heard_at_once():
    def interrupt(model):
        signal.raise_signal(signal.SIGINT)

    its = parts("small", interrupt)
    with pytest.raises(KeyboardInterrupt):
        NativeEngine(Task(*its), X, Y, 4).epoch(X, Y, None, 4, None)
    assert its.optimizer._steps == [0] * 6


def test_a_gradient_that_is_not_finite_ends_the_epoch_after_it():
    def spoil(model):
        model[0].weight.grad[0, 0] = np.nan

    its = parts("small", spoil, optimizer=optim.SGD)
    with pytest.raises(NotFiniteError) as error:
        NativeEngine(Task(*its), X, Y, 4).epoch(X, Y, None, 4, None)
    assert error.value.what == "the gradient of 0.weight is not finite"
