"""Conv2d and Conv1d beside PyTorch's: outputs, all gradients, first weights and state."""

from itertools import cycle, product

import numpy as np
import pytest

from fastdl import nn
from tests.combinations import in_turn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")


def twins(name, arguments, options, dtype):
    """A layer and torch's with the same weights."""
    ours = getattr(nn, name)(*arguments, **options, rng=0, dtype=dtype)
    theirs = getattr(torch.nn, name)(*arguments, **options, dtype=getattr(torch, np.dtype(dtype).name))
    theirs.load_state_dict({entry: torch.tensor(array) for entry, array in ours.state_dict().items()})
    return ours, theirs


def draw(shape, dtype, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def step_both(ours, theirs, x, agree, cancelling=32):
    """Forward and backward: the outputs, the gradients of the input and those of the parameters agree."""
    x_torch = torch.tensor(x, requires_grad=True)
    y_torch = theirs(x_torch)
    gy = draw(tuple(y_torch.shape), x.dtype, 1)
    y_torch.backward(torch.tensor(gy))
    agree(ours(x), y_torch, cancelling)
    agree(ours.backward(gy), x_torch.grad, cancelling)
    for (name, parameter), (name_torch, parameter_torch) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        assert name == name_torch
        agree(parameter.grad, parameter_torch.grad, cancelling)


CHANNELS = [(1, 1, 1), (2, 3, 1), (4, 6, 2), (3, 3, 3), (2, 4, 2), (17, 5, 1), (5, 33, 1), (3, 9, 3)]


@pytest.mark.parametrize(("rows", "columns"), in_turn(range(1, 6), range(1, 6)))
def test_every_stride_padding_and_dilation(rows, columns, dtype, agree):
    kernel = rows, columns
    channels, samples, room = cycle(CHANNELS), cycle((1, 3, 2, 0)), cycle((0, 1, 4, 2, 5))
    ways = list(product((1, 2, 3), (0, 1, 2), (1, 2)))
    for number, rows in enumerate(ways):
        columns = ways[(number * 7 + sum(kernel)) % len(ways)]
        stride, padding, dilation = zip(rows, columns, strict=True)
        least = [max(d * (k - 1) + 1 - 2 * p, 1) for k, d, p in zip(kernel, dilation, padding, strict=True)]
        C, OUT, groups = next(channels)
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "bias": number % 3 > 0}
        x = draw((next(samples), C, least[0] + next(room), least[1] + next(room)), dtype, number)
        step_both(*twins("Conv2d", (C, OUT, kernel), options, dtype), x, agree)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, (2, 5), (4, 1)], ids=str)
def test_same_keeps_the_size(each, kernel, dtype, agree):
    for dilation, groups in each(dilation=[1, 2, 3, (1, 4)], groups=[1, 2, 4]):
        options = {"padding": "same", "dilation": dilation, "groups": groups}
        for image in ((5, 6), (1, 1), (3, 17)):
            step_both(*twins("Conv2d", (4, 8, kernel), options, dtype), draw((2, 4, *image), dtype, 0), agree)


LARGE = [
    ((1, 8, 5), {}, (64, 1, 28, 28)),
    ((8, 16, 5), {}, (16, 8, 12, 12)),
    ((3, 32, 3), {"padding": 1}, (4, 3, 32, 32)),
    ((64, 64, 3), {"padding": 1}, (2, 64, 16, 16)),
    ((64, 128, 1), {}, (3, 64, 16, 16)),
    ((130, 7, 3), {"padding": 1}, (2, 130, 6, 5)),
    ((3, 130, 3), {"stride": 2}, (2, 3, 15, 67)),
    ((33, 33, 3), {"padding": 1, "groups": 33}, (3, 33, 17, 65)),
    ((16, 32, 5), {"padding": 2, "groups": 16, "stride": 2}, (3, 16, 19, 33)),
    ((32, 34, 3), {"padding": "valid", "groups": 2, "dilation": 2}, (2, 32, 13, 14)),
]


@pytest.mark.parametrize(("arguments", "options", "shape"), LARGE, ids=str)
def test_larger_layers(arguments, options, shape, dtype, agree):
    step_both(*twins("Conv2d", arguments, options, dtype), draw(shape, dtype, 0), agree, cancelling=200)


