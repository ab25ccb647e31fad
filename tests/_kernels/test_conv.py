"""The kernels of convolution against the naive loops and, where those are too slow, against NumPy's windows."""

from itertools import cycle, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastdl
from fastdl._kernels import conv
from fastdl._kernels.table import set_cpu_level
from fastdl.reference import conv as naive
from tests._kernels.convolutions import Geometry, agree, assert_near, by_loops, by_windows
from tests.combinations import in_turn

# Channels in and out, and groups: depthwise with one and two filters a channel among them.
CHANNELS = [(1, 1, 1), (2, 3, 1), (4, 2, 2), (3, 3, 3), (1, 5, 1), (2, 4, 2), (5, 1, 1), (6, 4, 2), (3, 6, 3)]


def every_option(kernel):
    """Each stride, padding and dilation with this kernel, on images from the kernel's size on."""
    ways = list(product((1, 2, 3), (0, 1, 2), (1, 2)))
    channels, samples, room = cycle(CHANNELS), cycle((1, 3, 2, 1, 0)), cycle((0, 1, 0, 2, 5, 3, 4))
    for number, rows in enumerate(ways):
        columns = ways[(number * 5 + sum(kernel)) % len(ways)]
        stride, padding, dilation = zip(rows, columns, strict=True)
        least = [max(d * (k - 1) + 1 - 2 * p, 1) for k, d, p in zip(kernel, dilation, padding, strict=True)]
        C, OUT, groups = next(channels)
        image = least[0] + next(room), least[1] + next(room)
        yield Geometry(next(samples), C, OUT, image, kernel, stride, padding, dilation, groups)


@pytest.mark.parametrize(("rows", "columns"), in_turn(range(1, 6), range(1, 6)))
def test_convolution_is_its_loops(each_level, dtype, rows, columns):
    for _ in each_level():
        for geometry in every_option((rows, columns)):
            agree(geometry, by_loops(geometry), dtype, 64)


