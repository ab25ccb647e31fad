"""Nodes of matrix products, against np.matmul: stacks of matrices in every layout."""

import numpy as np
import pytest

import fastdl
from fastdl.reference import matmul as reference
from tests._kernels.nodes import elements, run


def matmul(a, b, dtype, out=None):
    """np.matmul as a node: axes (*batch, m, n, k)."""
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    m, k, n = *a.shape[-2:], b.shape[-1]
    out = np.empty((*batch, m, n), dtype) if out is None else out
    one, other = np.broadcast_to(a, (*batch, m, k)), np.broadcast_to(b, (*batch, k, n))
    strides = [
        (*elements(out), 0),
        (*elements(one)[:-1], 0, elements(one)[-1]),
        (*elements(other)[:-2], 0, elements(other)[-1], elements(other)[-2]),
    ]
    assert run("matmul", {}, (*batch, m, n, k), [out, a, b], dtype, (), strides) == 0
    return out


def numbers(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def layouts(x):
    yield x
    yield np.ascontiguousarray(np.swapaxes(x, -1, -2)).swapaxes(-1, -2)
    yield x[..., ::-1, ::-1]
    yield np.repeat(x, 2, -1)[..., ::2]
    yield np.broadcast_to(x[..., :1, :], x.shape)
    yield np.broadcast_to(x[..., :, :1], x.shape)


def check(got, a, b, dtype):
    want = np.matmul(a.astype(np.float64), b.astype(np.float64))
    scale = np.matmul(np.abs(a).astype(np.float64), np.abs(b).astype(np.float64))
    assert (np.abs(got - want) <= 8 * np.finfo(dtype).eps * max(1, a.shape[-1]) ** 0.5 * scale).all()


SIZES = [
    (1, 1, 1),
    (1, 5, 7),
    (5, 1, 7),
    (5, 7, 1),
    (1, 1, 9),
    (4, 3, 0),
    (0, 3, 2),
    (3, 0, 2),
    (17, 33, 9),
    (64, 64, 64),
]
SIZES += [(200, 150, 130), (1, 300, 200), (300, 1, 200)]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_products_are_numpys(level, dtype, sizes):
    m, n, k = sizes
    for a in layouts(numbers((m, k), dtype)):
        for b in layouts(numbers((k, n), dtype, 1)):
            check(matmul(a, b, dtype), a, b, dtype)
    a, b = numbers((m, k), dtype), numbers((k, n), dtype, 1)
    out = np.full((m, n + 3), 7, dtype)
    check(matmul(a, b, dtype, out[:, :n]), a, b, dtype)
    np.testing.assert_array_equal(out[:, n:], 7)


@pytest.mark.parametrize(
    "batches", [((6,), (6,)), ((6,), ()), ((), (6,)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((0,), ())], ids=str
)
def test_stacks_broadcast(each, each_level, dtype, batches):
    for sizes in each(sizes=[(1, 1, 1), (3, 4, 5), (1, 4, 5), (4, 1, 5), (8, 16, 8)]):
        for _ in each_level():
            m, n, k = sizes
            for a in layouts(numbers((*batches[0], m, k), dtype)):
                for b in layouts(numbers((*batches[1], k, n), dtype, 1)):
                    check(matmul(a, b, dtype), a, b, dtype)


def test_threads_change_no_bit(level, dtype, threads):
    a, b = numbers((40, 33, 64), dtype), numbers((40, 64, 65), dtype, 1)
    found = []
    for n in (1, 2, 4):
        fastdl.set_num_threads(n)
        found.append((matmul(a, b, dtype), matmul(a, b[0], dtype)))
    for each in found[1:]:
        np.testing.assert_array_equal(each[0], found[0][0])
        np.testing.assert_array_equal(each[1], found[0][1])


def test_products_are_the_references(level, dtype):
    a, b = numbers((2, 3, 4, 5), dtype), numbers((2, 3, 5, 6), dtype, 1)
    want = np.empty((2, 3, 4, 6), dtype)
    reference.matmul(a, b, want)
    np.testing.assert_allclose(matmul(a, b, dtype), want, rtol=1e3 * np.finfo(dtype).eps, atol=10 * np.finfo(dtype).eps)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 4, 5), (1, 7, 2), (4, 3, 0), (0, 3, 2)], ids=str)
def test_products_of_whole_numbers_are_exact(each_level, sizes):
    m, n, k = sizes
    rng = np.random.default_rng(0)
    for _ in each_level():
        for dtype in (np.float32, np.float64):
            for a in layouts(rng.integers(-(2**62), 2**62, (2, 1, m, k))):
                for b in layouts(rng.integers(-9, 9, (3, k, n))):
                    out = np.empty((2, 3, m, n), np.int64)
                    matmul(a, b, dtype, out)
                    np.testing.assert_array_equal(out, np.matmul(a, b))
