"""Convolution by Winograd's method: the same as by windows, to an accuracy that is stated, unless it is switched off."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastdl
from fastdl._kernels import conv
from fastdl._kernels.table import set_cpu_level
from tests._kernels.convolutions import Geometry, agree, by_windows


@pytest.fixture
def setting():
    """Restore the setting afterwards."""
    before = fastdl.get_winograd()
    yield
    fastdl.set_winograd(before)


def results(g, dtype):
    """y, gx and gW."""
    x, W, b, gy, *_ = (array.astype(dtype) for array in g.arrays())
    y, gx, gW = (np.full_like(array, np.nan) for array in (gy, x, W))
    conv.conv_forward(x, W, b, *g.options, y)
    conv.conv_backward(gy, x, W, *g.options, False, gx, gW, None)
    return y, gx, gW


def ways(g, dtype=np.float32):
    """The results by Winograd's method where it is taken, and directly."""
    fastdl.set_winograd(True)
    by_winograd = results(g, dtype)
    fastdl.set_winograd(False)
    directly = results(g, dtype)
    fastdl.set_winograd(True)
    return by_winograd, directly


def square(N, C, OUT, image, padding=(1, 1), behind=None):
    return Geometry(N, C, OUT, image, (3, 3), padding=padding, behind=behind)


TAKEN = {
    "whole tiles": square(2, 32, 32, (16, 16)),
    "no padding": square(3, 16, 16, (11, 14), (0, 0)),
    "wide padding": square(3, 16, 32, (7, 9), (2, 2)),
    "padding of rows only": square(3, 32, 16, (9, 10), (1, 0)),
    "padding of columns only": square(2, 16, 16, (10, 9), (0, 2)),
    "one more zero behind": square(2, 16, 16, (9, 12), (0, 1), (2, 2)),
    "images of one pixel": square(130, 16, 17, (1, 1)),
    "images of two rows": square(20, 17, 16, (2, 7)),
    "images of one column": square(30, 20, 18, (9, 1)),
    "outputs of one pixel": square(140, 16, 16, (3, 3), (0, 0)),
    "five pixels each way": square(9, 24, 40, (5, 5)),
    "one row of tiles": square(2, 18, 16, (4, 70)),
    "odd channels": square(3, 19, 37, (13, 11)),
    "channels of a tile and one": square(2, 33, 33, (9, 10)),
    "channels of two slices": square(2, 65, 31, (8, 9)),
    "channels of three slices": square(1, 130, 70, (12, 13)),
    "many outputs": square(2, 16, 150, (9, 9)),
    "weights in one sum": square(3, 140, 136, (14, 13)),
    "a wide image": square(1, 16, 16, (5, 301)),
    "a tall image": square(1, 16, 24, (203, 6)),
    "lines of several strips": square(1, 17, 16, (90, 40)),
    "many images": square(150, 16, 16, (6, 5)),
}


@pytest.mark.parametrize("name", TAKEN)
def test_it_is_numpys_windows(each_level, setting, name):
    fastdl.set_winograd(True)
    for _ in each_level():
        agree(TAKEN[name], by_windows(TAKEN[name]), np.float32, 100)


@pytest.mark.parametrize("name", TAKEN)
def test_it_is_taken_and_can_be_forbidden(each_level, setting, name):
    for _ in each_level():
        for fast, direct in zip(*ways(TAKEN[name]), strict=True):
            assert (fast != direct).any()


