"""Flatten: which axes become one, what is refused, and how it is spelled."""

import numpy as np
import pytest

from fastdl import nn


def one_sentence(error, start):
    message = str(error.value)
    assert message.startswith(f"{start}: expected "), message
    assert "got" in message, message
    assert "\n" not in message, message


@pytest.mark.parametrize(
    ("dims", "shape", "flat"),
    [
        ((), (2, 3, 4, 5), (2, 60)),
        ((), (7, 2), (7, 2)),
        ((), (0, 3, 4), (0, 12)),
        ((), (3, 0, 4), (3, 0)),
        ((0,), (2, 3), (6,)),
        ((0,), (), (1,)),
        ((-1,), (), (1,)),
        ((0, 0), (5,), (5,)),
        ((1, 2), (2, 3, 4, 5), (2, 12, 5)),
        ((-3, -2), (2, 3, 4, 5), (2, 12, 5)),
        ((2, 2), (2, 3, 4), (2, 3, 4)),
    ],
)
def test_flatten_makes_axes_one(dims, shape, flat, dtype):
    layer, x = nn.Flatten(*dims), np.asarray(np.random.default_rng(0).standard_normal(shape), dtype)
    y = layer(x)
    assert y.shape == flat
    np.testing.assert_array_equal(y.ravel(), x.ravel())
    gx = layer.backward(y)
    assert gx.shape == shape
    np.testing.assert_array_equal(gx, x)
    assert np.shares_memory(x, y) or not x.size


@pytest.mark.parametrize(
    ("dims", "shape"),
    [((), (3,)), ((), ()), ((0, 2), (2, 3)), ((-3,), (2, 3)), ((2, 1), (2, 3, 4)), ((10**30,), (2, 3))],
)
def test_flatten_of_axes_that_are_not_there_is_a_value_error(dims, shape):
    layer = nn.Flatten(*dims)
    with pytest.raises(ValueError) as caught:
        layer(np.ones(shape))
    one_sentence(caught, layer.spec())


@pytest.mark.parametrize("dim", [1.0, True, np.True_, None, "-1", (1,)], ids=repr)
def test_axes_are_integers(dim):
    for make in (nn.Flatten, lambda dim: nn.Flatten(0, dim)):
        with pytest.raises(TypeError, match="_dim") as caught:
            make(dim)
        one_sentence(caught, "Flatten")


def test_a_gradient_of_another_shape_is_refused():
    layer = nn.Flatten()
    layer(np.ones((2, 3, 4)))
    for wrong in [(), (24,), (2, 3, 4), (12, 2), (2, 13)]:
        with pytest.raises(ValueError, match="expected a gradient of shape") as caught:
            layer.backward(np.ones(wrong))
        one_sentence(caught, "Flatten()")


@pytest.mark.parametrize("spec", ["Flatten()", "Flatten(start_dim=2, end_dim=-2)"])
def test_flatten_is_spelled_as_it_was_written(spec):
    assert nn.from_spec(spec).spec() == spec
    assert nn.to_spec(nn.Sequential(nn.from_spec(spec))) == [spec]


def test_axes_of_other_integer_kinds_are_plain_afterwards():
    assert nn.Flatten(np.int64(0)).spec() == "Flatten(start_dim=0)"
