"""Conv2d and Conv1d as layers: what they are made of, how they are drawn and spelled, and what they refuse."""

import pickle

import numpy as np
import pytest

from fastdl import nn, optim
from fastdl.nn import Parameter, init


def images(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def both(layer, x):
    """y, the gradient of x and those of the parameters, for the gradient cos(y)."""
    y = layer(x)
    return y, layer.backward(np.cos(y)), *(parameter.grad for parameter in layer.parameters())


# What a layer holds.


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [(nn.Conv2d(16, 64, (3, 5), rng=0), 240), (nn.Conv2d(32, 64, 3, groups=4, rng=1), 72), (nn.Conv1d(40, 80, 4, rng=2), 160)],
)  # fmt: skip
def test_weight_and_bias_are_drawn_as_torch_draws_them(layer, fan_in):
    bound = fan_in**-0.5
    for values, enough in ((layer.weight.data, 0.999), (layer.bias.data, 0.9)):
        assert enough * bound < np.abs(values).max() <= bound
    assert layer.weight.data.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)
    assert abs(layer.weight.data.mean()) < 0.05 * bound


def test_a_seed_gives_the_same_weights_and_initializers_are_used():
    one, two = nn.Conv2d(2, 3, 4, rng=5), nn.Conv2d(2, 3, 4, rng=5)
    np.testing.assert_array_equal(one.weight.data, two.weight.data)
    np.testing.assert_array_equal(one.bias.data, two.bias.data)
    one.reset_parameters(6)
    assert (one.weight.data != two.weight.data).any()
    layer = nn.Conv2d(2, 3, 4, weight_init=init.constant(2), bias_init=init.ones())
    assert (layer.weight.data == 2).all()
    assert (layer.bias.data == 1).all()


def test_arguments_are_kept_as_torch_keeps_them():
    layer = nn.Conv2d(4, 6, 3, [2, 1], np.int64(1), (1, 2), groups=2, bias=False)
    assert (layer.kernel_size, layer.stride, layer.padding, layer.dilation) == ((3, 3), (2, 1), (1, 1), (1, 2))
    assert (layer.in_channels, layer.out_channels, layer.groups, layer.bias) == (4, 6, 2, None)
    assert layer.weight.shape == (6, 2, 3, 3)
    layer = nn.Conv1d(4, 6, (3,), padding="same")
    assert (layer.kernel_size, layer.stride, layer.padding, layer.dilation) == ((3,), (1,), "same", (1,))
    assert layer.weight.shape == (6, 4, 3)


@pytest.mark.parametrize(
    "spec",
    [
        "Conv2d(1, 8, 5)",
        "Conv2d(3, 4, (2, 3))",
        "Conv2d(3, 4, 1, stride=2, padding=1, dilation=3)",
        "Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 3), groups=2, bias=False)",
        "Conv2d(4, 4, (2, 4), padding='same', groups=4, weight_init=kaiming_normal())",
        "Conv1d(3, 4, 5, stride=2, padding='valid')",
        "Conv1d(4, 4, 2, padding=1, dilation=2, groups=2, bias_init=zeros())",
    ],
)
def test_a_layer_is_spelled_as_it_is_built(spec):
    layer = nn.from_spec(spec)
    assert nn.to_spec(layer) == repr(layer) == spec
    assert nn.to_spec(nn.from_spec(["ReLU()", spec])) == ["ReLU()", spec]


# What comes out.


