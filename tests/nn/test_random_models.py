"""Random models: a native program and a run node by node agree, for any number of rows; so do fits of several batches."""

import copy

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.nn.forward_only import recorded
from tests.nn.random_models import CLASSES, STEPS, RandomModel, depending

LISTS = st.lists(
    st.tuples(st.integers(0, len(STEPS) - 1), st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=30
)


def rows(count, seed=0):
    """Inputs of so many rows."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (count, 4))
    return x, rng.integers(0, CLASSES, count), rng.random((count, 3)) > 0.5


def loss(output, target):
    return np.mean((output[0] - 0.3) ** 2) + np.mean((output[1] - target) ** 2)


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-9)


def same_state(one, other):
    for name, array in one.state_dict().items():
        np.testing.assert_allclose(array, other.state_dict()[name], rtol=1e-7, atol=1e-9, err_msg=name)


@settings(max_examples=30)
@given(LISTS)
def test_programs_and_runs_node_by_node_agree(steps):
    model = RandomModel(steps)
    other = copy.deepcopy(model)
    rng = np.random.default_rng(1)
    for count in (5, 3, 7):
        inputs = rows(count, seed=count)
        outputs = model(*inputs)
        gradients = tuple(rng.standard_normal(each.shape) for each in outputs)
        found = model.backward(gradients)
        with fastdl.eager():
            for one, wanted in zip(outputs, other(*inputs), strict=True):
                close(one, wanted)
            wanted = other.backward(gradients)
        close(found[0], wanted[0])
        for one, same in zip(model.parameters(), other.parameters(), strict=True):
            close(one.grad, same.grad)
    same_state(model, other)
    for each in (model.eval(), other.eval()):
        each.zero_grad()
    with fastdl.eager():
        wanted = other(*inputs)
    for one, same in zip(model(*inputs), wanted, strict=True):
        close(one, same)


@settings(max_examples=15)
@given(LISTS)
def test_backward_reads_what_forward_keeps_and_writes_beside_it(steps):
    """Several threads pull at the same time: the later in copies of what a forward has kept, with anything beside it."""
    model = RandomModel(steps)
    outputs, record = recorded(model, rows(5), {}, True)
    gradients = tuple(np.random.default_rng(1).standard_normal(each.shape) for each in outputs)
    program = record.run.traced
    kept = [record.frame.arena[first:stop] for first, stop in program.lowered.kept]
    before = [each.copy() for each in kept]
    wanted = record.pull(model, gradients, parameters=False)
    for array, was in zip(kept, before, strict=True):
        np.testing.assert_array_equal(array, was)
    other = record.run.frames.take()
    other.arena.fill(0xFF)
    record.run.frames.idle[:] = [other]
    amid, aside = [], program.aside

    def pull_again(every):
        program.aside = aside
        amid.append(record.pull(model, gradients, parameters=False))
        return aside(every)

    program.aside = pull_again
    record.pull(model, gradients, parameters=False)
    np.testing.assert_array_equal(amid[0][0], wanted[0])
    assert not record.run.frames.idle


@settings(max_examples=15)
@given(LISTS)
def test_fits_agree(steps):
    (x, k, t), y = rows(11), np.linspace(-1, 1, 11)
    ends = []
    for traced in (True, False):
        model = RandomModel(depending(steps))
        model.traced = traced
        trainer = Trainer(model, loss, optim.SGD(model.parameters(), lr=0.02))
        trainer.fit((x, k, t), y, epochs=2, batch_size=4, shuffle=False)
        ends.append(model)
    same_state(*ends)


class Unread(nn.Module):
    """A branch that nothing reads; its layers have their effects all the same."""

    def __init__(self):
        self.linear, self.norm, self.counting = nn.Linear(3, 3, rng=0), nn.BatchNorm1d(3), Counting()

    def forward(self, x):
        h = self.linear(x)
        self.norm(h * 2)
        self.counting(h)
        return np.tanh(h)


class Counting(nn.Module):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return x

    def backward(self, grad_output):
        return grad_output


def test_what_nothing_reads_has_its_effects():
    x = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    model, norm = Unread(), nn.BatchNorm1d(3)
    model(x)
    calls = model.counting.calls
    norm(model.linear(x) * 2)
    np.testing.assert_allclose(model.norm.running_mean, norm.running_mean, rtol=1e-5)
    model(x)
    assert model.counting.calls == calls + 1
    assert model.norm.num_batches_tracked == 2
    Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1)).fit(x, x, epochs=3, batch_size=4)
    assert model.norm.num_batches_tracked == 8
    assert model.counting.calls == calls + 7
    model.eval()
    model(x)
    assert model.norm.num_batches_tracked == 8