@pytest.mark.parametrize("kernel", [(2, 2), (4, 3), (2, 5), (4, 4)], ids=str)
@pytest.mark.parametrize("dilation", [(1, 1), (2, 3), (3, 1)], ids=str)
def test_one_more_zero_may_lie_below_and_to_the_right(each_level, dtype, kernel, dilation):
    for _ in each_level():
        around = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        padding, behind = tuple(n // 2 for n in around), tuple(n - n // 2 for n in around)
        for image in ((5, 4), (1, 1), (3, 18)):
            geometry = Geometry(2, 2, 3, image, kernel, padding=padding, dilation=dilation, behind=behind)
            assert geometry.out == image
            agree(geometry, by_loops(geometry), dtype, 64)


LARGE = {
    "rows of 33 pixels": Geometry(1, 3, 4, (5, 33), (3, 3), padding=(1, 1)),
    "rows of 65 pixels": Geometry(2, 2, 3, (3, 65), (3, 3), padding=(1, 1)),
    "rows that come out with 33": Geometry(2, 2, 3, (4, 67), (2, 3), (1, 2)),
    "rows that come out with 65": Geometry(1, 3, 2, (6, 195), (3, 1), (2, 3)),
    "one row": Geometry(3, 4, 5, (1, 200), (1, 9), padding=(0, 4)),
    "one column": Geometry(3, 4, 5, (150, 1), (7, 1), padding=(3, 0)),
    "sums of 576": Geometry(2, 64, 10, (5, 6), (3, 3), padding=(1, 1)),
    "sums of 1170": Geometry(1, 130, 7, (4, 5), (3, 3), padding=(1, 1)),
    "sums of 520 pixels": Geometry(2, 520, 5, (3, 3), (1, 1)),
    "sums of 1030 pixels": Geometry(1, 1030, 3, (2, 3), (1, 1)),
    "130 filters": Geometry(2, 3, 130, (6, 7), (3, 3)),
    "130 filters of one pixel": Geometry(2, 33, 130, (9, 7), (1, 1)),
    "sums of 825, 130 filters": Geometry(1, 33, 130, (9, 9), (5, 5)),
    "33 channels": Geometry(3, 33, 31, (8, 9), (3, 3), (2, 2), (1, 1)),
    "many samples": Geometry(130, 1, 2, (6, 6), (3, 3)),
    "many pixels": Geometry(3, 8, 16, (28, 28), (5, 5)),
    "a large image": Geometry(1, 1, 1, (70, 130), (3, 3), padding=(1, 1)),
    "a wide kernel": Geometry(2, 2, 3, (9, 20), (3, 11), padding=(1, 5)),
    "a kernel above the image": Geometry(2, 3, 2, (2, 3), (7, 9), padding=(3, 4)),
    "windows of nothing but padding": Geometry(2, 2, 3, (3, 4), (2, 3), (2, 1), (6, 5), (1, 2)),
    "pixels passed over": Geometry(2, 3, 4, (19, 23), (2, 1), (5, 7)),
    "every second pixel": Geometry(2, 16, 33, (15, 14), (1, 1), (2, 2)),
    "one pixel with padding": Geometry(2, 5, 7, (4, 4), (1, 1), padding=(1, 2)),
    "far apart": Geometry(1, 3, 4, (30, 31), (3, 3), padding=(7, 7), dilation=(7, 9)),
    "two groups": Geometry(2, 64, 34, (7, 7), (3, 3), padding=(1, 1), groups=2),
    "groups of long sums": Geometry(1, 116, 6, (5, 5), (3, 3), groups=2),
    "depthwise": Geometry(2, 33, 33, (17, 19), (3, 3), padding=(1, 1), groups=33),
    "depthwise, two filters": Geometry(2, 33, 66, (7, 33), (3, 3), padding=(1, 1), groups=33),
    "depthwise, stride": Geometry(2, 17, 17, (16, 35), (3, 3), (2, 2), (1, 1), groups=17),
    "depthwise, dilation": Geometry(1, 9, 18, (14, 40), (3, 3), padding=(2, 2), dilation=(2, 2), groups=9),
    "depthwise, 5 by 5": Geometry(2, 8, 8, (11, 65), (5, 5), padding=(2, 2), groups=8),
    "depthwise, small images": Geometry(9, 40, 40, (2, 3), (3, 3), padding=(1, 1), groups=40),
    "many small images": Geometry(64, 8, 16, (12, 12), (5, 5)),
    "many small images, padded": Geometry(37, 9, 20, (8, 7), (5, 4), padding=(2, 3), behind=(1, 3)),
    "many small images, dilated, in groups": Geometry(20, 24, 18, (13, 9), (3, 3), (1, 1), (2, 1), (2, 2), 2),
    "many small images behind wide zeros": Geometry(16, 12, 12, (5, 4), (3, 3), padding=(4, 5)),
    "sums over many chunks of pixels": Geometry(3, 30, 40, (22, 23), (3, 3), padding=(1, 1)),
}


@pytest.mark.parametrize(("name", "dtype"), in_turn(LARGE, (np.float32, np.float64)))
def test_larger_convolutions_are_numpys_windows(each_level, dtype, name):
    for _ in each_level():
        agree(LARGE[name], by_windows(LARGE[name]), dtype, 500)


def test_numpys_windows_are_the_loops():
    for geometry in every_option((3, 2)):
        for windows, loops in zip(by_windows(geometry), by_loops(geometry), strict=True):
            np.testing.assert_allclose(windows, loops, rtol=0, atol=1e-12)


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def geometries(draw):
    """Any geometry in which the kernel fits."""
    groups = draw(st.integers(1, 4))
    C, OUT = (groups * draw(st.integers(1, 5)) for _ in range(2))
    kernel = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    padding, behind = (draw(st.tuples(st.integers(0, 4), st.integers(0, 4))) for _ in range(2))
    stride, dilation = draw(pairs), draw(pairs)
    least = [max(d * (k - 1) + 1 - p - q, 1) for k, d, p, q in zip(kernel, dilation, padding, behind, strict=True)]
    image = least[0] + draw(st.integers(0, 12)), least[1] + draw(st.integers(0, 40))
    return Geometry(draw(st.integers(0, 4)), C, OUT, image, kernel, stride, padding, dilation, groups, behind)


@settings(max_examples=60)
@given(geometries(), st.sampled_from(fastdl.cpu_levels()))
def test_any_convolution_is_numpys_windows(geometry, level):
    before = fastdl.cpu_level()
    set_cpu_level(level)
    try:
        for dtype in (np.float32, np.float64):
            agree(geometry, by_windows(geometry), dtype, 200)
    finally:
        set_cpu_level(before)


@pytest.mark.parametrize("stride", [(1, 1), (2, 1)], ids=str)
def test_a_nan_reaches_the_windows_that_see_it_and_no_other(level, dtype, stride):
    g = Geometry(2, 4, 6, (6, 35), (3, 3), stride, (1, 1), groups=2)
    x, W, b, gy, *_ = (array.astype(dtype) for array in g.arrays())
    x[1, 2, 3, 17] = gy[0, 4, 1, 20] = np.nan
    for name, inputs, rest, shape in (
        ("conv_forward", (x, W, b, *g.options), (), gy.shape),
        ("conv_backward", (gy, x, W, *g.options, False), (None, None), x.shape),
    ):
        got, want = np.zeros(shape, dtype), np.zeros(shape, dtype)
        getattr(conv, name)(*inputs, got, *rest)
        getattr(naive, name)(*inputs, want, *rest)
        assert np.isnan(want).any()
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    gW, gb = np.zeros_like(W), np.zeros_like(b)
    conv.conv_backward(gy, x, W, *g.options, False, None, gW, gb)
    np.testing.assert_array_equal(np.isnan(gb), np.arange(6) == 4)
    np.testing.assert_array_equal(np.isnan(gW).all(axis=(1, 2, 3)), np.arange(6) == 4)
    assert not np.isnan(gW[:3]).any()


SHARED = {
    "many small images": Geometry(70, 8, 16, (12, 12), (5, 5)),
    "sums over many chunks of pixels": Geometry(3, 30, 40, (22, 23), (3, 3), padding=(1, 1)),
    "many samples": Geometry(64, 3, 9, (12, 13), (3, 3), padding=(1, 1)),
    "one sample": Geometry(1, 8, 33, (40, 41), (3, 3), padding=(1, 1)),
    "three samples of long sums": Geometry(3, 130, 35, (9, 9), (3, 3), padding=(1, 1)),
    "one pixel": Geometry(7, 70, 66, (15, 15), (1, 1)),
    "strides": Geometry(9, 5, 20, (31, 30), (5, 4), (3, 2), (2, 2)),
    "dilation": Geometry(5, 6, 17, (25, 26), (3, 2), dilation=(2, 3)),
    "groups": Geometry(5, 32, 34, (17, 16), (3, 3), padding=(1, 1), groups=2),
    "depthwise": Geometry(7, 33, 33, (31, 33), (3, 3), padding=(1, 1), groups=33),
    "depthwise of one sample": Geometry(1, 20, 40, (60, 66), (5, 5), (2, 1), (2, 2), groups=20),
}


@pytest.mark.parametrize(("name", "dtype"), in_turn(SHARED, (np.float32, np.float64)))
def test_the_number_of_threads_changes_no_bit(level, dtype, threads, name):
    g = SHARED[name]
    x, W, b, gy, *_ = (array.astype(dtype) for array in g.arrays())
    results = []
    for n in (1, 2, 3):
        fastdl.set_num_threads(n)
        y, gx, gW, gb = (np.full_like(array, np.nan) for array in (gy, x, W, b))
        conv.conv_forward(x, W, b, *g.options, y)
        conv.conv_backward(gy, x, W, *g.options, False, gx, gW, gb)
        results.append((y, gx, gW, gb))
    for other in results[1:]:
        for one, more in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, more)
    for got, want in zip(results[1][1:], by_windows(g)[1:], strict=True):
        assert_near(got, want, 1000, dtype)