def test_valid_is_no_padding(dtype):
    x = images(2, 3, 6, 7, dtype=dtype)
    valid, none = (nn.Conv2d(3, 4, (2, 3), stride=2, padding=p, rng=0, dtype=dtype) for p in ("valid", 0))
    for one, other in zip(both(valid, x), both(none, x), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("kernel", "dilation"), [((3, 3), (1, 1)), ((2, 4), (1, 1)), ((4, 3), (3, 2)), ((1, 2), (1, 5))]
)
def test_same_keeps_the_size_and_pads_one_more_behind(dtype, kernel, dilation):
    x = images(2, 3, 5, 6, dtype=dtype)
    same, none = (nn.Conv2d(3, 4, kernel, 1, p, dilation, rng=0, dtype=dtype) for p in ("same", 0))
    around = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    padded = np.pad(x, ((0, 0), (0, 0), *((n // 2, n - n // 2) for n in around)))
    y, gx, *gradients = both(same, x)
    want_y, want_gx, *want_gradients = both(none, padded)
    assert y.shape == (2, 4, 5, 6)
    inner = np.s_[:, :, around[0] // 2 : around[0] // 2 + 5, around[1] // 2 : around[1] // 2 + 6]
    for got, want in zip((y, gx, *gradients), (want_y, want_gx[inner], *want_gradients), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=50 * np.finfo(dtype).eps)


def test_a_sequence_is_an_image_of_one_row(dtype):
    options = {"stride": 2, "padding": 3, "dilation": 2, "groups": 2, "rng": 0, "dtype": dtype}
    row = nn.Conv2d(4, 6, (1, 3), **{**options, "stride": (1, 2), "padding": (0, 3), "dilation": (1, 2)})
    sequence = nn.Conv1d(4, 6, 3, **options)
    np.testing.assert_array_equal(sequence.weight.data, row.weight.data[:, :, 0])
    x = images(3, 4, 20, dtype=dtype)
    for one, other in zip(both(sequence, x), both(row, x[:, :, None]), strict=True):
        np.testing.assert_array_equal(one, other.reshape(one.shape))


@pytest.mark.parametrize("shape", [(0, 3, 5, 5), (0, 3, 3, 40)])
def test_no_images_give_no_outputs_and_zero_gradients(dtype, shape):
    layer = nn.Conv2d(3, 4, 3, rng=0, dtype=dtype)
    y, gx, gW, gb = both(layer, np.empty(shape, dtype))
    assert y.shape == (0, 4, shape[2] - 2, shape[3] - 2)
    assert gx.shape == shape
    assert not gW.any()
    assert not gb.any()


# Gradients and parameters.


def test_gradients_add_up_until_they_are_cleared(dtype):
    layer, x = nn.Conv2d(3, 4, 3, padding=1, rng=0, dtype=dtype), images(2, 3, 5, 5, dtype=dtype)
    *_, gW, gb = (array.copy() for array in both(layer, x))
    both(layer, x)
    np.testing.assert_allclose(layer.weight.grad, 2 * gW, rtol=1e-5)
    np.testing.assert_allclose(layer.bias.grad, 2 * gb, rtol=1e-5)
    layer.zero_grad()
    *_, again, again_b = both(layer, x)
    np.testing.assert_array_equal(again, gW)
    np.testing.assert_array_equal(again_b, gb)


def test_a_forgotten_gradient_is_stored_over():
    layer, x = nn.Conv2d(3, 4, 3, rng=0), images(2, 3, 5, 5)
    *_, gW, gb = (array.copy() for array in both(layer, x))
    optim.SGD(layer.parameters()).forget_gradients()
    *_, again, again_b = both(layer, x)
    np.testing.assert_array_equal(again, gW)
    np.testing.assert_array_equal(again_b, gb)


@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_a_frozen_parameter_gets_no_gradient(frozen):
    layer, x = nn.Conv2d(3, 4, 3, rng=0), images(2, 3, 5, 5)
    _, gx, gW, gb = (array.copy() for array in both(layer, x))
    layer.zero_grad()
    getattr(layer, frozen).requires_grad = False
    _, gx_again, gW_again, gb_again = both(layer, x)
    np.testing.assert_array_equal(gx_again, gx)
    np.testing.assert_array_equal(gW_again, 0 if frozen == "weight" else gW)
    np.testing.assert_array_equal(gb_again, 0 if frozen == "bias" else gb)


def test_backward_parameters_spares_the_input_gradient(monkeypatch):
    layer, x = nn.Conv2d(3, 4, 3, rng=0), images(2, 3, 5, 5)
    *_, gW, gb = (array.copy() for array in both(layer, x))
    layer.zero_grad()

    def kernel(*arguments, backward=nn.Conv2d._backward_kernel):
        assert arguments[-3] is None, "the input gradient was asked for"
        backward(*arguments)

    monkeypatch.setattr(nn.Conv2d, "_backward_kernel", staticmethod(kernel))
    layer.backward_parameters(np.cos(layer(x)))
    np.testing.assert_array_equal(layer.weight.grad, gW)
    np.testing.assert_array_equal(layer.bias.grad, gb)
    with pytest.raises(AssertionError, match="the input gradient"):
        layer.backward(np.cos(layer(x)))


@pytest.mark.parametrize("base", [nn.Conv1d, nn.Conv2d])
def test_backward_parameters_goes_through_a_subclass_backward(base):
    class Doubled(base):
        def backward(self, grad_output):
            return super().backward(2 * grad_output)

    layer = Doubled(1, 1, 1)
    gy = np.ones_like(layer(np.ones((1,) * layer.weight.data.ndim, np.float32)))
    layer.backward_parameters(gy)
    assert (layer.weight.grad == 2).all()
    assert (layer.bias.grad == 2).all()


def test_a_filter_is_learned_from_what_it_does():
    truth = nn.Conv2d(1, 2, 3, padding=1, rng=0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, rng=1))
    criterion, optimizer = nn.MSELoss(), optim.Adam(model.parameters(), lr=0.05)
    x = images(20, 1, 6, 6)
    for _ in range(150):
        optimizer.zero_grad()
        criterion(model(x), truth(x))
        model.backward(criterion.backward())
        optimizer.step()
    np.testing.assert_allclose(model[0].weight.data, truth.weight.data, atol=0.01)
    np.testing.assert_allclose(model[0].bias.data, truth.bias.data, atol=0.01)


# What is refused.

NUMBERS = [(-1, ValueError), (True, TypeError), (1.0, TypeError), (None, TypeError), (np.nan, TypeError)]
SIZES = [*NUMBERS, (0, ValueError), ("1", TypeError)]
NO_PAIRS = [((1, 1, 1), ValueError), ((1,), ValueError), ((), ValueError), ((1, -1), ValueError), ((1, True), TypeError),
            ((1, 1.5), TypeError), ([[1, 1]], TypeError), (np.ones(2, int), TypeError), ((1, -(10**30)), ValueError)]  # fmt: skip
PAIRS = [*SIZES, *NO_PAIRS, ((1, 0), ValueError)]
PADDINGS = [*NUMBERS, *NO_PAIRS, ("1", ValueError), ("full", ValueError), ("SAME", ValueError), (2**31, ValueError),
            ((0, 10**30), ValueError)]  # fmt: skip
REFUSED = {
    "in_channels": (lambda v: nn.Conv2d(v, 1, 1), SIZES),
    "out_channels": (lambda v: nn.Conv2d(1, v, 1), SIZES),
    "kernel_size": (lambda v: nn.Conv2d(1, 1, v), [*PAIRS, (2**62, ValueError), ((2**40, 2**40), ValueError)]),
    "stride": (lambda v: nn.Conv2d(1, 1, 1, v), [*PAIRS, (2**31, ValueError), ((1, 10**30), ValueError)]),
    "padding": (lambda v: nn.Conv2d(1, 1, 1, padding=v), PADDINGS),
    "dilation": (lambda v: nn.Conv2d(1, 1, 1, dilation=v), [*PAIRS, (2**63, ValueError)]),
    "groups": (lambda v: nn.Conv2d(4, 6, 1, groups=v), [*SIZES, (3, ValueError), (4, ValueError), (12, ValueError)]),
    "bias": (lambda v: nn.Conv2d(1, 1, 1, bias=v), [(1, TypeError), (None, TypeError), ("yes", TypeError)]),
    "weight_init": (lambda v: nn.Conv2d(1, 1, 1, weight_init=v), [(np.zeros, TypeError), ("zeros", TypeError)]),
    "bias_init": (lambda v: nn.Conv2d(1, 1, 1, bias_init=v), [(init.zeros, TypeError), (0.0, TypeError)]),
    "dtype": (lambda v: nn.Conv2d(1, 1, 1, dtype=v), [(np.int32, TypeError), (None, TypeError), (">f4", TypeError)]),
    "stride of same": (lambda v: nn.Conv2d(1, 1, 1, v, "same"), [(2, ValueError), ((1, 2), ValueError)]),
    "length": (lambda v: nn.Conv1d(1, 1, v), [*SIZES, ((1, 1), TypeError), ((), TypeError), ((0,), ValueError)]),
    "length of stride": (lambda v: nn.Conv1d(1, 1, 1, v), [(0, ValueError), ((1.0,), TypeError), (2**31, ValueError)]),
    "length of padding": (lambda v: nn.Conv1d(1, 1, 1, 1, v), [(-1, ValueError), ("full", ValueError), (True, TypeError)]),
    "weight": (lambda v: nn.Conv2d(*v), [((2**40, 2**40, 1), ValueError), ((2**20, 2**20, 2**12), ValueError)]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_constructor_refuses_what_it_cannot_use(each, name):
    make, values = REFUSED[name]
    for value, error in each(refused=values):
        with pytest.raises(error) as caught:
            make(value)
        message = str(caught.value)
        assert message.startswith("Conv1d: expected " if name.startswith("length") else "Conv2d: expected ")
        assert ", got " in message
        assert "\n" not in message


UNFIT = [
    (nn.Conv2d(3, 4, 3), (3, 5, 5), "expected input of shape (N, 3, H, W), got (3, 5, 5)"),
    (nn.Conv2d(3, 4, 3), (2, 3, 5, 5, 1), "expected input of shape (N, 3, H, W), got (2, 3, 5, 5, 1)"),
    (nn.Conv2d(3, 4, 3), (), "expected input of shape (N, 3, H, W), got ()"),
    (nn.Conv2d(3, 4, 3), (2, 4, 5, 5), "expected input of shape (N, 3, H, W), got (2, 4, 5, 5)"),
    (nn.Conv2d(3, 4, 3), (2, 0, 5, 5), "expected input of shape (N, 3, H, W), got (2, 0, 5, 5)"),
    (nn.Conv1d(3, 4, 3), (2, 3, 5, 5), "expected input of shape (N, 3, L), got (2, 3, 5, 5)"),
    (nn.Conv2d(3, 4, 3), (2, 3, 2, 5), "expected images that hold a kernel of (3, 3) with their padding, got (2, 5)"),
    (nn.Conv2d(3, 4, (1, 3), padding=1, dilation=4), (2, 3, 1, 6),
     "expected images that hold a kernel of (1, 9) with their padding, got (1, 6)"),
    (nn.Conv2d(3, 4, 3), (0, 3, 2, 5), "expected images that hold a kernel of (3, 3) with their padding, got (2, 5)"),
    (nn.Conv2d(3, 4, 3, padding=3), (2, 3, 0, 5), "expected images that hold a kernel of (3, 3) with their padding, got (0, 5)"),
    (nn.Conv2d(1, 2, 1, 1, "same"), (2, 1, 0, 0), "expected images that hold a kernel of (1, 1) with their padding, got (0, 0)"),
    (nn.Conv1d(3, 4, 3), (2, 3, 2), "expected images that hold a kernel of (3,) with their padding, got (2,)"),
    (nn.Conv2d(1, 1, 1, padding=2**30), (2, 1, 1, 1),
     "expected an output that memory can hold, got one of shape (2, 1, 2147483649, 2147483649)"),
    (nn.Conv2d(1, 1, 1, padding=2**31 - 1), (0, 1, 1, 1),
     "expected an output that memory can hold, got one of shape (0, 1, 4294967295, 4294967295)"),
    (nn.Conv2d(1, 1, 3, 1, 2**31 - 1, 2**31 - 1), (64, 1, 2, 2),
     "expected padded images that memory can hold, got (1, 4294967296, 4294967296)"),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "shape", "message"), UNFIT, ids=lambda value: str(value)[:40])
def test_an_unfit_input_is_named_with_what_was_expected(layer, shape, message):
    with pytest.raises(ValueError) as caught:
        layer(np.zeros(shape, np.float32))
    assert str(caught.value) == f"{layer.spec()}: {message}"


@pytest.mark.parametrize("shape", [(), (2, 4, 3, 3, 1), (2, 3, 3, 3), (1, 4, 3, 3), (2, 4, 9), (0, 4, 3, 3)])
def test_a_gradient_of_another_shape_is_refused_and_leaves_the_gradients(shape):
    layer = nn.Conv2d(3, 4, 3, rng=0)
    layer(images(2, 3, 5, 5))
    with pytest.raises(ValueError, match=r"^Conv2d\(3, 4, 3\): expected a gradient of shape \(2, 4, 3, 3\), got "):
        layer.backward(np.ones(shape, np.float32))
    assert not any(parameter.grad.any() for parameter in layer.parameters())


CHANGES = {
    "a weight of another shape": (
        lambda layer: setattr(layer, "weight", Parameter(np.zeros((4, 3, 2, 9), np.float32))),
        ValueError,
        "expected a weight of shape (4, 3, 3, 3), got (4, 3, 2, 9)",
    ),
    "a shorter bias": (
        lambda layer: setattr(layer, "bias", Parameter(np.zeros(1, np.float32))),
        ValueError,
        "expected a bias of float32 and shape (4,), got float32 and (1,)",
    ),
    "a weight of another dtype": (
        lambda layer: layer.weight.astype(np.float64),
        ValueError,
        "expected a bias of float64 and shape (4,), got float32 and (4,)",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("then", ["forward", "backward"])
def test_another_parameter_is_looked_at_before_it_is_used(name, then):
    change, error, message = CHANGES[name]
    layer, x = nn.Conv2d(3, 4, 3, rng=0), images(2, 3, 5, 5)
    y = layer(x)
    change(layer)
    with pytest.raises(error) as caught:
        layer.forward(x) if then == "forward" else layer.backward(y)
    assert str(caught.value) == f"Conv2d(3, 4, 3): {message}"


def test_weights_that_change_their_dtype_before_backward_are_an_error():
    layer = nn.Conv1d(3, 4, 3, rng=0)
    y = layer(images(2, 3, 5))
    layer.astype(np.float64)
    with pytest.raises(RuntimeError, match=r"^Conv1d\(3, 4, 3\): weights became float64 after a forward in float32"):
        layer.backward(y)
    assert layer(images(2, 3, 5, dtype=np.float64)).dtype == np.float64


def test_a_bias_may_be_taken_away_and_a_weight_replaced():
    layer, x = nn.Conv2d(3, 4, 3, rng=0), images(2, 3, 5, 5)
    other = nn.Conv2d(3, 4, 3, bias=False, rng=1)
    layer.bias, layer.weight = None, Parameter(other.weight.data)
    for one, another in zip(both(layer, x), both(other, x), strict=True):
        np.testing.assert_array_equal(one, another)


FAR = {
    "taps far outside the image": "nn.Conv1d(1, 1, 3, 1, 10**6, 10**6, rng=0), (2, 1, 5)",
    "a stride far beyond the image": "nn.Conv1d(1, 1, 1, 2**31 - 1, 2**31 - 1, rng=0), (2, 1, 1)",
    "taps and strides that are far": "nn.Conv2d(3, 40, 3, 2**30, 2**15, 2**15, rng=0), (1, 3, 1, 1)",
    "no images, far taps": "nn.Conv2d(1, 1, 3, 1, 2**21, 2**21, rng=0), (0, 1, 2, 2)",
}


@pytest.mark.parametrize("name", FAR)
def test_far_reaching_options_are_right_or_an_error_and_no_crash(python, name):
    code = f"""
import numpy as np
from fastdl import nn
layer, shape = {FAR[name]}
x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
try:
    y = layer(x)
    gx = layer.backward(y)
    assert y.shape[:2] == (shape[0], layer.out_channels) and gx.shape == shape
    assert np.isfinite(y).all() and np.isfinite(gx).all()
except MemoryError:
    pass
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_a_pickle_does_not_hold_a_weight_that_was_replaced():
    layer = nn.Conv2d(10, 10, 10, rng=0)
    layer(images(1, 10, 10, 10))
    layer.weight = Parameter(layer.weight.data + 1)
    assert len(pickle.dumps(layer)) < 2.5 * layer.weight.data.nbytes