LEFT = {
    "two groups": Geometry(2, 32, 32, (16, 16), (3, 3), padding=(1, 1), groups=2),
    "stride": Geometry(2, 32, 32, (32, 32), (3, 3), (1, 2), (1, 1)),
    "dilation": Geometry(2, 32, 32, (16, 16), (3, 3), padding=(2, 1), dilation=(2, 1)),
    "another kernel": Geometry(2, 32, 32, (16, 16), (3, 2), padding=(1, 1)),
    "nine in a row": Geometry(2, 32, 32, (16, 16), (1, 9), padding=(0, 4)),
    "far padding": Geometry(2, 32, 32, (16, 16), (3, 3), padding=(3, 1)),
    "few channels": square(2, 15, 32, (16, 16)),
    "few outputs": square(2, 32, 15, (16, 16)),
    "few pixels": square(1, 32, 32, (8, 8)),
    "an image too wide": square(1, 200, 200, (1, 1000)),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_does_not_suit_goes_directly(setting, name):
    for one, other in zip(*ways(LEFT[name]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_float64_goes_directly(level, setting):
    for one, other in zip(*ways(TAKEN["whole tiles"], np.float64), strict=True):
        np.testing.assert_array_equal(one, other)


@st.composite
def geometries(draw):
    """Convolutions of 3 x 3 weights that may suit."""
    C, OUT = draw(st.integers(16, 80)), draw(st.integers(16, 80))
    before, behind = (draw(st.tuples(st.integers(0, 2), st.integers(0, 2))) for _ in range(2))
    least = [max(3 - p - q, 1) for p, q in zip(before, behind, strict=True)]
    image = least[0] + draw(st.integers(0, 14)), least[1] + draw(st.integers(0, 40))
    return square(draw(st.integers(0, 12)), C, OUT, image, before, behind)


@settings(max_examples=40)
@given(geometries(), st.sampled_from(fastdl.cpu_levels()))
def test_any_convolution_is_numpys_windows(geometry, level):
    before = fastdl.cpu_level()
    set_cpu_level(level)
    try:
        agree(geometry, by_windows(geometry), np.float32, 200)
    finally:
        set_cpu_level(before)


@pytest.mark.parametrize(
    "name", ["odd channels", "channels of three slices", "weights in one sum", "a wide image", "many images"]
)
def test_the_number_of_threads_changes_no_bit(level, threads, setting, name):
    found = []
    for n in (1, 2, 3):
        fastdl.set_num_threads(n)
        found.append(results(TAKEN[name], np.float32))
    for other in found[1:]:
        for one, more in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, more)


def test_an_image_alone_gives_the_bits_that_it_gives_among_others(level, setting):
    x, W, b, *_ = (array.astype(np.float32) for array in square(7, 40, 40, (16, 17)).arrays())
    y = np.empty_like(x)
    conv.conv_forward(x, W, b, (1, 1), (1, 1), (1, 1), 1, y)
    for n in range(7):
        alone = np.empty_like(y[:1])
        conv.conv_forward(x[n : n + 1].copy(), W, b, (1, 1), (1, 1), (1, 1), 1, alone)
        np.testing.assert_array_equal(alone[0], y[n])


@pytest.mark.parametrize(
    "g", [square(8, 16, 16, (28, 28)), square(4, 64, 64, (32, 32)), square(3, 320, 320, (16, 16))], ids=str
)
def test_the_errors_are_those_that_are_stated(level, setting, g):
    (y, gx, gW), direct = ways(g)
    want = by_windows(g)
    _, _, b, *_ = g.arrays()
    for got, plain, exact, largest in zip(
        (y, gx, gW), direct, (want[0] + b[:, None, None], *want[1:3]), (1.1e-5, 1.1e-5, 6e-6), strict=True
    ):
        scale = np.sqrt(np.mean(exact**2))
        error, plain_error = np.abs(got - exact) / scale, np.abs(plain - exact) / scale
        assert error.max() < largest
        assert np.sqrt(np.mean(error**2)) < 9e-7
        assert np.sqrt(np.mean(error**2)) < 3.2 * np.sqrt(np.mean(plain_error**2))


def test_a_nan_reaches_all_that_see_it_and_stays_within_their_tiles(level, setting):
    g = square(2, 16, 16, (12, 16))
    x, W, b, gy, *_ = (array.astype(np.float32) for array in g.arrays())
    x[1, 3, 5, 6] = np.nan
    conv.conv_forward(x, W, b, *g.options, gy)
    # The pixel is seen from (4, 5) to (6, 7): from the tile of rows and columns 4 to 7.
    assert np.isnan(gy[1, :, 4:7, 5:8]).all()
    assert not np.isnan(gy[0]).any()
    gy[1, :, 4:8, 4:8] = 0
    assert not np.isnan(gy).any()
    fastdl.set_winograd(False)
    conv.conv_forward(x, W, b, *g.options, gy)
    assert np.isnan(gy).sum() == 16 * 9


def test_it_is_on_until_it_is_forbidden(python, setting):
    fastdl.set_winograd(False)
    assert fastdl.get_winograd() is False
    fastdl.set_winograd(True)
    assert fastdl.get_winograd() is True
    code = "import fastdl; print(fastdl.get_winograd())"
    assert python(code, FASTDL_WINOGRAD="").stdout == "True\n"
    assert python(code, FASTDL_WINOGRAD="0").stdout == "False\n"
    assert python(code, FASTDL_WINOGRAD="1").stdout == "True\n"
    refused = python(code, FASTDL_WINOGRAD="off")
    assert refused.returncode == 1
    assert "ImportError: FASTDL_WINOGRAD: expected 0 or 1, got 'off'" in refused.stderr
