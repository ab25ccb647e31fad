"""Normalization kernels beside their references, and what their numbers are worth."""

from itertools import product

import numpy as np
import pytest

import fastdl
from fastdl import nn
from fastdl._kernels import batch_norm, layer_norm
from fastdl.reference import batch_norm as naive_batch_norm
from fastdl.reference import layer_norm as naive_layer_norm
from fastdl.testing import assert_close

# Around registers, around what is short, beyond a block of rows, of elements, of channels.
PLANES = [(3, 2, n) for n in (1, 2, 3, 7, 15, 16, 17, 31, 33, 64, 65, 100, 130)]
PLANES += [(n, 3, 1) for n in (1, 2, 5, 300)] + [(2, c, n) for c, n in product((1, 17, 33, 70, 300), (1, 5, 16))]
PLANES += [
    (40, 10, 1),
    pytest.param((300, 40, 1), marks=pytest.mark.slow),
    (70, 9, 16),
    (2, 1, 8192),
    (2, 2, 9001),
    pytest.param((1, 1, 20000), marks=pytest.mark.slow),
    (3, 70, 49),
    (0, 3, 2),
    (2, 3, 0),
]
ROWS = [(3, n) for n in (1, 2, 7, 15, 16, 17, 33, 64, 65, 100, 130)] + [
    (0, 5),
    (20, 7),
    (300, 40),
    (2, 9001),
    pytest.param((40, 1000), marks=pytest.mark.slow),
]


@pytest.fixture
def assert_its_reference(each_level, dtype):
    """A check that a kernel writes at each level what its reference does, on copies of the same outputs."""

    def check(name, inputs, *outputs, tolerance):
        kernels, reference = (
            (batch_norm, naive_batch_norm) if name.startswith("batch") else (layer_norm, naive_layer_norm)
        )
        want = [None if output is None else output.copy() for output in outputs]
        getattr(reference, name)(*inputs, *want)
        for _ in each_level():
            got = [None if output is None else output.copy() for output in outputs]
            getattr(kernels, name)(*inputs, *got)
            for one, other in zip(got, want, strict=True):
                if other is not None:
                    assert_close(one, other, tolerance, dtype, name)

    return check


def draw(rng, dtype, *shapes):
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("shape", PLANES, ids=str)
def test_batch_norm_is_its_loops(dtype, shape, assert_its_reference):
    rng = np.random.default_rng(0)
    N, C, L = shape
    x, gy, W, b, gW, gb, mean, inverse = draw(rng, dtype, shape, shape, C, C, C, C, C, C)
    x += 3
    gy += 0.5
    empty = np.full_like(x, np.nan)
    running = rng.random(C).astype(dtype), rng.random(C).astype(dtype), np.full((), 6)
    if N * L != 1:
        for options, moved in (
            ((W, b, 1e-5, 0.3), running),
            ((None, None, 0.5, -1.0), running),
            ((W, None, 1.0, 0.0), (None,) * 3),
        ):
            assert_its_reference("batch_norm_forward", (x, *options), *moved, mean, inverse, empty, tolerance=64)
    inputs = x, W, b, *running[:2], 0.1
    if x.size:
        assert_its_reference("batch_norm_evaluate", inputs, mean, inverse, empty, tolerance=64)
        naive_batch_norm.batch_norm_forward(x, W, b, 1e-3, 0.0, None, None, None, mean, inverse, empty.copy())
    cancelling = 1e5 if N * L < 4 else 64 * max(1, 32 / (N * L), N * L / 100) if x.size else 0
    for training, accumulate, gradients in (
        (True, False, (empty, gW, gb)),
        (True, True, (empty, gW, None)),
        (True, True, (None, None, gb)),
        (False, True, (empty, gW, gb)),
        (False, False, (empty, None, None)),
    ):
        inputs = gy, x, W if gradients[1] is not None else None, mean, inverse, training, accumulate
        if N * L != 1 or not training:
            assert_its_reference("batch_norm_backward", inputs, *gradients, tolerance=cancelling)


