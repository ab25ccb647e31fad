"""Pooling: kernels against the naive loops over a sweep of options, and the layers' shapes, inputs and spelling."""

from functools import cache
from itertools import product

import numpy as np
import pytest

import fastdl
from fastdl import nn
from fastdl._kernels import pool
from fastdl.reference import pool as naive_pool
from fastdl.testing import assert_close, gradcheck

# Tiny and odd images, and rows around and beyond the widths of registers.
IMAGES = [(1, 1), (1, 2), (3, 1), (2, 2), (3, 4), (5, 7), (6, 6), (12, 5), (9, 9)]
IMAGES += [(1, 35), (4, 17), (2, 70), (5, 33), (3, 131)]
POOLS = (nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2), nn.AvgPool2d(3, 1, 1), nn.AdaptiveAvgPool2d((3, 2)))
LINES = (nn.MaxPool1d(2), nn.MaxPool1d(3, 2, 1, 2), nn.AvgPool1d(2), nn.AvgPool1d(3, 1, 1))
EACH = [pytest.param(layer, (2, 3, 6, 4), id=layer.spec()) for layer in POOLS]
EACH += [pytest.param(layer, (2, 3, 9), id=layer.spec()) for layer in LINES]
kernels = pytest.mark.parametrize("kernel", [1, 2, 3, *(pytest.param(size, marks=pytest.mark.slow) for size in (4, 5))])
each_layer = pytest.mark.parametrize(("layer", "shape"), EACH)


def outputs(n, kernel, stride, padding, dilation=1, ceil=False):
    """How many windows there are, counted one by one."""
    reach, end = dilation * (kernel - 1) + 1, n + 2 * padding
    if not ceil:
        return sum(start + reach <= end for start in range(0, end, stride))
    return sum(start < n + padding and start - stride + reach < end for start in range(0, end, stride))


