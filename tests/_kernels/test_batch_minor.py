"""Linear with one sample in each lane, and the order of an epoch's samples, against their loops."""

import numpy as np
import pytest

import fastdl
from fastdl._kernels import batch_minor, linear, shuffle
from fastdl.random import permutation
from fastdl.reference import batch_minor as naive
from fastdl.reference import shuffle as naive_shuffle

SIZES = [(1, 1, 1), (3, 2, 5), (17, 25, 25), (100, 25, 2), (33, 2, 31), (64, 64, 7), (100, 1, 64)]


def samples_by_features(rng, N, I, dtype, beyond=np.nan):
    """x (N, I), and the same batch-minor; what stands behind the last sample's register must not matter."""
    x = rng.standard_normal((N, I)).astype(dtype)
    turned = np.full((I, batch_minor.batch_minor_length(N)), beyond, dtype)
    batch_minor.to_batch_minor(x, turned)
    return x, turned


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("N", "I", "O"), SIZES)
def test_batch_minor_are_their_loops(level, dtype, N, I, O):
    rng = np.random.default_rng(N + I)
    tolerance = {"rtol": 2e-5, "atol": 2e-5} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-12}
    x, turned = samples_by_features(rng, N, I, dtype)
    _, turned_gy = samples_by_features(rng, N, O, dtype)
    W, b = rng.standard_normal((O, I)).astype(dtype), rng.standard_normal(O).astype(dtype)
    np.testing.assert_array_equal(turned[:, :N], x.T)
    back = np.full((N, I), np.nan, dtype)
    batch_minor.from_batch_minor(turned, back)
    np.testing.assert_array_equal(back, x)
    for bias in (b, None):
        y, expected = np.zeros_like(turned_gy), np.zeros_like(turned_gy)
        batch_minor.batch_minor_forward(turned, W, bias, N, y)
        naive.batch_minor_forward(turned, W, bias, N, expected)
        np.testing.assert_allclose(y[:, :N], expected[:, :N], **tolerance)
    gx, expected = np.zeros_like(turned), np.zeros_like(turned)
    batch_minor.batch_minor_backward_input(turned_gy, W, N, gx)
    naive.batch_minor_backward_input(turned_gy, W, N, expected)
    np.testing.assert_allclose(gx[:, :N], expected[:, :N], **tolerance)
    for accumulate in (False, True):
        start = rng.standard_normal((O, I)).astype(dtype), rng.standard_normal(O).astype(dtype)
        got, wanted = [a.copy() for a in start], [a.copy() for a in start]
        batch_minor.batch_minor_backward_weight(turned_gy, turned, N, accumulate, *got)
        naive.batch_minor_backward_weight(turned_gy, turned, N, accumulate, *wanted)
        for one, other in zip(got, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=tolerance["rtol"], atol=N * tolerance["atol"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("N", "I", "O"), [*SIZES, (1, 9, 5), (1, 64, 64), (2, 20, 17)])
def test_the_outputs_are_those_of_the_other_layout_by_the_bit(level, dtype, N, I, O):
    rng = np.random.default_rng(N + I)
    x, turned = samples_by_features(rng, N, I, dtype)
    W, b = rng.standard_normal((O, I)).astype(dtype), rng.standard_normal(O).astype(dtype)
    y, turned_y = np.empty((N, O), dtype), np.full((O, turned.shape[1]), np.nan, dtype)
    for bias in (b, None):
        linear.linear_forward(x, W, bias, y)
        batch_minor.batch_minor_forward(turned, W, bias, N, turned_y)
        np.testing.assert_array_equal(turned_y[:, :N], y.T)


def test_zeros_stand_behind_the_last_sample(level):
    _, turned = samples_by_features(np.random.default_rng(0), 17, 20, np.float32, beyond=7)
    assert not turned[:, 17:20].any()


def test_many_samples_give_the_same_bits_on_one_thread_and_on_two(threads):
    rng = np.random.default_rng(0)
    N = 10_000
    _, x = samples_by_features(rng, N, 30, np.float32, beyond=0)
    _, gy = samples_by_features(rng, N, 20, np.float32, beyond=0)
    W, b = rng.standard_normal((20, 30)).astype(np.float32), rng.standard_normal(20).astype(np.float32)
    found = []
    for number in (1, 2):
        fastdl.set_num_threads(number)
        y, gx, gW, gb = np.zeros_like(gy), np.zeros_like(x), np.zeros_like(W), np.zeros_like(b)
        batch_minor.batch_minor_forward(x, W, b, N, y)
        batch_minor.batch_minor_backward_input(gy, W, N, gx)
        batch_minor.batch_minor_backward_weight(gy, x, N, False, gW, gb)
        found.append((y, gx, gW, gb))
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_allclose(
        found[0][2], gy[:, :N].astype(np.float64) @ x[:, :N].T.astype(np.float64), rtol=1e-3, atol=1e-2
    )
    np.testing.assert_allclose(found[0][3], gy[:, :N].sum(axis=1, dtype=np.float64), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 300, 1000])
def test_the_order_is_its_loop(level, n):
    seed, order = 2**64 - 59, np.empty(n, np.int64)
    expected = order.copy()
    shuffle.shuffle(seed, order)
    naive_shuffle.shuffle(seed, expected)
    np.testing.assert_array_equal(order, expected)


def test_every_order_is_equally_likely():
    rng = np.random.default_rng(0)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(24_000):
        order = tuple(permutation(4, rng).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    # 23 degrees of freedom: a chi square beyond 60 comes once in 30,000 seeds.
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 60
