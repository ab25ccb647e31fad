"""Containers, tied layers and random stacks of layers: native against plain, and where a plan puts things in memory."""

from contextlib import nullcontext
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.graph.arena import LINE, placed
from fastdl.graph.lowering import program as lowering
from fastdl.training.engine import Task
from fastdl.training.native_engine import NativeEngine
from tests.training.engine.twins import Parts, compare, lowered_by

F = np.float64
QUICK = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def linear(inputs, outputs, seed=0):
    return nn.Linear(inputs, outputs, rng=100 * inputs + outputs + seed, dtype=F)


CONTAINERS = {
    "identity": lambda: nn.Residual(nn.Sequential(linear(4, 4), nn.Tanh())),
    "identity, activation first": lambda: nn.Residual(nn.Sequential(nn.ReLU(), linear(4, 4))),
    "identity, only an activation": lambda: nn.Residual(nn.Tanh()),
    "identity of nothing": lambda: nn.Residual(nn.Sequential()),
    "shortcut": lambda: nn.Residual(linear(4, 4), linear(4, 4, 1)),
    "shortcut is an activation": lambda: nn.Residual(linear(4, 4), nn.ReLU()),
    "both are activations": lambda: nn.Residual(nn.ReLU(), nn.Sigmoid()),
    "body is an identity": lambda: nn.Residual(nn.Identity(), nn.Tanh()),
    "dropout first": lambda: nn.Residual(nn.Sequential(nn.Dropout(0.3), linear(4, 4))),
    "nested": lambda: nn.Residual(nn.Residual(nn.Sequential(nn.ReLU(), linear(4, 4)), nn.Residual(nn.ELU()))),
    "parallel": lambda: nn.Parallel(linear(4, 2), nn.ReLU(), linear(4, 1), nn.Identity()),
    "parallel activations": lambda: nn.Parallel(nn.ReLU(), nn.Tanh(), nn.GELU()),
    "parallel identities": lambda: nn.Parallel(nn.Identity(), nn.Identity()),
    "one branch": lambda: nn.Parallel(nn.ReLU()),
    "parallel in residual": lambda: nn.Residual(nn.Parallel(linear(4, 3), nn.Sequential(nn.ReLU(), linear(4, 1)))),
    "residual in parallel": lambda: nn.Parallel(nn.Residual(nn.Sequential(nn.ReLU(), linear(4, 4))), nn.Softmax()),
    "siamese": lambda: nn.Sequential(Split(), nn.Siamese(nn.Sequential(linear(2, 3), nn.Tanh()))),
    "siamese of an activation": lambda: nn.Sequential(Split(), nn.Siamese(nn.Sequential(nn.ReLU(), nn.Tanh()))),
    "siamese of an identity": lambda: nn.Sequential(Split(), nn.Siamese(nn.Identity())),
    "siamese and a sum": lambda: nn.Sequential(
        Split(), nn.Residual(nn.Sequential(nn.Siamese(linear(2, 2)), nn.ReLU()), nn.Flatten())
    ),
    "two siamese": lambda: nn.Sequential(
        Split(), nn.Parallel(nn.Siamese(linear(2, 3)), nn.Flatten(), nn.Siamese(nn.Tanh()), nn.Siamese(linear(2, 1)))
    ),
    "siamese of siamese": lambda: nn.Sequential(
        Split(), nn.Parallel(nn.Siamese(linear(2, 2)), nn.Siamese(nn.ReLU())), nn.GELU()
    ),
    "tied layer": lambda: nn.Sequential(*(3 * [tied := linear(4, 4), nn.Tanh()]), tied),
    "tied in both ways": lambda: nn.Residual(tied := linear(4, 4), nn.Sequential(nn.ReLU(), tied)),
    "tied body": lambda: nn.Sequential(*2 * [nn.Residual(nn.Sequential(nn.ReLU(), linear(4, 4)))]),
    "tied batch norm": lambda: nn.Sequential(norm := nn.BatchNorm1d(4, dtype=F), nn.Tanh(), norm),
    "two activations": lambda: nn.Sequential(linear(4, 4), nn.ReLU(), nn.Tanh(), nn.ReLU()),
    "activation before dropout": lambda: nn.Sequential(
        linear(4, 4), nn.Tanh(), nn.Dropout(0.2), nn.ELU(), nn.Dropout(0.2)
    ),
    "sum before a pooling of maxima": lambda: nn.Sequential(
        Channel(), nn.Residual(nn.Conv1d(1, 1, 3, padding=1, rng=1, dtype=F)), nn.ReLU(), nn.MaxPool1d(2)
    ),
    "softmax twice": lambda: nn.Sequential(nn.Softmax(), nn.Softmax(), nn.LogSoftmax()),
}