SEQUENCES = [
    ((1, 1, 1), {}, (3, 1, 1)),
    ((3, 4, 3), {"padding": 1}, (2, 3, 9)),
    ((3, 4, (5,)), {"stride": (2,), "padding": (3,), "dilation": (2,)}, (2, 3, 20)),
    ((4, 6, 4), {"padding": "same", "groups": 2}, (2, 4, 33)),
    ((4, 8, 2), {"padding": "same", "groups": 4, "dilation": 3, "bias": False}, (1, 4, 7)),
    ((40, 20, 16), {"padding": "valid", "stride": 3}, (5, 40, 100)),
    ((2, 3, 3), {}, (0, 2, 3)),
]


@pytest.mark.parametrize(("arguments", "options", "shape"), SEQUENCES, ids=str)
def test_sequences(arguments, options, shape, dtype, agree):
    step_both(*twins("Conv1d", arguments, options, dtype), draw(shape, dtype, 0), agree)


def test_gradients_accumulate(dtype, agree):
    ours, theirs = twins("Conv2d", (3, 4, 3), {"padding": 1}, dtype)
    for seed, shape in enumerate([(2, 3, 5, 5), (1, 3, 1, 1), (3, 3, 2, 9)]):
        step_both(ours, theirs, draw(shape, dtype, seed), agree)


def layers(library):
    return library.Sequential(
        library.Conv2d(3, 8, 5),
        library.ReLU(),
        library.Conv2d(8, 8, (3, 2), stride=2, padding=(1, 0), groups=4, bias=False),
        library.Tanh(),
        library.Sequential(library.Conv2d(8, 4, 2, padding="same", dilation=2)),
    )


def test_a_state_dict_loads_either_way(dtype, agree):
    x = draw((2, 3, 12, 13), dtype, 0)
    for torch_gives in (True, False):
        ours, theirs = layers(nn).astype(dtype), layers(torch.nn).to(getattr(torch, np.dtype(dtype).name))
        assert list(ours.state_dict()) == list(theirs.state_dict())
        if torch_gives:
            ours.load_state_dict(theirs.state_dict())
        else:
            theirs.load_state_dict({name: torch.from_numpy(array) for name, array in ours.state_dict().items()})
        with torch.no_grad():
            agree(ours(x), theirs(torch.tensor(x)), 32)


@pytest.mark.parametrize(
    ("name", "arguments", "options"),
    [("Conv2d", (16, 64, (3, 5)), {}), ("Conv2d", (32, 64, 3), {"groups": 8}), ("Conv1d", (32, 128, 5), {"groups": 2})],
)
def test_the_first_weights_come_from_torchs_distribution(name, arguments, options):
    torch.manual_seed(0)
    ours, theirs = getattr(nn, name)(*arguments, **options, rng=0), getattr(torch.nn, name)(*arguments, **options)
    for entry, array in ours.state_dict().items():
        other = theirs.state_dict()[entry].numpy()
        assert array.shape == other.shape
        np.testing.assert_allclose(np.abs(array).max(), np.abs(other).max(), rtol=0.1)
        np.testing.assert_allclose(array.std(), other.std(), rtol=0.15)
    bound = float(theirs.weight[0].numel()) ** -0.5
    for entry in ours.state_dict().values():
        assert np.abs(entry).max() <= bound


@pytest.mark.parametrize(
    "options",
    [
        {"in_channels": 3, "groups": 2},
        {"out_channels": 3, "groups": 2},
        {"groups": 0},
        {"stride": 2, "padding": "same"},
        {"padding": "full"},
    ],
    ids=str,
)
def test_what_torch_refuses_is_refused(options):
    options = {"in_channels": 4, "out_channels": 4, "kernel_size": 3, **options}
    for library in (nn, torch.nn):
        with pytest.raises(ValueError):
            library.Conv2d(**options)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (2, 4, 2, 5)),
        ({"dilation": 3, "padding": 1}, (2, 4, 9, 4)),
        ({}, (2, 3, 5, 5)),
        ({"padding": 2}, (2, 4, 0, 5)),
        ({}, (0, 4, 2, 2)),
    ],
    ids=str,
)
def test_inputs_that_torch_refuses_are_refused(options, shape):
    with pytest.raises(ValueError):
        nn.Conv2d(4, 4, 3, **options)(np.zeros(shape, np.float32))
    with pytest.raises(RuntimeError):
        torch.nn.Conv2d(4, 4, 3, **options)(torch.zeros(shape))
