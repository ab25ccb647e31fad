"""Data: what the generators draw, what the transforms keep, and what an epoch of batches holds."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fastdl.data import Standardize, ball, batches, digits, disk, one_hot, pixels, standardize, transform
from fastdl.random import manual_seed


def test_disk_points_fill_the_unit_square_evenly():
    x, _ = disk(40_000, rng=0, dtype=np.float64)
    counts, _, _ = np.histogram2d(*x.T, bins=4, range=[[0, 1], [0, 1]])
    assert counts.sum() == 40_000
    assert np.abs(counts - 2500).max() < 5 * math.sqrt(2500)


def test_disk_labels_say_whether_a_point_lies_inside():
    x, labels = disk(10_000, rng=0)
    radius = np.hypot(*(x.astype(np.float64) - 0.5).T)
    assert (labels == (radius < 1 / math.sqrt(2 * math.pi))).all()


def test_disk_covers_half_of_the_points():
    _, labels = disk(100_000, rng=0)
    assert labels.mean() == pytest.approx(0.5, abs=0.008)


def test_disk_gives_contiguous_float32_points_and_int64_labels():
    x, labels = disk(7)
    assert (x.shape, x.dtype, x.flags.c_contiguous) == ((7, 2), np.float32, True)
    assert (labels.shape, labels.dtype) == ((7,), np.int64)


def test_disk_draws_the_same_points_in_both_dtypes():
    single, double = disk(100, rng=0)[0], disk(100, rng=0, dtype="float64")[0]
    assert (single == double.astype(np.float32)).all()


def test_disk_follows_the_default_seed_and_goes_on_with_a_generator():
    manual_seed(5)
    assert (disk(10)[0] == disk(10, rng=5)[0]).all()
    rng = np.random.default_rng(5)
    assert (disk(10, rng)[0] != disk(10, rng)[0]).any()


@pytest.mark.parametrize("draw", [disk, ball])
@pytest.mark.parametrize("n", [1.0, "1", True, None])
def test_what_is_drawn_is_counted_in_integers(draw, n):
    with pytest.raises(TypeError, match=f"{draw.__name__}: expected a positive integer for n, got "):
        draw(n)


@pytest.mark.parametrize("draw", [disk, ball])
@pytest.mark.parametrize("n", [0, -1])
def test_at_least_one_is_drawn(draw, n):
    with pytest.raises(ValueError, match=f"{draw.__name__}: expected a positive integer for n, got {n}"):
        draw(n)


@pytest.mark.parametrize("draw", [disk, ball])
def test_what_is_drawn_is_floats(draw):
    with pytest.raises(TypeError, match=f"{draw.__name__}: expected dtype float32 or float64"):
        draw(3, dtype=int)


def test_ball_labels_say_whether_an_image_lies_within_2_of_the_centre():
    x, labels = ball(2000, rng=0)
    for image, label in zip(x.astype(np.float64), labels, strict=True):
        assert label == (math.dist(image.ravel(), [0.5] * 48) < 2)


def test_ball_images_are_uniform_and_half_of_them_lie_inside():
    x, labels = ball(50_000, rng=0)
    assert (x.shape, x.dtype, x.flags.c_contiguous) == ((50_000, 3, 4, 4), np.float32, True)
    assert (labels.shape, labels.dtype) == ((50_000,), np.int64)
    assert labels.mean() == pytest.approx(0.5057, abs=0.012)
    counts, _ = np.histogram(x, bins=10, range=(0, 1))
    assert np.abs(counts - 240_000).max() < 5 * math.sqrt(240_000)


def test_ball_draws_the_same_images_in_both_dtypes_and_follows_the_seed():
    single, double = ball(100, rng=0)[0], ball(100, rng=0, dtype="float64")[0]
    assert (single == double.astype(np.float32)).all()
    manual_seed(5)
    assert (ball(10)[0] == ball(10, rng=5)[0]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_digits_are_scikit_learns_from_0_to_1(dtype):
    datasets = pytest.importorskip("sklearn.datasets")
    x, labels = digits(dtype)
    found = datasets.load_digits()
    assert (x.shape, x.dtype, x.min(), x.max(), x.flags.c_contiguous) == ((1797, 1, 8, 8), dtype, 0, 1, True)
    assert (x[:, 0] * 16 == found.images).all()
    assert (labels == found.target).all()
    assert labels.dtype == np.int64


def test_digits_without_scikit_learn_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'digits: needs scikit-learn; write pip install "\.\[sklearn\]"'):
        digits()
    with pytest.raises(TypeError, match="digits: expected dtype float32 or float64"):
        digits(int)


def test_pixels_go_from_0_to_1(dtype):
    y = pixels(np.arange(256, dtype=np.uint8).reshape(16, 16).T, dtype)
    assert (y.dtype, y.flags.c_contiguous) == (dtype, True)
    assert (y.T.ravel() == (np.arange(256, dtype=dtype) / dtype(255))).all()


@pytest.mark.parametrize("images", [np.zeros(3), np.zeros(3, np.int16), [1, 2]])
def test_only_bytes_are_pixels(images):
    with pytest.raises(TypeError, match="pixels: expected an array of uint8, got "):
        pixels(images)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_training_set_comes_out_with_mean_0_and_deviation_1(dtype):
    x = np.random.default_rng(0).normal([5, -3], [0.1, 20], (1000, 2)).astype(dtype)
    (y,) = standardize(x)
    assert y.dtype == dtype
    assert y.mean(axis=0, dtype=np.float64) == pytest.approx(0, abs=1e-5)
    assert y.std(axis=0, dtype=np.float64) == pytest.approx(1, rel=1e-5)


def test_other_sets_are_moved_by_the_training_sets_mean_and_deviation():
    train, test = np.array([[0.0], [4.0]]), np.array([[6.0], [2.0], [0.0]])
    ours, theirs = standardize(train, test)
    assert ours.tolist() == [[-1], [1]]
    assert theirs.tolist() == [[2], [0], [-1]]


def test_standardize_leaves_its_input_alone():
    x = np.array([[1.0], [3.0]])
    standardize(x)
    assert x.tolist() == [[1], [3]]


def test_the_deviation_is_over_n():
    assert Standardize().fit(np.array([0.0, 2.0])).std == 1


@pytest.mark.parametrize("value", [0.1, 1e-30, 1e30, 0.0, -7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_column_goes_to_zero_and_back(value, dtype):
    x = np.full((1000, 1), value, dtype)
    scale = Standardize().fit(x)
    assert scale.std == [1]
    assert (scale.transform(x) == 0).all()
    assert (scale.inverse(scale.transform(x)) == x).all()


def test_a_column_too_narrow_for_its_square_keeps_finite_values():
    scale = Standardize().fit(np.array([[1e-200], [3e-200]]))
    assert np.isfinite(scale.transform(np.array([[1e-200]]))).all()


@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 8), st.integers(1, 3)),
        elements=st.floats(-1e6, 1e6, allow_subnormal=False),
    )
)
def test_inverse_undoes_transform(x):
    scale = Standardize().fit(x)
    assert scale.inverse(scale.transform(x)) == pytest.approx(x, rel=1e-12, abs=1e-9)


def test_images_are_standardized_pixel_by_pixel():
    x = np.random.default_rng(0).normal(size=(50, 3, 4, 4))
    scale = Standardize().fit(x)
    assert scale.mean.shape == scale.std.shape == (3, 4, 4)
    assert scale.transform(x).mean(axis=0) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("shape", [(50, 3, 4, 5), (50, 3, 7), (50, 3)])
def test_images_are_standardized_channel_by_channel_where_that_is_asked_for(shape):
    x = np.random.default_rng(0).normal([[[[5]], [[-3]], [[0]]]], [[[[1]], [[9]], [[1e-3]]]], (50, 3, 4, 5))
    x = np.ascontiguousarray(x.reshape(50, 3, -1)[:, :, : math.prod(shape[2:])].reshape(shape))
    scale = Standardize().fit(x, per="channel")
    assert scale.mean.shape == scale.std.shape == shape[1:]
    for c in range(3):
        assert np.unique(scale.mean[c]).tolist() == [pytest.approx(x[:, c].mean())]
        assert np.unique(scale.std[c]).tolist() == [pytest.approx(x[:, c].std())]
    found = scale.transform(x)
    assert found[:, 1].mean() == pytest.approx(0, abs=1e-12)
    assert found[:, 1].std() == pytest.approx(1)
    scale.load_state_dict(scale.state_dict())
    assert (scale.transform(x) == found).all()


def test_a_constant_channel_goes_to_zero():
    x = np.ones((4, 2, 3, 3), np.float32)
    x[:, 1] = 0.1
    scale = Standardize().fit(x, per="channel")
    assert (scale.std == 1).all()
    assert (scale.transform(x) == 0).all()


@pytest.mark.parametrize("x", [np.ones(3), np.ones((3, 0)), np.ones((3, 2, 0))])
def test_without_channels_nothing_is_standardized_by_them(x):
    with pytest.raises(ValueError, match=r"Standardize\.fit: expected channels, .*\(n, channels, \.\.\.\), got \(3"):
        Standardize().fit(x, per="channel")
    with pytest.raises(ValueError, match=r"Standardize\.fit: expected one of column, channel for per, got 'row'"):
        Standardize().fit(x, per="row")


def test_many_rows_are_standardized_as_few_are():
    x = np.random.default_rng(0).normal(3, 2, (3 * transform.BLOCK + 5, 2)).astype(np.float32)
    scale = Standardize().fit(x)
    assert (scale.transform(x) == ((x - scale.mean) / scale.std).astype(np.float32)).all()


def test_what_float32_cannot_hold_becomes_infinite_without_a_word():
    scale = Standardize().fit(np.array([[0], [1e-30]], np.float32))
    assert np.isinf(scale.transform(np.array([[1e20]], np.float32))).all()


def test_a_nan_stays_one_on_the_way_through():
    scale = Standardize().fit(np.array([[1.0], [3.0]]))
    assert np.isnan(scale.transform(np.array([[np.nan]]))).all()


def test_the_state_is_two_arrays_that_another_can_take_over():
    x = np.random.default_rng(0).normal(3, 2, (20, 2))
    scale, other = Standardize().fit(x), Standardize()
    state = scale.state_dict()
    assert sorted(state) == ["mean", "std"]
    other.load_state_dict(state)
    state["mean"][:] = 99
    assert (other.transform(x) == scale.transform(x)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_training_set_must_be_finite(bad):
    with pytest.raises(ValueError, match=r"Standardize\.fit: expected finite values"):
        standardize(np.array([[1.0], [bad]]))


def test_a_training_set_must_have_squares():
    with pytest.raises(ValueError, match="squares float64 can hold"):
        standardize(np.array([[1e300], [-1e300]]))


@pytest.mark.parametrize("x", [np.zeros((0, 2)), np.ones(())])
def test_a_training_set_must_have_rows(x):
    with pytest.raises(ValueError, match="expected an array of at least one row"):
        standardize(x)


@pytest.mark.parametrize("x", [np.zeros((3, 2), int), np.zeros(3, np.float16), [[1.0]], None])
def test_only_arrays_of_floats_are_standardized(x):
    with pytest.raises(TypeError, match="expected an array of float32 or float64, got "):
        standardize(x)
    with pytest.raises(TypeError, match="expected an array of float32 or float64, got "):
        standardize(np.ones((3, 2)), x)


def test_other_sets_must_have_the_same_columns():
    with pytest.raises(ValueError, match=r"transform: expected an array of shape \(n, 2\), got \(3, 1\)"):
        standardize(np.ones((3, 2)), np.ones((3, 1)))
    with pytest.raises(ValueError, match=r"inverse: expected an array of shape \(n,\), got \(3, 1\)"):
        Standardize().fit(np.ones(3)).inverse(np.ones((3, 1)))


@pytest.mark.parametrize(
    "use", [lambda s: s.transform(np.ones(2)), lambda s: s.inverse(np.ones(2)), Standardize.state_dict]
)
def test_nothing_works_before_fit(use):
    with pytest.raises(RuntimeError, match=r"call fit\(x\) first"):
        use(Standardize())


@pytest.mark.parametrize(
    "state",
    [
        {"mean": np.zeros(2)},
        {"mean": np.zeros(2), "std": np.ones(3)},
        {"mean": np.zeros(2), "std": np.zeros(2)},
        {"mean": np.array([np.nan]), "std": np.ones(1)},
    ],
)
def test_a_broken_state_is_refused_and_changes_nothing(state):
    scale = Standardize().fit(np.array([1.0, 3.0]))
    with pytest.raises(ValueError, match=r"^Standardize\.load_state_dict: expected "):
        scale.load_state_dict(state)
    assert (scale.mean, scale.std) == (2, 1)


@given(arrays.arrays(np.int64, arrays.array_shapes(max_dims=3, min_side=0, max_side=4), elements=st.integers(0, 5)))
def test_one_hot_has_a_single_one_and_it_is_at_the_label(labels):
    y = one_hot(labels, classes=6)
    assert y.shape == (*labels.shape, 6)
    assert (y.sum(axis=-1) == 1).all()
    assert (y.argmax(axis=-1) == labels).all()
    assert y.flags.c_contiguous


def test_one_hot_counts_the_classes_itself():
    assert one_hot(np.array([2, 0])).shape == (2, 3)
    assert one_hot(np.array([], int), classes=3).shape == (0, 3)


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.uint64])
def test_one_hot_takes_any_integers(kind):
    assert one_hot(np.array([1, 0], kind), dtype=np.float64).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(("labels", "wrong"), [([0, 3], 3), ([-1, 0], -1), ([2**63], 2**63)])
def test_one_hot_names_a_label_out_of_range(labels, wrong):
    with pytest.raises(ValueError, match=f"one_hot: expected labels from 0 to 2, got {wrong}"):
        one_hot(labels, classes=3)


def test_one_hot_does_not_count_from_the_end():
    with pytest.raises(ValueError, match="got -1"):
        one_hot([-1, 2])


@pytest.mark.parametrize("labels", [[0.0, 1.0], [True, False], ["a"], None])
def test_one_hot_wants_integers(labels):
    with pytest.raises(TypeError, match="one_hot: expected integer labels, got "):
        one_hot(labels)


def test_one_hot_wants_to_know_the_classes_of_no_labels():
    with pytest.raises(ValueError, match="expected at least one label"):
        one_hot(np.array([], int))


@pytest.mark.parametrize(("classes", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError)])
def test_one_hot_has_at_least_one_class(classes, error):
    with pytest.raises(error, match="one_hot: expected a positive integer for classes, got "):
        one_hot([0], classes)


X, Y = np.arange(20.0).reshape(10, 2), np.arange(10)


@given(n=st.integers(0, 30), size=st.integers(1, 35), shuffle=st.booleans(), drop_last=st.booleans())
def test_an_epoch_holds_every_row_once_beside_its_target(n, size, shuffle, drop_last):
    x, y = np.arange(2.0 * n).reshape(n, 2), np.arange(n)
    epoch = list(batches(x, y, size, shuffle=shuffle, rng=0, drop_last=drop_last))
    sizes = [len(yb) for _, yb in epoch]
    assert sizes == [size] * (n // size) + ([n % size] if n % size and not drop_last else [])
    rows = [int(i) for _, yb in epoch for i in yb]
    assert len(set(rows)) == len(rows)
    assert all((xb == x[yb]).all() for xb, yb in epoch)
    assert shuffle or rows == list(range(len(rows)))


def test_the_order_is_a_fair_permutation():
    rng = np.random.default_rng(0)
    first = [next(batches(X, Y, 1, rng=rng))[1][0] for _ in range(5000)]
    counts = np.bincount(first, minlength=10)
    assert np.abs(counts - 500).max() < 5 * math.sqrt(500)


def test_a_seed_repeats_the_order_and_a_generator_goes_on():
    def order(rng):
        return [int(i) for _, yb in batches(X, Y, 3, rng=rng) for i in yb]

    rng = np.random.default_rng(1)
    assert order(1) == order(1) == order(rng) != order(rng)
    manual_seed(1)
    assert order(None) == order(1)


def test_shuffled_batches_are_contiguous_copies_of_the_same_dtype():
    x = np.asfortranarray(X.astype(np.float32))
    xb, yb = next(batches(x, Y, 4, rng=0))
    assert (xb.dtype, yb.dtype) == (np.float32, Y.dtype)
    assert xb.flags.c_contiguous
    assert not np.shares_memory(xb, x)


def test_unshuffled_batches_are_views_and_draw_nothing():
    rng = np.random.default_rng(0)
    for xb, yb in batches(X, Y, 4, shuffle=False, rng=rng):
        assert np.shares_memory(xb, X)
        assert np.shares_memory(yb, Y)
    assert rng.random() == np.random.default_rng(0).random()


def test_different_lengths_are_reported_at_the_call():
    with pytest.raises(ValueError, match="batches: expected as many rows in x as in y, got 10 and 9"):
        batches(X, Y[:9], 2)


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (-2, ValueError), (2.0, TypeError), (True, TypeError)])
def test_a_batch_has_at_least_one_row(size, error):
    with pytest.raises(error, match="batches: expected a positive integer for batch_size, got "):
        batches(X, Y, size)


def test_batches_are_shuffled_and_dropped_by_true_or_false():
    with pytest.raises(TypeError, match="batches: expected True or False for shuffle, got 1"):
        batches(X, Y, 2, shuffle=1)
    with pytest.raises(TypeError, match="batches: expected True or False for drop_last, got 'last'"):
        batches(X, Y, 2, drop_last="last")


@pytest.mark.parametrize(("x", "y", "name"), [([1.0], Y, "x"), (X, None, "y")])
def test_batches_are_cut_from_arrays(x, y, name):
    with pytest.raises(TypeError, match=f"batches: expected {name} to be an array"):
        batches(x, y, 2)


def test_a_single_value_has_no_rows():
    with pytest.raises(ValueError, match="batches: expected y to have rows"):
        batches(X, np.ones(()), 2)
