"""A container's program runs in frames: one for each forward that a backward may follow, with the same bits in each."""

import numpy as np
import pytest

from fastdl import nn

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
    call = model._flat.calls[True]
    kept = [call.forward(x, None) for x in BATCHES]
    for number in order:
        model.zero_grad()
        x, of = BATCHES[number], kept[number]
        gx = of.backward(np.ones_like(of.y), True)
        same([of.y, gx, *gradients(model)], expected(x))


def test_a_backward_may_be_called_again(model):
    kept = model._flat.calls[True].forward(BATCHES[0], None)
    first = kept.backward(np.ones_like(kept.y), True)
    once = gradients(model)
    model._flat.calls[True].forward(BATCHES[1], None)  # in another frame
    np.testing.assert_array_equal(kept.backward(np.ones_like(kept.y), True), first)
    for twice, one in zip(gradients(model), once, strict=True):
        np.testing.assert_allclose(twice, 2 * one, rtol=1e-12)


def test_two_idle_frames_are_kept(model):
    call = model._flat.calls[True]
    kept = [call.forward(x, None) for x in BATCHES]
    idle = call.frames.idle
    assert not idle
    del kept
    assert len(idle) == 2
    frames = {id(frame) for frame in idle}
    again = [call.forward(x, None) for x in BATCHES[:2]]
    assert not idle
    del again
    assert {id(frame) for frame in idle} == frames


def test_parameters_frozen_and_moved_between_the_backwards_of_two_forwards(model):
    call = model._flat.calls[True]
    one, other = call.forward(BATCHES[0], None), call.forward(BATCHES[1], None)
    weight = model[0].weight
    weight.requires_grad = False
    one.backward(np.ones_like(one.y), True)
    assert not weight.grad.any()
    weight.requires_grad = True
    weight.move_to(weight.data.copy(), np.zeros_like(weight.grad))
    model.zero_grad()
    gx = other.backward(np.ones_like(other.y), True)
    same([other.y, gx, *gradients(model)], expected(BATCHES[1]))


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
    assert after_many._flat.calls[True] is not None


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
    calls = [*model._flat.calls]
    assert sum(call is not None for call in calls) == 2
    for _ in range(10):
        model.train()
        assert (model(x) != y).any()
        np.testing.assert_array_equal(model.eval()(x), y)
    assert all(one is other for one, other in zip(model._flat.calls, calls, strict=True))


def test_a_frame_is_read_within_its_memory():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    for _ in range(4):
        with nn.no_grad():
            model(np.zeros((2, 3), np.float32))
    frame = model._flat.calls[False].frames.take()
    size, number = frame.arena.nbytes, np.dtype(np.float32).num
    assert frame.read([(0, number, ((2, 1),))], 1)[0].shape == (2,)
    for first, sizes in ((size, ((1, 0),)), (size - 4, ((2, 0),)), (-4, ((1, 0),)), (0, ((size, 1),))):
        with pytest.raises(IndexError, match=r"Frame\.read: expected a value in an arena of"):
            frame.read([(first, number, sizes)], 1)
    with pytest.raises(ValueError, match=r"Frame\.read: expected at most 32 axes, got 33"):
        frame.read([(0, number, ((1, 0),) * 33)], 1)