def options(kernel, dilations):
    """Every option that goes with a kernel size, the same along both axes; then some that differ."""
    for stride, padding, dilation, ceil in product((1, 2, 3), range(kernel // 2 + 1), dilations, (False, True)):
        yield (kernel,) * 2, (stride,) * 2, (padding,) * 2, (dilation,) * 2, ceil
    rng = np.random.default_rng(kernel)
    for _ in range(20):
        other = int(rng.integers(1, 6))
        kernels, strides = (kernel, other)[:: rng.choice([-1, 1])], tuple(rng.integers(1, 4).item() for _ in range(2))
        paddings = tuple(rng.integers(0, k // 2 + 1).item() for k in kernels)
        yield kernels, strides, paddings, tuple(rng.choice(dilations).item() for _ in range(2)), bool(rng.integers(2))


def sizes(image, kernel, stride, padding, dilation, ceil):
    return tuple(outputs(*each, ceil) for each in zip(image, kernel, stride, padding, dilation, strict=True))


@cache
def max_sweep(kernel):
    """Options, input, gradient, and what the naive loops make of them. Small whole numbers: there are ties, and no rounding."""
    rng, found = np.random.default_rng(kernel), []
    for *pairs, ceil in options(kernel, (1, 2)):
        for image in IMAGES:
            shape = (1, 2, *sizes(image, *pairs, ceil))
            if min(shape) < 1:
                continue
            x, gy = rng.integers(-3, 4, (1, 2, *image)) / 2, rng.integers(-8, 9, shape) / 4
            if rng.random() < 0.2:
                x[rng.random(x.shape) < 0.2] = np.nan
                x[rng.random(x.shape) < 0.3] = -np.inf
            y, index, gx = np.zeros(shape), np.zeros(shape, np.int32), np.zeros(x.shape)
            naive_pool.max_pool_forward(x, *pairs, y, index)
            naive_pool.max_pool_backward(gy, index, *pairs, gx)
            found.append((pairs, x, y, index, gy, gx))
    return found


@cache
def avg_sweep(kernel):
    rng, found = np.random.default_rng(kernel), []
    for *pairs, ceil in options(kernel, (1,)):
        for image in IMAGES:
            shape = (1, 2, *sizes(image, *pairs, ceil))
            if min(shape) < 1:
                continue
            x, gy = rng.standard_normal((1, 2, *image)), rng.standard_normal(shape)
            chosen = (*pairs[:3], bool(rng.integers(2)), rng.choice([None, None, None, 3]))
            y, gx = np.zeros(shape), np.zeros(x.shape)
            naive_pool.avg_pool_forward(x, *chosen, y)
            naive_pool.avg_pool_backward(gy, *chosen, gx)
            found.append((chosen, x, y, gy, gx))
    return found


class Framed:
    """An array of garbage amid memory that nobody may write to."""

    def __init__(self, shape, dtype):
        self.memory = np.full(np.prod(shape, dtype=int) + 64, 77, dtype)
        self.array = self.memory[32:-32].reshape(shape)

    def checked(self):
        assert (self.memory[:32] == 77).all()
        assert (self.memory[-32:] == 77).all()
        return self.array


@kernels
def test_max_pooling_is_its_loops(level, dtype, kernel):
    assert len(max_sweep(kernel)) > 200
    for pairs, x, want, want_index, gy, want_gx in max_sweep(kernel):
        what = f"{pairs} on {x.shape}"
        y, index, gx = Framed(want.shape, dtype), Framed(want.shape, np.int32), Framed(x.shape, dtype)
        pool.max_pool_forward(x.astype(dtype), *pairs, y.array, index.array)
        np.testing.assert_array_equal(y.checked(), want, err_msg=what)
        np.testing.assert_array_equal(index.checked(), want_index, err_msg=what)
        pool.max_pool_forward(x.astype(dtype), *pairs, y.array, None)
        np.testing.assert_array_equal(y.checked(), want, err_msg=what)
        pool.max_pool_backward(gy.astype(dtype), want_index, *pairs, gx.array)
        np.testing.assert_array_equal(gx.checked(), want_gx, err_msg=what)


@kernels
def test_average_pooling_is_its_loops(level, dtype, kernel):
    assert len(avg_sweep(kernel)) > 200
    for chosen, x, want, gy, want_gx in avg_sweep(kernel):
        what = f"{chosen} on {x.shape}"
        y, gx = Framed(want.shape, dtype), Framed(x.shape, dtype)
        pool.avg_pool_forward(x.astype(dtype), *chosen, y.array)
        assert_close(y.checked(), want, 16, dtype, what)
        pool.avg_pool_backward(gy.astype(dtype), *chosen, gx.array)
        assert_close(gx.checked(), want_gx, 16, dtype, what)


@pytest.mark.parametrize("rows", [(1, 1), (5, 2), (2, 3)], ids=str)
def test_adaptive_pooling_is_its_loops(level, dtype, rows):
    rng = np.random.default_rng(0)
    for W, OW in [*product(range(1, 9), range(1, 9)), (40, 1), (40, 20), (37, 5), (70, 35), (5, 40), (66, 22)]:
        x = rng.standard_normal((2, 1, rows[0], W)).astype(dtype)
        gy = rng.standard_normal((2, 1, rows[1], OW)).astype(dtype)
        y, gx = Framed(gy.shape, dtype), Framed(x.shape, dtype)
        want, want_gx = np.zeros_like(gy), np.zeros_like(x)
        pool.adaptive_avg_pool_forward(x, y.array)
        naive_pool.adaptive_avg_pool_forward(x, want)
        assert_close(y.checked(), want, 16, dtype, f"{W} to {OW}")
        pool.adaptive_avg_pool_backward(gy, gx.array)
        naive_pool.adaptive_avg_pool_backward(gy, want_gx)
        assert_close(gx.checked(), want_gx, 32, dtype, f"{W} to {OW}")


@pytest.mark.parametrize("layer", POOLS, ids=str)
def test_each_plane_is_pooled_on_its_own(each, each_level, layer):
    for batch, channels in each(batch=[0, 1, 3], channels=[1, 2, 7, 16, 33]):
        for _ in each_level():
            x = np.random.default_rng(0).standard_normal((batch, channels, 6, 5))
            y = layer(x)
            gx = layer.backward(np.cos(y))
            assert y.shape[:2] == x.shape[:2]
            assert gx.shape == x.shape
            for n, c in product(range(batch), range(channels)):
                one = layer(x[n : n + 1, c : c + 1])
                np.testing.assert_array_equal(y[n, c], one[0, 0])
                np.testing.assert_array_equal(gx[n, c], layer.backward(np.cos(one))[0, 0])


@pytest.mark.parametrize("kernel", [2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_line_is_pooled_as_an_image_of_one_row(level, dtype, kernel, stride):
    x = np.random.default_rng(0).standard_normal((2, 3, 41)).astype(dtype)
    for line, image in (
        (nn.MaxPool1d(kernel, stride, 1), nn.MaxPool2d((1, kernel), (1, stride), (0, 1))),
        (nn.AvgPool1d(kernel, stride, 1), nn.AvgPool2d((1, kernel), (1, stride), (0, 1))),
    ):
        y = line(x)
        assert y.shape == (2, 3, outputs(41, kernel, stride, 1))
        np.testing.assert_array_equal(y, image(x[:, :, None])[:, :, 0])
        np.testing.assert_array_equal(line.backward(y), image.backward(y[:, :, None])[:, :, 0])


def test_of_equal_maxima_the_first_gets_the_gradient(level, dtype):
    for width in (2, 4, 34, 70):
        for layer in (nn.MaxPool2d(2), nn.MaxPool2d(2, ceil_mode=True), nn.MaxPool2d((2, 2), (2, 3), ceil_mode=True)):
            layer(np.zeros((1, 1, 2, width), dtype))
            gy = np.ones((1, 1, 1, layer._outputs((2, width))[1]), dtype)
            step = layer._pairs[1][1]
            want = np.zeros((2, width))
            want[0, ::step][: gy.shape[-1]] = 1
            np.testing.assert_array_equal(layer.backward(gy)[0, 0], want)


def test_a_nan_is_the_maximum_of_every_window_that_holds_it(each, each_level, dtype):
    for place in each(place=range(36)):
        for _ in each_level():
            x = np.random.default_rng(0).standard_normal((1, 1, 6, 6)).astype(dtype)
            x.flat[place] = np.nan
            h, w = divmod(place, 6)
            for layer in (nn.MaxPool2d(2), nn.MaxPool2d(3, 1), nn.MaxPool2d(3, 3), nn.MaxPool2d(3, 2, 1)):
                (k, _), (s, _), (p, _), _ = layer._pairs
                y = layer(x)[0, 0]
                starts = np.arange(len(y)) * s - p
                holds = np.outer((starts <= h) & (h < starts + k), (starts <= w) & (w < starts + k))
                np.testing.assert_array_equal(np.isnan(y), holds)
                gx = layer.backward(np.ones((1, 1, *y.shape), dtype))
                assert gx[0, 0, h, w] == np.sum(holds)


def test_a_window_that_holds_nothing_is_minus_infinity_and_sends_nothing_back(level, dtype):
    layer = nn.MaxPool2d(2, 1, 1, 2)
    y = layer(np.ones((1, 1, 1, 3), dtype))
    np.testing.assert_array_equal(y, np.full((1, 1, 1, 3), -np.inf))
    assert not layer.backward(np.ones_like(y)).any()


def test_denormal_maxima_are_distinguished(level):
    x = np.array([[[0, 1e-40, -1e-40, 0]]], np.float32)
    np.testing.assert_array_equal(nn.MaxPool1d(2)(x), [[[np.float32(1e-40), 0]]])


def test_nothing_is_kept_for_a_backward_under_no_grad():
    layer, x = nn.MaxPool2d(2), np.ones((1, 1, 4, 4))
    y = layer(x)
    with fastdl.no_grad():
        np.testing.assert_array_equal(layer(2 * x), 2 * y)
    np.testing.assert_array_equal(layer.backward(y)[0, 0], np.kron(np.ones((2, 2)), [[1, 0], [0, 0]]))


def test_a_layer_takes_images_of_another_size_next_time():
    for layer in POOLS:
        for shape in [(1, 2, 6, 4), (3, 1, 8, 8), (1, 2, 6, 4), (0, 2, 5, 7)]:
            y = layer(np.ones(shape))
            assert layer.backward(y).shape == shape


def test_pooling_in_a_model_agrees_with_central_differences():
    model = nn.from_spec(
        ["AvgPool2d(2, stride=1)", "MaxPool2d((2, 1))", "Flatten", "Linear(12, 3, dtype=float64, rng=0)"]
    )
    assert gradcheck(model, np.random.default_rng(0).standard_normal((2, 2, 5, 4)))


# Constructors and spelling.


@pytest.mark.parametrize(
    "spec",
    [
        "MaxPool2d(2)",
        "MaxPool2d((2, 3))",
        "MaxPool2d((2, 3), stride=(1, 2), padding=(1, 0), dilation=(2, 1), ceil_mode=True)",
        "MaxPool1d(3, stride=2, padding=1, dilation=2, ceil_mode=True)",
        "AvgPool2d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False, divisor_override=4)",
        "AvgPool1d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False)",
        "AdaptiveAvgPool2d(1)",
        "AdaptiveAvgPool2d((None, 7))",
    ],
)
def test_a_layer_is_spelled_as_it_was_written(spec):
    assert nn.from_spec(spec).spec() == spec
    assert nn.to_spec(nn.Sequential(nn.from_spec(spec))) == [spec]


def test_sizes_of_other_integer_kinds_are_plain_afterwards():
    layer = nn.MaxPool2d([np.int64(2), np.uint8(3)], np.int32(2))  # pyright: ignore[reportArgumentType]
    assert layer.spec() == "MaxPool2d((2, 3), stride=2)"


SIZES = [(0, ValueError), (-1, ValueError), (2**31, ValueError), (True, TypeError), (2.0, TypeError), ("2", TypeError),
         (np.nan, TypeError), (np.array([2, 2]), TypeError), ({}, TypeError)]  # fmt: skip
NONE = [(None, TypeError)]
PAIRS = [*SIZES, ((), ValueError), ((1,), ValueError), ((1, 1, 1), ValueError), ((1, 0), ValueError), ((1, 2**31), ValueError),
         ((1, 1.0), TypeError), ((True, 1), TypeError), (((1, 1), 1), TypeError)]  # fmt: skip
PADDINGS = [p for p in PAIRS if str(p[0]) not in ("0", "(1, 0)")] + [(2, ValueError), ((0, 2), ValueError)]
LINE = [*SIZES, *NONE, ((2,), TypeError), ((2, 2), TypeError)]
SWITCHES = [(1, TypeError), (None, TypeError)]
CONSTRUCTORS = {
    "MaxPool2d kernel_size": (nn.MaxPool2d, [*PAIRS, *NONE, ([1, None], TypeError)]),
    "MaxPool2d stride": (lambda v: nn.MaxPool2d(3, v), PAIRS),
    "MaxPool2d padding": (lambda v: nn.MaxPool2d(3, 1, v), [*PADDINGS, *NONE]),
    "MaxPool2d dilation": (lambda v: nn.MaxPool2d(3, 1, 0, v), [*PAIRS, *NONE]),
    "MaxPool2d ceil_mode": (lambda v: nn.MaxPool2d(3, ceil_mode=v), SWITCHES),
    "AvgPool2d kernel_size": (nn.AvgPool2d, [*PAIRS, *NONE]),
    "AvgPool2d count_include_pad": (lambda v: nn.AvgPool2d(2, count_include_pad=v), SWITCHES),
    "AvgPool2d divisor_override": (lambda v: nn.AvgPool2d(2, divisor_override=v), [*SIZES, ((1, 1), TypeError)]),
    "MaxPool1d kernel_size": (nn.MaxPool1d, LINE),
    "MaxPool1d dilation": (lambda v: nn.MaxPool1d(2, 1, 0, v), LINE),
    "AvgPool1d kernel_size": (nn.AvgPool1d, LINE),
    "AvgPool1d padding": (lambda v: nn.AvgPool1d(2, 1, v), [(2, ValueError), *LINE[1:]]),
    "AvgPool1d count_include_pad": (lambda v: nn.AvgPool1d(2, count_include_pad=v), SWITCHES),
    "AdaptiveAvgPool2d output_size": (nn.AdaptiveAvgPool2d, [*PAIRS, *NONE, ((None, 0), ValueError)]),
}


def one_sentence(error, start):
    message = str(error.value)
    assert message.startswith(f"{start}: expected "), message
    assert "got" in message, message
    assert "\n" not in message, message


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_a_constructor_refuses_what_it_cannot_use(each, name):
    owner, argument = name.split()
    make, values = CONSTRUCTORS[name]
    for value, error in each(refused=values):
        with pytest.raises(error, match=argument) as caught:
            make(value)
        one_sentence(caught, owner)


# Inputs.


@pytest.mark.parametrize("spec", [layer.spec() for layer in POOLS + LINES])
@pytest.mark.parametrize("shape", [(), (6,), (2, 6), (2, 6, 6), (1, 2, 6, 6), (1, 1, 2, 6, 6)], ids=str)
def test_another_rank_is_a_value_error(spec, shape):
    if len(shape) == (3 if "1d" in spec else 4):
        pytest.skip("the rank it takes")
    layer = nn.from_spec(spec)
    with pytest.raises(ValueError, match=r"expected input of shape \(N, C, [HL] >= \d") as caught:
        layer(np.ones(shape))
    one_sentence(caught, layer.spec())
    assert str(caught.value).endswith(str(shape))


@pytest.mark.parametrize(
    ("spec", "fits", "short", "least"),
    [
        ("MaxPool2d(3)", (3, 3), (3, 2), "H >= 3, W >= 3"),
        ("MaxPool2d((4, 2), stride=1, padding=(2, 1))", (1, 1), (0, 1), "H >= 1, W >= 1"),
        ("MaxPool2d(3, stride=1, padding=(1, 0), dilation=3)", (5, 7), (4, 7), "H >= 5, W >= 7"),
        ("MaxPool2d(4, stride=2, ceil_mode=True)", (3, 3), (3, 2), "H >= 3, W >= 3"),
        ("AvgPool2d((5, 1))", (5, 1), (4, 1), "H >= 5, W >= 1"),
        ("AvgPool1d(4, stride=9, ceil_mode=True)", (1,), (0,), "L >= 1"),
        ("MaxPool1d(7, padding=1)", (5,), (4,), "L >= 5"),
        ("AdaptiveAvgPool2d(3)", (1, 1), (1, 0), "H >= 1, W >= 1"),
    ],
)
def test_an_image_smaller_than_a_window_is_a_value_error_that_says_what_fits(spec, fits, short, least):
    layer = nn.from_spec(spec)
    assert 0 not in layer(np.ones((2, 1, *fits))).shape
    with pytest.raises(ValueError) as caught:
        layer(np.ones((2, 1, *short)))
    assert str(caught.value) == f"{spec}: expected input of shape (N, C, {least}), got {(2, 1, *short)}"


def test_a_plane_whose_positions_no_index_holds_is_refused():
    for layer in POOLS:
        with pytest.raises(ValueError, match=r"expected planes of fewer than 2\*\*31 elements") as caught:
            layer(np.empty((0, 1, 2**16, 2**15), np.float32))
        one_sentence(caught, layer.spec())
    with pytest.raises(ValueError, match="fewer than"):
        nn.AdaptiveAvgPool2d((2**30, 2))(np.ones((1, 1, 1, 1)))
    with pytest.raises(ValueError, match="fewer than"):
        nn.MaxPool1d(2)(np.empty((1, 0, 2**31), np.float32))


@pytest.mark.parametrize("option", ["kernel_size", "stride", "dilation"])
def test_the_largest_sizes_overflow_nothing(option):
    huge = 2**31 - 1
    x = np.arange(6.0).reshape(1, 1, 2, 3)
    if option == "kernel_size":
        layers = nn.MaxPool2d(huge, 1, huge // 2), nn.AvgPool2d(huge, 1, huge // 2, count_include_pad=False)
    elif option == "stride":
        layers = nn.MaxPool2d(2, huge), nn.AvgPool2d(2, huge), nn.MaxPool2d(2, huge, ceil_mode=True)
    else:
        layers = nn.MaxPool2d(1, 1, 0, huge), nn.MaxPool2d((1, 2), (1, 1), 0, (huge, 2))
    for layer in layers:
        y = layer(x)
        assert np.isfinite(y).all()
        assert np.isclose(layer.backward(np.ones_like(y)).sum(), y.size)
    with pytest.raises(ValueError, match="expected input"):
        nn.MaxPool2d(huge, dilation=huge)(x)


@each_layer
@pytest.mark.parametrize("wrong", [None, 1.0, "abcd", [[[1.0]]], {}], ids=repr)
def test_what_is_no_array_is_a_type_error(layer, shape, wrong):
    with pytest.raises(TypeError, match=r"write np\.asarray"):
        layer(wrong)
    layer(np.ones(shape))
    with pytest.raises(TypeError, match=r"write np\.asarray"):
        layer.backward(wrong)


@each_layer
def test_a_gradient_of_another_shape_or_dtype_is_refused(layer, shape):
    y = layer(np.ones(shape))
    for wrong in [(), y.shape[1:], (*y.shape, 1), (*y.shape[:-1], y.shape[-1] + 1), shape[::-1]]:
        with pytest.raises(ValueError, match="expected a gradient of shape") as caught:
            layer.backward(np.ones(wrong))
        one_sentence(caught, layer.spec())
    with pytest.raises(TypeError, match="expected an array of float64 for grad_output, got float32"):
        layer.backward(y.astype(np.float32))


@each_layer
def test_more_values_than_memory_are_a_clean_error(layer, shape):
    with pytest.raises((MemoryError, ValueError)):
        layer(np.broadcast_to(np.float32(0), (2**57, *shape[1:])))


def test_an_output_whose_size_overflows_is_a_clean_error():
    with pytest.raises((MemoryError, ValueError)):
        nn.AdaptiveAvgPool2d(40000)(np.empty((0, 2**40, 1, 1), np.float32))
