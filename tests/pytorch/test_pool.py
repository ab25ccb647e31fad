"""Pooling and Flatten beside PyTorch's: shapes, outputs and input gradients over a sweep of options."""

from itertools import product

import numpy as np
import pytest

from fastdl import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

IMAGES = [(1, 1), (1, 2), (3, 1), (2, 2), (4, 3), (5, 7), (6, 6), (9, 10), (3, 40), (2, 71)]
LENGTHS = [1, 2, 3, 7, 16, 35, 70]
kernels = pytest.mark.parametrize("kernel", [1, 2, 3, *(pytest.param(size, marks=pytest.mark.slow) for size in (4, 5))])


def options(kernel):
    """stride, padding, ceil_mode of every value that goes with a kernel size."""
    return product((None, 1, 2, 3), range(kernel // 2 + 1), (False, True))


def pooled(theirs, x, gy_of):
    """What torch's layer gives: output, gradient sent back, input's gradient; None where the image is too small for it."""
    x = torch.tensor(x, requires_grad=True)
    try:
        y = theirs(x)
    except RuntimeError as error:
        if "output size" in str(error).lower():
            return None
        raise
    gy = gy_of(y.shape)
    y.backward(torch.tensor(gy))
    assert x.grad is not None
    return y.detach().numpy(), gy, x.grad.numpy()


def hold_together(ours, theirs, x, gy_of, check):
    """Both refuse an image, or agree on it; returns how many images were pooled."""
    want = pooled(theirs, x, gy_of)
    if want is None:
        with pytest.raises(ValueError, match="expected input of shape"):
            ours(x)
        return 0
    check(ours(x), want[0])
    check(ours.backward(want[1]), want[2])
    return 1


def exactly(ours, theirs):
    np.testing.assert_array_equal(ours, theirs, strict=True)


def whole(shape, dtype, rng):
    """Few whole numbers: ties, and sums without rounding."""
    return rng.integers(-3, 4, shape).astype(dtype)


@kernels
@pytest.mark.parametrize("dilation", [1, 2])
def test_max_pool2d(kernel, dilation, dtype):
    rng, pooled_images = np.random.default_rng(0), 0
    for (stride, padding, ceil), image in product(options(kernel), IMAGES):
        arguments = kernel, stride, padding, dilation
        ours, theirs = nn.MaxPool2d(*arguments, ceil_mode=ceil), torch.nn.MaxPool2d(*arguments, ceil_mode=ceil)
        if padding and dilation == 2 and min(image) == 1:
            continue  # PyTorch writes the gradient of a window that holds nothing behind the image
        x = whole((2, 3, *image), dtype, rng)
        pooled_images += hold_together(ours, theirs, x, lambda shape: whole(shape, dtype, rng), exactly)
    assert pooled_images > 30


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [((2, 3), None, 0, 1), ((3, 2), (1, 2), (1, 0), 1), (3, (2, 1), (0, 1), (1, 2)), ((1, 5), (3, 2), (0, 2), 1)],
    ids=str,
)
@pytest.mark.parametrize("ceil", [False, True])
def test_max_pool2d_with_other_options_along_each_axis(kernel, stride, padding, dilation, ceil, dtype):
    rng = np.random.default_rng(0)
    arguments = kernel, stride, padding, dilation
    ours, theirs = nn.MaxPool2d(*arguments, ceil_mode=ceil), torch.nn.MaxPool2d(*arguments, ceil_mode=ceil)
    for image in IMAGES:
        hold_together(ours, theirs, whole((2, 3, *image), dtype, rng), lambda s: whole(s, dtype, rng), exactly)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 1), (3, 3, 0), (2, 2, 1)])
@pytest.mark.parametrize("fill", [np.nan, -np.inf, np.inf])
def test_max_pool2d_of_nan_and_infinities(kernel, stride, padding, fill, dtype):
    rng = np.random.default_rng(0)
    ours, theirs = nn.MaxPool2d(kernel, stride, padding), torch.nn.MaxPool2d(kernel, stride, padding)
    for share, image in product((0.1, 0.5, 1.0), [(6, 6), (5, 37), (8, 70)]):
        x = whole((2, 2, *image), dtype, rng)
        x[rng.random(x.shape) < share] = fill
        hold_together(ours, theirs, x, lambda shape: whole(shape, dtype, rng), exactly)


