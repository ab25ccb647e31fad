"""The reference's convolution against NumPy's correlate and hand-made images, and its gradients against differences."""

import numpy as np
import pytest

from fastdl.reference import conv
from tests.reference.against import central_difference, close, near, returned

# Shape of x, shape of W, stride, padding, dilation, groups, rows and columns of y.
GEOMETRIES = [
    ((2, 2, 4, 5), (3, 2, 3, 2), (1, 1), (0, 0), (1, 1), 1, (2, 4)),
    ((1, 2, 5, 4), (2, 2, 2, 3), (2, 3), (1, 2), (1, 1), 1, (3, 2)),
    ((1, 2, 5, 6), (2, 2, 2, 3), (1, 2), (1, 0), (3, 2), 1, (4, 1)),
    ((2, 4, 3, 3), (6, 2, 2, 2), (1, 1), (0, 1), (1, 1), 2, (3, 3)),
    ((1, 3, 3, 4), (6, 1, 3, 3), (1, 1), (1, 1), (1, 1), 3, (3, 4)),
    ((1, 1, 3, 3), (1, 1, 2, 4), (1, 1), (0, 1), (1, 1), 1, (3, 3)),
]


def arrays(rng, geometry):
    x_shape, W_shape, *options, out = geometry
    x, W, b = rng.normal(size=x_shape), rng.normal(size=W_shape), rng.normal(size=W_shape[0])
    return x, W, b, options, rng.normal(size=(x_shape[0], W_shape[0], *out))


def test_one_row_is_numpys_correlate(rng):
    x, W = rng.normal(size=(1, 1, 1, 9)), rng.normal(size=(1, 1, 1, 4))
    for padding, mode in ((0, "valid"), (3, "full")):
        want = np.correlate(x.ravel(), W.ravel(), mode)
        y = returned(conv.conv_forward, x, W, None, (1, 1), (0, padding), (1, 1), 1, shape=(1, 1, 1, len(want)))
        close(y.ravel(), want)


def test_a_kernel_of_ones_adds_up_what_it_covers():
    x, W = np.arange(1.0, 10).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2))
    options = (2, 2), (1, 1), (1, 1), 1
    close(
        returned(conv.conv_forward, x, W, np.array([100.0]), *options, shape=(1, 1, 2, 2)), [[[[101, 105], [111, 128]]]]
    )


def test_dilation_skips_pixels():
    x, W = np.arange(16.0).reshape(1, 1, 4, 4), np.array([[[[1.0, 10.0], [100.0, 1000.0]]]])
    y = returned(conv.conv_forward, x, W, None, (1, 1), (0, 0), (2, 3), 1, shape=(1, 1, 2, 1))
    close(y.ravel(), [0 + 30 + 800 + 11000, 4 + 70 + 1200 + 15000])


def test_a_group_sees_its_own_channels_only():
    x, W = np.zeros((1, 4, 1, 1)), np.ones((2, 2, 1, 1))
    x[0, :, 0, 0] = 1, 10, 100, 1000
    y = returned(conv.conv_forward, x, W, None, (1, 1), (0, 0), (1, 1), 2, shape=(1, 2, 1, 1))
    close(y.ravel(), [11, 1100])


def test_a_window_of_padding_only_gives_the_bias():
    x, W = np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1))
    y = returned(conv.conv_forward, x, W, np.array([5.0]), (1, 1), (1, 1), (1, 1), 1, shape=(1, 1, 3, 3))
    close(y[0, 0], [[5, 5, 5], [5, 6, 5], [5, 5, 5]])


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_backward_is_the_derivative_and_accumulates(rng, geometry):
    x, W, b, options, gy = arrays(rng, geometry)

    def f():
        return (gy * returned(conv.conv_forward, x, W, b, *options, shape=gy.shape)).sum()

    gx, gW, gb = np.full(x.shape, 7.0), np.full(W.shape, 10.0), np.full(b.shape, 20.0)
    conv.conv_backward(gy, x, W, *options, True, gx, gW, gb)
    near(gx, central_difference(f, x))
    near(gW - 10, central_difference(f, W))
    near(gb - 20, central_difference(f, b))
    stored, alone = np.full(W.shape, np.nan), np.full(b.shape, np.nan)
    conv.conv_backward(gy, x, W, *options, False, None, stored, None)
    conv.conv_backward(gy, x, W, *options, False, None, None, alone)
    close(stored, gW - 10)
    close(alone, gb - 20)


def test_no_samples_give_zero_gradients():
    x, W, gy = np.empty((0, 1, 3, 3)), np.ones((2, 1, 2, 2)), np.empty((0, 2, 2, 2))
    gW, gb = np.full((2, 1, 2, 2), 7.0), np.full(2, 7.0)
    conv.conv_backward(gy, x, W, (1, 1), (0, 0), (1, 1), 1, False, np.empty_like(x), gW, gb)
    assert not gW.any()
    assert not gb.any()


def test_sums_are_taken_in_double_precision():
    x, W = np.array([[[[1e8, 1, -1e8]]]], np.float32), np.ones((1, 1, 1, 3), np.float32)
    options = (1, 1), (0, 0), (1, 1), 1
    y = returned(conv.conv_forward, x, W, None, *options, shape=(1, 1, 1, 1), dtype=np.float32)
    assert y == 1
