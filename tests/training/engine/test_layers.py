"""Every layer of the table, native against plain, with something that learns before and behind it."""

import numpy as np
import pytest

from fastdl import nn, optim
from fastdl.testing import LAYER_CASES
from tests.training.engine.twins import Parts, compare

ROWS = 8


def takes(case, shape):
    """Whether a batch of eight such samples can go in: LayerNorm((3, 7)) takes (3, 7) itself, but not eight sevens."""
    return not isinstance(layer := case.make(np.float32), nn.LayerNorm) or len(shape) >= len(layer.normalized_shape)


TABLE = [
    pytest.param(case, shape[1:], id=f"{case}-{'x'.join(map(str, shape[1:]))}")
    for case in LAYER_CASES
    for shape in dict.fromkeys((0, *shape[1:]) for shape in case.shapes)
    if len(shape) > 1 and takes(case, shape[1:]) and not str(case).startswith(("Softmax(dim=0)", "Flatten(start_dim=0"))
]


def learning(shape, seed, dtype):
    """A layer with parameters, for samples of this shape."""
    if 0 in shape:
        return (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(shape[0], dtype=dtype)
    return nn.Linear(shape[-1], shape[-1], rng=seed, dtype=dtype)


def stack(case, shape, dtype):
    """The layer between two that learn."""
    out = case.make(dtype)(np.zeros((2, *shape), dtype)).shape[1:]
    layers = learning(shape, 1, dtype), case.make(dtype), learning(out, 2, dtype)
    model = nn.Sequential(*layers)
    return Parts(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.05, momentum=0.5))


def data(case, shape, dtype):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, *shape)).astype(dtype)
    return x, rng.standard_normal(stack(case, shape, dtype).model(x).shape).astype(dtype)


# Every shape of every layer in either dtype; what is not slow has the dtypes in turn.
dtypes_in_turn = pytest.mark.parametrize(
    ("case", "shape", "dtype"),
    [
        pytest.param(
            *entry.values, dtype, id=f"{dtype.__name__}-{entry.id}", marks=pytest.mark.slow if (i + j) % 2 else ()
        )
        for i, entry in enumerate(TABLE)
        for j, dtype in enumerate((np.float32, np.float64))
    ],
)


@dtypes_in_turn
def test_every_layer_trains_alike_in_both_engines(case, shape, dtype):
    compare(lambda: stack(case, shape, dtype), *data(case, shape, dtype))


def works_on_samples(case):
    """Whether a case takes samples of some axes, each by itself."""
    return len(case.shapes[0]) > 1 and not str(case).startswith(("Softmax(dim=0)", "Flatten(start_dim=0"))


@pytest.mark.parametrize("case", [*filter(works_on_samples, LAYER_CASES)], ids=str)
def test_every_layer_trains_alike_when_it_comes_first(case):
    """Its input has no gradient then, and lies in the arena only when batches are shuffled."""
    shape = case.shapes[0][1:]
    x, y = data(case, shape, np.float64)

    def make():
        model = stack(case, shape, np.float64).model[1:]
        return Parts(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.05))

    for shuffle in (True, False):
        compare(make, x, y, shuffle=shuffle)


FROZEN = {
    "nothing": (),
    "the first": ("0.weight", "0.bias"),
    "the middle": ("2.weight", "2.bias"),
    "the last": ("4.weight", "4.bias"),
    "all but the first": ("2.weight", "2.bias", "4.weight", "4.bias"),
    "all but the last": ("0.weight", "0.bias", "2.weight", "2.bias"),
    "weights": ("0.weight", "2.weight", "4.weight"),
    "biases": ("0.bias", "2.bias", "4.bias"),
}


@pytest.mark.parametrize("frozen", FROZEN.values(), ids=FROZEN)
@pytest.mark.parametrize("kind", ["linear", "conv", "batch norm", "layer norm"])
def test_frozen_parameters_are_left_as_they_are(kind, frozen):
    f = np.float64

    def layer(number):
        if kind == "linear":
            return nn.Linear(4, 4, rng=number, dtype=f)
        if kind == "conv":
            return nn.Conv1d(2, 2, 3, padding=1, rng=number, dtype=f)
        return nn.BatchNorm1d(2, dtype=f) if kind == "batch norm" else nn.LayerNorm(4, dtype=f)

    def make():
        model = nn.Sequential(layer(0), nn.Tanh(), layer(1), nn.Sigmoid(), layer(2))
        for name, parameter in model.named_parameters():
            parameter.requires_grad = name not in frozen
        return Parts(model, nn.MSELoss(), optim.Adam(model.parameters(), lr=0.05, weight_decay=0.1), clip_norm=0.5)

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 8, 2, 4))
    before = make().model.state_dict()
    after = compare(make, x, y)
    assert {
        name for name in before if name.split(".")[1] in ("weight", "bias") and (before[name] == after[name]).all()
    } == set(frozen)


def test_a_frozen_batch_norm_in_evaluation_mode_stays_so_inside_a_training_model(dtype):
    def make():
        model = nn.Sequential(
            nn.Linear(3, 4, rng=0, dtype=dtype), nn.BatchNorm1d(4, dtype=dtype), nn.BatchNorm1d(4, dtype=dtype)
        )
        model[1].eval().requires_grad_(False)
        model[1].running_mean += np.arange(4)
        return Parts(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((9, 3)).astype(dtype), rng.standard_normal((9, 4)).astype(dtype)
    after = compare(make, x[:8], y[:8])
    np.testing.assert_array_equal(after["1.running_mean"], np.arange(4))
    assert after["1.num_batches_tracked"] == 0
    assert after["2.num_batches_tracked"] == 6


@pytest.mark.parametrize("layer", [nn.Dropout(0.4), nn.Dropout2d(0.4)], ids=lambda layer: layer.spec())
def test_both_engines_draw_the_same_masks(layer, dtype):
    def make():
        twice = nn.Sequential(
            nn.Conv1d(2, 6, 3, padding=1, rng=0, dtype=dtype), layer, nn.Tanh(), layer, nn.Dropout(0.1)
        )
        model = nn.Sequential(nn.Residual(twice, nn.Conv1d(2, 6, 1, rng=1, dtype=dtype)), layer, nn.Dropout(1.0).eval())
        return Parts(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((10, 2, 5)).astype(dtype), rng.standard_normal((10, 6, 5)).astype(dtype)
    outputs = compare(make, x, y)["outputs"]
    dropped = (outputs == 0).reshape(-1, 5)
    whole = dropped.all(axis=1) | ~dropped.any(axis=1)
    assert dropped.any()
    assert whole.all() == isinstance(layer, nn.Dropout2d)