@kernels
@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("divisor", [None, 3])
def test_avg_pool2d(kernel, include, divisor, dtype, agree):
    rng, pooled_images = np.random.default_rng(0), 0
    for (stride, padding, ceil), image in product(options(kernel), IMAGES):
        arguments = kernel, stride, padding, ceil, include, divisor
        ours, theirs = nn.AvgPool2d(*arguments), torch.nn.AvgPool2d(*arguments)
        x = rng.standard_normal((2, 3, *image)).astype(dtype)
        pooled_images += hold_together(ours, theirs, x, lambda s: rng.standard_normal(s).astype(dtype), agree)
    assert pooled_images > 30


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((2, 3), None, 0), ((3, 2), (1, 2), (1, 0)), (3, (2, 1), (0, 1)), ((1, 5), (3, 2), (0, 2))],
    ids=str,
)
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("include", [True, False])
def test_avg_pool2d_with_other_options_along_each_axis(kernel, stride, padding, ceil, include, dtype, agree):
    rng = np.random.default_rng(0)
    ours = nn.AvgPool2d(kernel, stride, padding, ceil, include)
    theirs = torch.nn.AvgPool2d(kernel, stride, padding, ceil, include)
    for image in IMAGES:
        x = rng.standard_normal((2, 3, *image)).astype(dtype)
        hold_together(ours, theirs, x, lambda shape: rng.standard_normal(shape).astype(dtype), agree)


@kernels
def test_max_pool1d(kernel, dtype):
    rng = np.random.default_rng(0)
    for (stride, padding, ceil), dilation, length in product(options(kernel), (1, 2), LENGTHS):
        if padding and dilation == 2 and length == 1:
            continue
        arguments = kernel, stride, padding, dilation
        ours, theirs = nn.MaxPool1d(*arguments, ceil_mode=ceil), torch.nn.MaxPool1d(*arguments, ceil_mode=ceil)
        x = whole((2, 3, length), dtype, rng)
        hold_together(ours, theirs, x, lambda shape: whole(shape, dtype, rng), exactly)


@kernels
@pytest.mark.parametrize("include", [True, False])
def test_avg_pool1d(kernel, include, dtype, agree):
    rng = np.random.default_rng(0)
    for (stride, padding, ceil), length in product(options(kernel), LENGTHS):
        arguments = kernel, stride, padding, ceil, include
        ours, theirs = nn.AvgPool1d(*arguments), torch.nn.AvgPool1d(*arguments)
        x = rng.standard_normal((2, 3, length)).astype(dtype)
        hold_together(ours, theirs, x, lambda shape: rng.standard_normal(shape).astype(dtype), agree)


@pytest.mark.parametrize("size", [1, 2, 7, (3, 5), (None, 4), (2, None), (None, None), (40, 3)], ids=str)
def test_adaptive_avg_pool2d(size, dtype, agree):
    rng = np.random.default_rng(0)
    ours, theirs = nn.AdaptiveAvgPool2d(size), torch.nn.AdaptiveAvgPool2d(size)
    for image in [*IMAGES, (7, 7), (14, 14), (30, 33)]:
        x = rng.standard_normal((2, 3, *image)).astype(dtype)
        hold_together(ours, theirs, x, lambda shape: rng.standard_normal(shape).astype(dtype), agree)


@pytest.mark.parametrize("channels", [1, 33])
def test_an_empty_batch(channels, dtype):
    x = np.empty((0, channels, 6, 5), dtype)
    for name, arguments in (
        ("MaxPool2d", (2,)),
        ("AvgPool2d", (3, 2, 1)),
        ("AdaptiveAvgPool2d", (4,)),
        ("Flatten", ()),
    ):
        ours, theirs = getattr(nn, name)(*arguments), getattr(torch.nn, name)(*arguments)
        hold_together(ours, theirs, x, lambda shape: np.empty(tuple(shape), dtype), exactly)


@pytest.mark.parametrize("shape", [(2,), (2, 3), (2, 3, 4, 5), (0, 3, 4), (3, 0, 4)], ids=str)
def test_flatten_over_every_axis(shape, dtype):
    for first, last in product(range(-len(shape), len(shape)), repeat=2):
        ours, theirs = nn.Flatten(first, last), torch.nn.Flatten(first, last)
        x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
        if first % len(shape) > last % len(shape):
            with pytest.raises(ValueError, match="expected"):
                ours(x)
            continue
        hold_together(ours, theirs, x, lambda s: np.ones(tuple(s), dtype), exactly)


@pytest.mark.parametrize("name", ["MaxPool2d", "AvgPool2d", "MaxPool1d", "AvgPool1d"])
def test_padding_beyond_half_the_kernel_is_refused_by_both(name):
    for kernel in range(1, 6):
        x = torch.ones((1, 1, 9) if "1d" in name else (1, 1, 9, 9))
        with pytest.raises(RuntimeError):
            getattr(torch.nn, name)(kernel, 1, kernel // 2 + 1)(x)
        with pytest.raises(ValueError, match="expected padding of at most half"):
            getattr(nn, name)(kernel, 1, kernel // 2 + 1)
