"""A container's program runs in frames: one for each forward that a backward may follow, with the same bits in each."""

import numpy as np
import pytest

from fastdl import nn
from fastdl._kernels.descriptor import BASE_ARENA, BASE_ARRAYS
from fastdl._kernels.program.frame import Passed

RNG = np.random.default_rng(0)
BATCHES = [RNG.standard_normal((n, 6)) for n in (9, 4, 7, 1, 9)]


def network():
    shared = nn.Linear(5, 5, rng=1, dtype=np.float64)
    layers = [
        nn.Linear(6, 5, rng=0, dtype=np.float64),
        nn.Tanh(),
        shared,
        nn.Residual(nn.Sequential(nn.ReLU(), shared)),
    ]
    return nn.Sequential(*layers, nn.LayerNorm(5, dtype=np.float64))


@pytest.fixture
def model():
    found = network()
    for _ in range(4):
        found(BATCHES[0])
    return found


def recorded(model, x):
    """The record of a forward of a container's program."""
    return model._flat.latest[0].forward((x,), {}, True)


def gradients(model):
    return [parameter.grad.copy() for parameter in model.parameters()]


def expected(x):
    """Output and gradients of one forward and backward alone."""
    alone = network()
    for _ in range(4):
        alone(BATCHES[0])
    y = alone(x)
    return [y, alone.backward(np.ones_like(y)), *gradients(alone)]


def same(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]], ids=str)
def test_forwards_that_wait_for_their_backward_do_not_meet(model, order):
    kept = [recorded(model, x) for x in BATCHES]
    for number in order:
        model.zero_grad()
        x, of = BATCHES[number], kept[number]
        gx = of.pull(model, np.ones_like(of.output))
        same([of.output, gx, *gradients(model)], expected(x))


def test_a_backward_may_be_called_again(model):
    kept = recorded(model, BATCHES[0])
    first = kept.pull(model, np.ones_like(kept.output))
    once = gradients(model)
    recorded(model, BATCHES[1])  # in another frame
    np.testing.assert_array_equal(kept.pull(model, np.ones_like(kept.output)), first)
    for twice, one in zip(gradients(model), once, strict=True):
        np.testing.assert_allclose(twice, 2 * one, rtol=1e-12)


def test_two_idle_frames_are_kept(model):
    kept = [recorded(model, x) for x in BATCHES]
    idle = model._flat.latest[0].run.frames.idle
    assert not idle
    del kept
    assert len(idle) == 2
    frames = {id(frame) for frame in idle}
    again = [recorded(model, x) for x in BATCHES[:2]]
    assert not idle
    del again
    assert {id(frame) for frame in idle} == frames


def test_parameters_frozen_and_moved_between_the_backwards_of_two_forwards(model):
    one, other = recorded(model, BATCHES[0]), recorded(model, BATCHES[1])
    weight = model[0].weight
    weight.requires_grad = False
    one.pull(model, np.ones_like(one.output))
    assert not weight.grad.any()
    weight.requires_grad = True
    weight.move_to(weight.data.copy(), np.zeros_like(weight.grad))
    model.zero_grad()
    gx = other.pull(model, np.ones_like(other.output))
    same([other.output, gx, *gradients(model)], expected(BATCHES[1]))


def test_an_output_does_not_depend_on_the_batches_before():
    def narrow():
        layers = [nn.Linear(6, 5, rng=0, dtype=np.float64), nn.SiLU(), nn.Linear(5, 9, rng=1, dtype=np.float64)]
        return nn.Sequential(*layers, nn.Tanh(), nn.Linear(9, 3, rng=2, dtype=np.float64))

    x = RNG.standard_normal((40, 6))
    after_many = narrow()
    for _ in range(3):
        after_many(x)  # which makes a program that computes batch-minor
    for n in (1, 2, 15, 16, 40):
        np.testing.assert_array_equal(after_many(x[:n]), narrow()(x[:n]))
    assert after_many._flat.latest


def test_a_program_for_each_mode_stays():
    model, x = (
        nn.Sequential(nn.Linear(4, 8, rng=0), nn.Dropout(0.5), nn.Linear(8, 2, rng=1)),
        np.ones((5, 4), np.float32),
    )
    layers = [model[0], model[2]]
    for _ in range(60):
        model.train()
        model(x)
        y = model.eval()(x)
        np.testing.assert_allclose(y, layers[1](layers[0](x)), rtol=1e-5)
    calls = [*model._flat.latest]
    assert len(calls) == 2
    for _ in range(10):
        model.train()
        assert (model(x) != y).any()
        np.testing.assert_array_equal(model.eval()(x), y)
    assert all(one is other for one, other in zip(model._flat.latest, calls, strict=True))


def test_a_frame_is_read_within_its_memory():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    for _ in range(4):
        with nn.no_grad():
            model(np.zeros((2, 3), np.float32))
    frame = model._flat.latest[0].run.frames.take()
    size = frame.arena.nbytes

    def value(first, sizes, base=BASE_ARENA):
        return Passed((base, first, 0), np.dtype(np.float32), sizes)

    assert frame.read([value(0, ((2, 1),))], 1)[0].shape == (2,)
    for first, sizes in ((size, ((1, 0),)), (size - 4, ((2, 0),)), (-4, ((1, 0),)), (0, ((size, 1),))):
        with pytest.raises(IndexError, match=r"Frame\.read: expected a value in an arena of"):
            frame.read([value(first, sizes)], 1)
    with pytest.raises(IndexError, match=r"Frame\.read: expected a value in an arena of"):
        frame.read([value(0, ((2, 1),), BASE_ARRAYS)], 1)
    with pytest.raises(ValueError, match=r"Passed: expected at most 32 axes, got 33"):
        value(0, ((1, 0),) * 33)


@pytest.mark.parametrize("first", ["layer", "both ways"])
def test_parameters_gradients_alone_leave_the_input_as_it_is(first):
    def make():
        layer = nn.Linear(6, 6, rng=0, dtype=np.float64)
        return nn.Sequential(
            layer if first == "layer" else nn.Residual(layer), nn.Tanh(), nn.Linear(6, 2, rng=1, dtype=np.float64)
        )

    model, other, x = make(), make(), BATCHES[0].copy()
    for _ in range(4):
        y = model(x)
        model.zero_grad()
        assert model.backward_parameters(np.ones_like(y)) is None
    other.backward(np.ones_like(other(x)))
    same(gradients(model), gradients(other))
    np.testing.assert_array_equal(x, BATCHES[0])
    model(x)
    np.testing.assert_allclose(model.backward(np.ones_like(y)), other.backward(np.ones_like(other(x))), rtol=1e-12)


def test_parameters_gradients_alone_leave_the_gradients_that_were_returned_before():
    model = nn.Sequential(nn.Linear(6, 6, rng=0, dtype=np.float64), nn.Tanh(), nn.Linear(6, 2, rng=1, dtype=np.float64))
    for _ in range(4):
        y = model(BATCHES[0])
    kept = recorded(model, BATCHES[0])
    gx = kept.pull(model, np.ones_like(y))
    before = gx.copy()
    assert kept.pull(model, np.full_like(y, 2.0), with_inputs=False) is None
    np.testing.assert_array_equal(gx, before)