class Split(nn.Flatten):
    """A sample of four numbers as two of two: what Flatten does, backwards."""

    def forward(self, x):
        self._kept = True
        return x.reshape(len(x), 2, 2)

    def backward(self, grad_output):
        return grad_output.reshape(len(grad_output), 4)

    def _plan(self, plan, x):
        return x.reshaped((2, 2))


class Channel(Split):
    """A row as an image of one channel."""

    def forward(self, x):
        self._kept = True
        return x.reshape(len(x), 1, -1)

    def backward(self, grad_output):
        return grad_output.reshape(len(grad_output), -1)

    def _plan(self, plan, x):
        return x.reshaped((1, x.shape[0]))


def wrapped(inner, before, behind):
    layers = [linear(4, 4, 5) if before else nn.Identity(), inner]
    width = int(np.prod(nn.Sequential(*layers)(np.ones((2, 4))).shape[1:]))
    layers += [nn.Flatten(), linear(width, 2, 7)] if behind else [nn.Flatten()]
    model = nn.Sequential(*layers)
    return Parts(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.05, momentum=0.5))


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
@pytest.mark.parametrize(
    ("before", "behind"), [(True, True), (False, True), (True, False)], ids=["inside", "first", "last"]
)
def test_containers_train_alike_in_both_engines(container, before, behind):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8, 4))
    width = wrapped(container(), before, behind).model(x).shape[1]
    compare(lambda: wrapped(container(), before, behind), x, rng.standard_normal((8, width)))


def test_narrow_products_of_rows_within_a_sample_train_alike():
    def make():
        model = nn.Sequential(linear(4, 6), nn.Tanh(), linear(6, 3))
        return Parts(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.05))

    rng = np.random.default_rng(0)
    compare(make, rng.standard_normal((40, 5, 4)), rng.standard_normal((40, 5, 3)), batch_size=20)


class OneNormTwice(nn.Module):
    """The second of its calls has been computed when what reads the first one's output is."""

    def __init__(self):
        self.one, self.other, self.two = linear(3, 4), linear(3, 4, 1), linear(4, 2)
        self.norm = nn.BatchNorm1d(4, dtype=F)

    def forward(self, x):
        first, second = self.norm(self.one(x)), self.norm(self.other(x))
        return self.two(first) + np.sum(second, axis=1, keepdims=True)


def test_running_statistics_move_in_the_order_of_the_calls():
    rng = np.random.default_rng(0)
    x, y, left = rng.standard_normal((12, 3)), rng.standard_normal((12, 2)), []
    for around in (nullcontext(), fastdl.eager()):
        model = OneNormTwice()
        with around:
            trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.05))
            trainer.fit(x, y, epochs=2, batch_size=6, seed=0)
        left.append(model.state_dict())
    for name, array in left[0].items():
        np.testing.assert_allclose(array, left[1][name], rtol=1e-9, err_msg=name)


def engine_of(model, x, y, batch_size=4):
    return NativeEngine(Task(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1), None, None), x, y, batch_size)


def kinds_of(model, x):
    """The names of a program's operations, and the codes of the activations in them."""
    operations = lowered_by(lambda: engine_of(model, x, model(x))).operations
    return [(each.descriptor.name, each.activation[0] if each.activation else 0) for each in operations]


def test_an_activation_that_others_bypass_is_not_fused_into_the_product_before():
    model = nn.Sequential(linear(4, 4), nn.Residual(nn.Sequential(nn.ReLU(), linear(4, 4), nn.Tanh())))
    assert kinds_of(model, np.zeros((4, 4))) == [("linear", 0), ("activation", 1), ("linear", 4)]


@pytest.mark.parametrize(
    ("layers", "kinds"),
    [
        ([nn.ReLU(), nn.MaxPool1d(2)], [("conv", 0), ("max_pool", 1)]),
        ([nn.BatchNorm1d(2), nn.ReLU(), nn.MaxPool1d(2)], [("conv", 0), ("batch_norm", 0), ("max_pool", 1)]),
        ([nn.Tanh(), nn.MaxPool1d(2)], [("conv", 4), ("max_pool", 0)]),
        ([nn.ReLU(), nn.AvgPool1d(2)], [("conv", 1), ("avg_pool", 0)]),
        ([nn.ReLU(), nn.Residual(nn.MaxPool1d(3, 1, 1))], [("conv", 1), ("max_pool", 0)]),
    ],
    ids=["after a convolution", "after a normalization", "not Tanh", "not a mean", "not what is read beside it"],
)
def test_a_relu_goes_behind_a_pooling_of_maxima(layers, kinds):
    assert kinds_of(nn.Sequential(nn.Conv1d(1, 2, 3), *layers), np.zeros((4, 1, 8), np.float32)) == kinds


ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.Softplus)