@pytest.mark.parametrize("shape", ROWS, ids=str)
def test_layer_norm_is_its_loops(dtype, shape, assert_its_reference):
    rng = np.random.default_rng(0)
    N, n = shape
    x, gy, W, b, gW, gb, mean, inverse = draw(rng, dtype, shape, shape, n, n, n, n, N, N)
    x += 3
    empty = np.full_like(x, np.nan)
    for options in ((W, b), (None, b), (W, None), (None, None)):
        assert_its_reference("layer_norm_forward", (x, *options, 0.1), mean, inverse, empty, tolerance=64)
    naive_layer_norm.layer_norm_forward(x, W, b, 0.1, mean, inverse, empty.copy())
    for weights, accumulate, gradients in (
        (W, False, (empty, gW, gb)),
        (W, True, (empty, gW, None)),
        (None, True, (None, None, gb)),
        (None, False, (empty, None, None)),
        (W, True, (None, gW, gb)),
    ):
        inputs = gy, x, weights, mean, inverse, accumulate
        assert_its_reference("layer_norm_backward", inputs, *gradients, tolerance=256)


def placed(array, offset):
    """A copy of the array that begins `offset` bytes behind a cache line's beginning."""
    raw = np.zeros(array.nbytes + 128, np.uint8)
    start = -raw.ctypes.data % 64 + offset
    view = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


