"""Images whose channels come last, and files with a part to train and one to test."""

import numpy as np
import pytest

from fastdl.data import load_data, load_inputs, read_npz

Y = np.arange(6) % 3


def saved(tmp_path, x):
    np.savez(tmp_path / "set.npz", x=x, y=Y)
    return tmp_path / "set.npz"


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_come_first_whatever_the_file_has(tmp_path, dtype, channels):
    x = np.random.default_rng(0).integers(0, 255, (6, 12, 12, channels)).astype(dtype)
    path = saved(tmp_path, x)
    with pytest.warns(UserWarning, match=r"images of shape \(6, 12, 12, \d\) in .* are read as channels last"):
        found = load_data(path)
    assert found.x.shape == (6, channels, 12, 12)
    assert found.x.flags.c_contiguous
    scale = 255 if dtype == np.uint8 else 1
    np.testing.assert_allclose(found.x[2, channels - 1, 3, 5] * scale, x[2, 3, 5, channels - 1], rtol=1e-6)
    assert (load_data(path, layout="channels_last").x == found.x).all()
    assert load_data(path, layout="channels_first").x.shape == x.shape
    assert (load_inputs(path, layout="channels_last") == found.x).all()


@pytest.mark.parametrize("shape", [(6, 3, 12, 12), (6, 3, 4, 4), (6, 1, 8, 3), (6, 16, 5, 5), (6, 3, 8, 6)])
def test_channels_first_stay(tmp_path, shape):
    if shape == (6, 1, 8, 3):
        with pytest.raises(ValueError, match=r"write layout='channels_first' or layout='channels_last'"):
            load_data(saved(tmp_path, np.zeros(shape)))
        assert load_data(saved(tmp_path, np.zeros(shape)), layout="channels_first").x.shape == shape
    else:
        assert load_data(saved(tmp_path, np.zeros(shape))).x.shape == shape


@pytest.mark.parametrize(
    ("shape", "dtype"), [((6, 3, 3, 3), np.uint8), ((6, 64, 10, 3), np.float32), ((6, 3, 8, 3), np.uint8)]
)
def test_a_layout_that_may_be_either_is_asked_for(tmp_path, shape, dtype):
    path = saved(tmp_path, np.zeros(shape, dtype))
    for load in (load_data, load_inputs):
        with pytest.raises(
            ValueError, match=rf"^{load.__name__}: .* write layout='channels_first' or layout='channels_last'"
        ):
            load(path)
    assert load_data(path, layout="channels_last").x.shape == (6, shape[3], shape[1], shape[2])


def test_a_layout_is_one_of_two_and_for_images(tmp_path):
    path = saved(tmp_path, np.zeros((6, 8)))
    with pytest.raises(ValueError, match="expected one of channels_first, channels_last for layout, got 'NHWC'"):
        load_data(path, layout="NHWC")
    with pytest.raises(
        ValueError, match=r"expected images of four dimensions for layout='channels_last', got \(6, 8\)"
    ):
        load_data(path, layout="channels_last")


def test_parts_of_a_file_of_four(tmp_path):
    x, y = np.zeros((6, 8, 8), np.uint8), Y
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=x, y_train=y, x_test=x[:2] + 255, y_test=y[:2])
    assert load_data(path).x.shape == load_data(path, part="train").x.shape == (6, 1, 8, 8)
    assert load_data(path, part="test").x.min() == 1
    assert len(load_inputs(path, part="test")) == 2
    with pytest.raises(ValueError, match="expected one of train, test for part, got 'valid'"):
        read_npz(path, "valid")
    with pytest.raises(ValueError, match="called x_test and y_test, got 'x', 'y'"):
        load_data(saved(tmp_path, x), part="test")
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match=r"expected part for an \.npz file only"):
        load_inputs(tmp_path / "x.npy", part="test")