def elementwise():
    return st.one_of(
        st.sampled_from(ACTIVATIONS).map(lambda kind: kind()),
        st.sampled_from((0.2, 0.5)).map(nn.Dropout),
        st.builds(nn.Identity),
        st.builds(lambda: nn.Dropout().eval()),
    )


@st.composite
def tables(draw, width, depth):
    """A stack for rows of so many numbers, and the width it yields."""
    layers = []
    for _ in range(draw(st.integers(0 if depth < 2 else 1, 4))):
        kind = draw(st.integers(0, 9 if depth else 6))
        if kind < 2:
            layers.append(linear(width, other := draw(st.integers(1, 5)), draw(st.integers(0, 3))))
            width = other
        elif kind < 4:
            layers.append(draw(elementwise()))
        elif kind == 4:
            norm = draw(st.sampled_from((nn.BatchNorm1d, nn.LayerNorm)))(width, dtype=F)
            layers.append(norm.train(draw(st.booleans())))
        elif kind == 5:
            layers.append(draw(st.sampled_from((nn.Softmax, nn.LogSoftmax)))())
        elif kind == 6 and layers:
            again = draw(st.sampled_from(layers))  # one instance in two places, where it fits
            if again(np.ones((2, width))).shape == (2, width) if fits(again, width) else False:
                layers.append(again)
        elif kind == 7:
            body, out = draw(tables(width, depth - 1))
            layers.append(
                nn.Residual(body, None if out == width and draw(st.booleans()) else draw(shortcut(width, out)))
            )
            width = out
        elif kind == 8:
            branches = draw(st.lists(tables(width, depth - 1), min_size=1, max_size=3))
            layers.append(nn.Parallel(*(branch for branch, _ in branches)))
            width = sum(out for _, out in branches)
        elif kind == 9 and width % 2 == 0:
            body, out = draw(tables(width // 2, depth - 1))
            layers += [Halves(), nn.Siamese(body)]
            width = 2 * out
    return nn.Sequential(*layers), width


class Halves(Split):
    """A row as two halves."""

    def forward(self, x):
        self._kept = True
        return x.reshape(len(x), 2, -1)

    def backward(self, grad_output):
        return grad_output.reshape(len(grad_output), -1)

    def _plan(self, plan, x):
        return x.reshaped((2, x.shape[0] // 2))


def fits(layer, width):
    sizes = [p.shape[-1] for p in layer.parameters()]
    return not isinstance(layer, (nn.Residual, nn.Parallel, nn.Siamese, Split)) and (not sizes or set(sizes) == {width})


@st.composite
def shortcut(draw, width, out):
    return nn.Sequential(linear(width, out, 9), draw(elementwise()))


@st.composite
def images(draw):
    """A stack for images of two channels."""
    layers, channels, size = [], 2, 6
    for number in range(draw(st.integers(1, 5))):
        kind = draw(st.integers(0, 6))
        if kind < 2 or number == 0:
            groups = draw(st.sampled_from((1, channels)))
            out = groups * draw(st.integers(1, 3)) if groups > 1 else draw(st.integers(1, 5))
            padding, stride = draw(st.integers(0, 1)), draw(st.integers(1, 2))
            if size + 2 * padding < 3:
                continue
            layers.append(nn.Conv2d(channels, out, 3, stride, padding, groups=groups, rng=number, dtype=F))
            channels, size = out, (size + 2 * padding - 3) // stride + 1
        elif kind == 2:
            layers.append(draw(elementwise()))
        elif kind == 3 and size >= 2:
            layers.append(
                draw(
                    st.sampled_from(
                        (nn.MaxPool2d(2, 1), nn.AvgPool2d(2, 1), nn.MaxPool2d(2, 1, 1), nn.AvgPool2d(2, 1, 1))
                    )
                )
            )
            size += 2 * layers[-1].padding - 1 if isinstance(layers[-1].padding, int) else 2 * layers[-1].padding[0] - 1
        elif kind == 4:
            layers.append(nn.BatchNorm2d(channels, dtype=F).train(draw(st.booleans())))
        elif kind == 5:
            body = nn.Sequential(draw(elementwise()), nn.Conv2d(channels, channels, 3, padding=1, rng=8, dtype=F))
            layers.append(nn.Residual(body, draw(st.sampled_from((None, nn.Dropout2d(0.3))))))
        elif kind == 6:
            layers.append(nn.Parallel(nn.Conv2d(channels, 2, 1, rng=9, dtype=F), draw(elementwise())))
            channels += 2
    return nn.Sequential(*layers, nn.Flatten(), linear(channels * size * size, 2)), 2


def check(model, width, shape):
    rng = np.random.default_rng(0)
    start = model.state_dict()

    def make():
        model.load_state_dict(start)
        model.zero_grad()
        whole = nn.Sequential(model, linear(width, 2))
        return Parts(whole, nn.MSELoss(), optim.SGD(whole.parameters(), lr=0.01, momentum=0.5), clip_norm=1.0)

    compare(make, rng.standard_normal((8, *shape)), rng.standard_normal((8, 2)))


@QUICK
@given(tables(4, 2))
def test_random_stacks_for_tables_train_alike(stack):
    check(*stack, (4,))


@settings(QUICK, max_examples=40)
@given(images())
def test_random_stacks_for_images_train_alike(stack):
    check(*stack, (2, 6, 6))


def storages_of(model, shape, batch_size=5):
    """What was lowered, and the roots of the storages that were placed in its arena."""
    found = []

    def watched(storages):
        found[:] = {id(storage): storage for storage in storages}.values()
        return placed(found)

    x = np.zeros((8, *shape))
    with mock.patch.object(lowering, "placed", watched):
        plan = lowered_by(lambda: engine_of(model, x, np.zeros((8, 2)), batch_size))
    return plan, [storage for storage in found if storage.place_of is None and storage.first >= 0]


def assert_apart(plan, storages):
    for number, one in enumerate(storages):
        assert one.offset % LINE == 0
        assert 0 <= one.offset <= one.offset + one.size <= plan.nbytes
        for other in storages[:number]:
            if one.first <= other.last and other.first <= one.last:
                assert one.offset + one.size <= other.offset or other.offset + other.size <= one.offset


@QUICK
@given(tables(4, 2))
def test_no_two_arrays_that_live_at_once_share_memory(stack):
    model, width = stack
    assert_apart(*storages_of(nn.Sequential(model, linear(width, 2)), (4,)))


@settings(QUICK, max_examples=40)
@given(images())
def test_nor_do_they_for_images(stack):
    assert_apart(*storages_of(stack[0], (2, 6, 6)))


def test_every_array_lives_from_its_first_writer_to_its_last_reader():
    model = nn.Sequential(linear(4, 6), nn.GELU(), nn.LayerNorm(6, dtype=F), nn.Softmax(), linear(6, 2))
    lowered, _ = storages_of(model, (4,))
    end = 2 * len(lowered.operations) + 1
    lives = [(operation.y.home.root().first, operation.y.home.root().last) for operation in lowered.operations]
    # GELU's derivative reads its input, layer norm and linear theirs; softmax's its output; loss and caller read the last.
    assert lives == [(0, end - 1), (1, end - 2), (2, 3), (3, end - 3), (4, end + 1)]


def test_memory_is_used_again_once_dead():
    deep = nn.Sequential(
        *(layer for _ in range(20) for layer in (nn.LogSoftmax(), nn.Dropout(0.5), nn.ReLU())), linear(40, 2)
    )
    plan, storages = storages_of(nn.Sequential(linear(40, 40), deep), (40,), 8)
    every = sum(storage.size for storage in storages)
    assert plan.nbytes < 0.7 * every
    most = max(
        sum(s.size for s in storages if s.first <= time <= s.last) for time in range(2 * len(plan.operations) + 1)
    )
    assert most <= plan.nbytes <= 1.3 * most


def test_the_plans_bytes_are_those_of_its_arena():
    model = nn.Sequential(linear(4, 100), nn.ReLU(), linear(100, 2))
    engine = NativeEngine(
        Task(model, nn.MSELoss(), optim.SGD(model.parameters()), None, None), np.zeros((100, 4)), np.zeros((100, 2)), 50
    )
    plan = engine._lowered
    assert plan.nbytes == engine.frame.arena.nbytes
    # x, y of the hidden layer and its gradient, the output and its gradient, the targets; at most each once.
    assert plan.nbytes <= 50 * 8 * (4 + 100 + 100 + 2 + 2 + 2 + 2) + 10 * LINE
