"""Attributes of layers that are set anew: sizes that do not fit are refused, others count from the next forward on."""

import numpy as np
import pytest

from fastdl import nn

RNG = np.random.default_rng(0)
LAYERS = {
    "Linear": (lambda: nn.Linear(33, 65, rng=0), (5, 33), ("in_features", "out_features")),
    "Conv2d": (lambda: nn.Conv2d(4, 6, 3, rng=0), (2, 4, 9, 9), ("in_channels", "out_channels", "kernel_size")),
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3, rng=0), (2, 4, 9), ("in_channels", "out_channels", "kernel_size")),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), (2, 4, 9, 9), ("num_features",)),
    "LayerNorm": (lambda: nn.LayerNorm(9), (2, 4, 9), ("normalized_shape",)),
}
SIZES = [(layer, name) for layer, (_, _, names) in LAYERS.items() for name in names]


def other_values(value):
    """Larger, smaller and senseless ones."""
    if isinstance(value, tuple):
        return [tuple(n + 1 for n in value), tuple(n - 1 for n in value), (0,) * len(value), (2**40,) * len(value), ()]
    return [value + 1, value - 1, 1, 0, -1, 2**40, "many", None]


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a container"])
@pytest.mark.parametrize(("layer", "name"), SIZES)
def test_sizes_that_do_not_fit_the_weights_are_refused(layer, name, alone):
    make, shape, _ = LAYERS[layer]
    x = RNG.standard_normal(shape).astype(np.float32)
    for value in other_values(getattr(make(), name)):
        each = make()
        model = each if alone else nn.Sequential(each)
        for _ in range(4):
            y = model(x)
        setattr(each, name, value)
        with pytest.raises((ValueError, TypeError), match="expected"):
            model(x)
        setattr(each, name, getattr(make(), name))
        np.testing.assert_array_equal(model.eval()(x).shape, y.shape)


OPTIONS = {
    "stride": (2, 2),
    "padding": (1, 1),
    "dilation": (2, 2),
    "groups": 2,
}


def pair_of(name):
    """A convolution, and one of the same weights with another option."""
    before = nn.Conv2d(4, 6, 3, rng=0)
    after = nn.Conv2d(4, 6, 3, rng=0, **{name: OPTIONS[name]})
    if name == "groups":
        before.weight = nn.Parameter(after.weight.data)
    else:
        after.weight.data = before.weight.data
    after.bias.data = before.bias.data
    return before, after


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_of_a_convolution_counts_from_the_next_forward_on(name):
    layer, wanted = pair_of(name)
    x = RNG.standard_normal((2, 4, 9, 9)).astype(np.float32)
    setattr(layer, name, OPTIONS[name])
    y = wanted(x)
    np.testing.assert_array_equal(layer(x), y)
    gy = RNG.standard_normal(y.shape).astype(np.float32)
    np.testing.assert_array_equal(layer.backward(gy), wanted.backward(gy))
    np.testing.assert_array_equal(layer.weight.grad, wanted.weight.grad)


@pytest.mark.parametrize("value", [(5, 5), (1, 3), 2, "same"])
@pytest.mark.parametrize(
    "name", ["stride", "padding", "dilation", "kernel_size", "groups", "in_channels", "out_channels"]
)
def test_a_backward_is_that_of_the_forwards_options(name, value):
    layer, wanted = nn.Conv2d(4, 6, 3, rng=0), nn.Conv2d(4, 6, 3, rng=0)
    x = RNG.standard_normal((2, 4, 9, 9)).astype(np.float32)
    gy = np.ones_like(layer(x))
    wanted(x)
    setattr(layer, name, value)
    np.testing.assert_array_equal(layer.backward(gy), wanted.backward(gy))
    np.testing.assert_array_equal(layer.weight.grad, wanted.weight.grad)


@pytest.mark.parametrize(
    ("name", "value"),
    [("stride", 0), ("stride", -1), ("padding", -1), ("dilation", -2), ("groups", 3), ("padding", "none")],
)
def test_an_option_that_is_none_is_refused_as_by_the_constructor(name, value):
    layer = nn.Conv2d(4, 6, 3)
    with pytest.raises(ValueError, match=r"Conv2d: expected") as made:
        nn.Conv2d(4, 6, 3, **{name: value})
    setattr(layer, name, value)
    with pytest.raises(ValueError, match=r"Conv2d: expected") as called:
        layer(np.ones((1, 4, 9, 9), np.float32))
    assert str(called.value) == str(made.value)