@pytest.mark.parametrize("shape", [(3, 2, 1000), (40, 300, 1), (9, 5, 7)], ids=str)
def test_where_memory_lies_changes_no_bit(level, dtype, shape):
    rng = np.random.default_rng(0)
    x, gy, W, b = draw(rng, dtype, shape, shape, shape[1], shape[1])
    rows, gy_rows, W_row = (
        x.reshape(shape[0], -1),
        gy.reshape(shape[0], -1),
        rng.standard_normal(x[0].size).astype(dtype),
    )
    results = []
    for offset in (0, 8, 16, 40, 56):
        y, gx = placed(x, offset), placed(x, (5 * offset) % 64)
        result = [y, gx, *(np.zeros(shape[1], dtype) for _ in range(4))]
        batch_norm.batch_norm_forward(placed(x, 64 - offset), W, b, 1e-5, 0.0, None, None, None, *result[2:4], y)
        batch_norm.batch_norm_backward(placed(gy, offset), placed(x, 8), W, *result[2:4], True, False, gx, *result[4:])
        for weights in (W_row, None):
            mean, inverse, z, gz = *np.zeros((2, len(x)), dtype), placed(rows, offset), placed(rows, offset)
            layer_norm.layer_norm_forward(placed(rows, 8), weights, weights, 1e-5, mean, inverse, z)
            layer_norm.layer_norm_backward(gy_rows, placed(rows, offset), weights, mean, inverse, False, gz, None, None)
            result += [z, gz]
        results.append(result)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda dtype: nn.BatchNorm2d(5, dtype=dtype), (40, 5, 40, 40)),
        (lambda dtype: nn.BatchNorm2d(100, dtype=dtype), (40, 100, 7, 7)),
        (lambda dtype: nn.BatchNorm1d(300, dtype=dtype), (700, 300)),
        (lambda dtype: nn.LayerNorm(70, dtype=dtype), (3000, 70)),
    ],
)
def test_the_number_of_threads_changes_no_bit(level, dtype, threads, make, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    results = []
    for n in (1, 2, 3):
        fastdl.set_num_threads(n)
        layer = make(dtype)
        y = layer(x)
        results.append([y, layer.backward(np.cos(y)), *(p.grad for p in layer.parameters()), *layer.buffers()])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


# What the numbers are worth.


def test_each_channel_leaves_with_mean_0_and_variance_1(level, dtype):
    x = (5 * np.random.default_rng(0).standard_normal((20, 3, 8, 9)) - 7).astype(dtype)
    y = nn.BatchNorm2d(3, eps=0, dtype=dtype)(x).astype(float)
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(y.var((0, 2, 3)), 1, rtol=1e-5)


@pytest.mark.parametrize("shape", [(500, 3), (60, 3, 400), (3, 2, 9000)], ids=str)
def test_values_far_from_zero_lose_nothing_to_cancellation(level, shape):
    x = (30_000 + np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
    axes = (0, *range(2, len(shape)))
    layer = nn.BatchNorm1d(shape[1])
    deviation = x - x.mean(axes, dtype=float, keepdims=True)
    np.testing.assert_allclose(layer(x), deviation / x.std(axes, dtype=float, keepdims=True), atol=1e-4)
    np.testing.assert_allclose((layer.running_var - 0.9) / 0.1, x.astype(float).var(axes, ddof=1), rtol=2e-5)
    np.testing.assert_allclose(layer.running_mean, 0.1 * x.astype(float).mean(axes), rtol=1e-7)
    rows = x.reshape(len(x), -1)
    got = nn.LayerNorm(rows.shape[1], eps=1e-12)(rows)
    want = (rows - rows.mean(1, dtype=float, keepdims=True)) / rows.std(1, dtype=float, keepdims=True)
    np.testing.assert_allclose(got, want, atol=0.01)


@pytest.mark.parametrize("value", [16777.217, -3.3e7, 1e-20, 0.1])
def test_a_constant_channel_is_exactly_its_bias(level, dtype, value):
    bias = np.array([0.25, -3.0])
    for layer, shape in ((nn.BatchNorm1d(2, dtype=dtype), (100, 2, 1000)), (nn.BatchNorm1d(2, dtype=dtype), (777, 2))):
        layer.bias.data = bias
        y = layer(np.full(shape, value, dtype))
        np.testing.assert_array_equal(y.max(axis=0).reshape(2, -1).max(1), bias)
        np.testing.assert_array_equal(y.min(axis=0).reshape(2, -1).min(1), bias)
    assert not nn.LayerNorm(1001, dtype=dtype)(np.full((3, 1001), value, dtype)).any()


def test_a_nan_stays_in_its_channel(level, dtype):
    x = np.random.default_rng(0).standard_normal((4, 3, 50)).astype(dtype)
    x[2, 1, 7] = np.nan
    layer = nn.BatchNorm1d(3, dtype=dtype)
    y = layer(x)
    assert np.isnan(y[:, 1]).all()
    assert np.isfinite(y[:, [0, 2]]).all()
    assert np.isnan(layer.running_var).tolist() == [False, True, False]


def normalized(x, axes, eps, gy):
    """y, mean, variance over n - 1, gx of normalization without weights, in long double."""
    x, gy = x.astype(np.longdouble), gy.astype(np.longdouble)
    count = np.prod([x.shape[axis] for axis in axes])
    mean = x.mean(axes, keepdims=True)
    variance = ((x - mean) ** 2).mean(axes, keepdims=True)
    inverse = 1 / np.sqrt(variance + eps)
    z = (x - mean) * inverse
    gx = inverse * (gy - gy.mean(axes, keepdims=True) - z * (gy * z).mean(axes, keepdims=True))
    return z, mean, variance * count / (count - 1), gx


NORMALIZED = {
    "columns": (nn.BatchNorm1d, (40, 3), (0,)),
    "many columns": (nn.BatchNorm1d, (700, 40), (0,)),
    "short planes": (nn.BatchNorm1d, (20, 3, 5), (0, 2)),
    "planes": (nn.BatchNorm2d, (4, 3, 7, 9), (0, 2, 3)),
    "rows of 4": (nn.LayerNorm, (32, 4), (1,)),
    "rows of 100": (nn.LayerNorm, (9, 100), (1,)),
}
SCALES = {
    np.float32: [1e-33, 1e-25, 1e-17, 1e-12, 1, 1e12, 1e17, 1e19, 1e20, 1e30, 1e37, 6e37],
    np.float64: [1e-300, 1e-170, 1e-140, 1, 1e140, 1e155, 1e200, 1e300],
}


@pytest.mark.parametrize("eps", [1e-5, 0.0])
@pytest.mark.parametrize("case", NORMALIZED)
def test_values_from_the_least_to_the_largest_are_normalized(each, each_level, dtype, case, eps):
    if np.finfo(np.longdouble).maxexp <= 1024:
        pytest.skip("no type of a wider range than float64")
    make, shape, axes = NORMALIZED[case]
    rng = np.random.default_rng(0)
    limits = np.finfo(dtype)
    for scale in each(scale=SCALES[dtype]):
        x = (np.clip(rng.standard_normal(shape), -3, 3) + 0.5) * scale
        ordinary = x[:, 1] if axes[0] == 0 else x[1]
        ordinary /= scale  # one channel, or row, stays ordinary beside the others
        x, gy = x.astype(dtype), rng.standard_normal(shape).astype(dtype)
        z, mean, variance, want = normalized(x, axes, eps, gy)
        for _ in each_level():
            layer = make(shape[1], eps=eps, dtype=dtype)
            if axes[0] == 0:
                layer.momentum = 1.0
            y = layer(x)
            gx = layer.backward(gy)
            tolerance = 1e-5 if dtype is np.float32 else 1e-13
            np.testing.assert_allclose(y, z.astype(dtype), rtol=tolerance, atol=tolerance * float(np.abs(z).max()))
            for channel in range(shape[1 - axes[0]]):
                place = np.s_[:, channel] if axes[0] == 0 else np.s_[channel]
                size = float(np.abs(want[place]).max())
                if not limits.tiny * 1e4 < size < limits.max:
                    continue
                np.testing.assert_allclose(gx[place] / size, (want[place] / size).astype(float), atol=8 * tolerance)
            product = (gy * z).sum(axes)
            if axes[0] == 0:
                np.testing.assert_allclose(layer.weight.grad, product.astype(dtype), atol=100 * tolerance)
                np.testing.assert_allclose(layer.bias.grad, gy.sum(axes), atol=100 * tolerance)
                with np.errstate(over="ignore"):
                    moved = variance.ravel().astype(dtype)
                np.testing.assert_allclose(
                    layer.running_mean, mean.ravel().astype(dtype), rtol=tolerance, atol=tolerance * scale
                )
                normal = (moved == 0) | (moved >= limits.tiny)
                np.testing.assert_allclose(layer.running_var[normal], moved[normal], rtol=10 * tolerance)
            else:
                np.testing.assert_allclose(layer.weight.grad, (gy * z).sum(0).astype(dtype), atol=100 * tolerance)


def test_what_is_not_finite_stays_in_its_channel_or_row(level, dtype):
    for bad in (np.inf, -np.inf, np.nan):
        x = np.random.default_rng(0).standard_normal((20, 3, 30)).astype(dtype) * dtype(1e30)
        x[2, 1, 7] = bad
        y = nn.BatchNorm1d(3, dtype=dtype)(x)
        assert np.isnan(y[2, 1, 7])
        assert np.isfinite(y[:, [0, 2]]).all()
        y = nn.LayerNorm(30, dtype=dtype)(x[2])
        assert np.isnan(y[1, 7])
        assert np.isfinite(y[[0, 2]]).all()


def test_an_infinite_running_variance_leaves_the_bias_and_no_slope(level, dtype):
    layer = nn.BatchNorm1d(2, dtype=dtype).eval()
    layer.running_var[0] = np.inf
    layer.bias.data = np.array([0.25, -3.0])
    x = np.random.default_rng(0).standard_normal((20, 2)).astype(dtype)
    assert (layer(x)[:, 0] == 0.25).all()
    gx = layer.backward(x)
    assert not gx[:, 0].any()
    np.testing.assert_allclose(layer.weight.grad, [0, (x[:, 1] ** 2).sum()], rtol=1e-4)
    np.testing.assert_allclose(layer.bias.grad, x.sum(0), rtol=1e-4)


@pytest.mark.parametrize("value", [3e38, -1e-30])
def test_a_constant_of_any_size_is_its_bias(level, value):
    layer = nn.BatchNorm1d(2)
    layer.bias.data = np.array([0.25, -3.0])
    for shape in ((100, 2, 1000), (777, 2)):
        y = layer(np.full(shape, value, np.float32))
        assert (np.moveaxis(y, 1, 0).reshape(2, -1) == [[0.25], [-3.0]]).all()
    assert not nn.LayerNorm(1001)(np.full((3, 1001), value, np.float32)).any()


@pytest.mark.parametrize("scale", [1e20, 1e30, 1e-25])
def test_a_program_normalizes_as_its_layers_do(level, scale):
    x = (np.random.default_rng(0).standard_normal((32, 4)) * scale).astype(np.float32)
    make = lambda: nn.Sequential(nn.BatchNorm1d(4, eps=0), nn.LayerNorm(4), nn.Linear(4, 2, rng=0))  # noqa: E731
    model, other = make(), make()
    want = other(x)
    want_gx = other.backward(np.ones_like(want))
    for _ in range(5):
        model.zero_grad()
        got = model(x)
        gx = model.backward(np.ones_like(got))
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_array_equal(gx, want_gx)
