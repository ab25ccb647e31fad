"""Whole numbers and truth values in traced code: NumPy's results, exact in 64 bits, natively and line by line."""

import numpy as np
import pytest

import fastdl
from fastdl import nn

BIG = 2**24 + 1  # the first whole number that float32 does not hold
I = np.array([[BIG, 3, -4], [0, 300, -BIG], [7, -1, 2**40 + 1], [-129, 128, 5]])
J = np.array([[6, 8, 3], [1, 2, 3], [-1, 62, 4], [9, 0, 12]])


class Of(nn.Module):
    """A function of whole numbers, beside a parameter."""

    def __init__(self, function):
        self.scale, self.function = nn.Parameter(np.ones(1, np.float32)), function

    def forward(self, i, j):
        return self.function(i, j), self.scale * 2


def check(function, i=I, j=J):
    want = np.asarray(function(i, j))
    model = Of(function)
    found = [model(i, j)[0]]
    with fastdl.eager():
        found.append(model(i, j)[0])
    for got in found:
        assert got.dtype == (np.bool_ if want.dtype == np.bool_ else np.int64)
        np.testing.assert_array_equal(got, want.astype(got.dtype))


WHOLE = {
    "and": lambda i, j: i & j,
    "or": lambda i, j: i | j,
    "xor": lambda i, j: i ^ j,
    "not": lambda i, j: ~i,
    "and of a number": lambda i, j: 6 & i,
    "or of a number": lambda i, j: i | 8,
    "xor of a number": lambda i, j: 3 ^ i,
    "shift to the left": lambda i, j: i << 1,
    "shift to the right": lambda i, j: i >> (j & 7),
    "shift of a number": lambda i, j: 1 << (j & 7),
    "bitwise functions": lambda i, j: np.bitwise_and(i, j) + np.bitwise_or(i, 1) + np.bitwise_xor(j, i) + np.invert(j),
    "shifts as functions": lambda i, j: np.left_shift(i, 2) + np.right_shift(i, 1),
    "bits and truth values": lambda i, j: (i > 0) | j,
    "divmod": lambda i, j: np.stack([*divmod(i, 5), *divmod(1000, j * j + 1), *np.divmod(i, 7)]),
    "round": lambda i, j: np.round(i) + np.around(i, 2) + i.round(),
    "floor, ceil and trunc": lambda i, j: np.floor(i) + np.ceil(i) + np.trunc(i),
    "nan_to_num": lambda i, j: np.nan_to_num(i),
    "matmul": lambda i, j: i @ j.T,
    "matmul of a constant": lambda i, j: i @ np.ones((3, 2), int),
    "matrix and vector": lambda i, j: i @ J[0],
    "dot": lambda i, j: np.dot(i, j[:3]),
    "einsum": lambda i, j: np.einsum("ij,kj->ik", i, j[:2]),
    "clip": lambda i, j: np.clip(i, -5, BIG - 1),
    "sum, prod, max and min": lambda i, j: i.sum(1) + np.prod(j, 1) + i.max(1) + i.min(1),
    "sort and cumsum": lambda i, j: np.sort(i, axis=1) + np.cumsum(i, axis=1),
    "where": lambda i, j: np.where(i > j, i, j),
    "to a wider dtype": lambda i, j: i.astype(int) + j.astype(np.int64),
    "to int32": lambda i, j: (i * 2**20).astype(np.int32),
    "to uint8": lambda i, j: i.astype(np.uint8),
    "to int8": lambda i, j: i.astype(np.int8),
    "to uint32": lambda i, j: i.astype(np.uint32),
    "full_like": lambda i, j: np.full_like(i, 3.7) + np.zeros_like(i) + np.ones_like(i) + 0 * np.empty_like(i),
}  # fmt: skip
TRUTHS = {
    "sum": lambda i, j: (i > 0) + (j > 1),
    "product": lambda i, j: (i > 0) * (j > 1),
    "sum with True": lambda i, j: (i > 0) + True,
    "maximum": lambda i, j: np.maximum(i > 0, j > 1),
    "minimum": lambda i, j: np.minimum(i > 0, j > 1),
    "and, or, xor, not": lambda i, j: ((i > 0) & (j > 1)) | ((i < 0) ^ ~(j > 2)),
    "reversed": lambda i, j: (True ^ (i > 0)) & (False | (j > 1)),
    "square and abs": lambda i, j: np.square(i > 0) & abs(j > 1),
    "max": lambda i, j: np.max(i > 0, axis=1),
    "min": lambda i, j: np.min(i > 0, axis=0),
    "matmul": lambda i, j: (i > 0) @ (j > 1).T,
    "einsum": lambda i, j: np.einsum("ij,kj->ik", i > 0, j > 1),
    "counts": lambda i, j: np.sum(i > 0, axis=1) + np.cumsum(j[:, 0] > 1),
    "a sum with a whole number": lambda i, j: (i > 0) + 1,
    "power": lambda i, j: (i > 0) ** (j > 1),
}


@pytest.mark.parametrize("function", WHOLE.values(), ids=WHOLE)
def test_whole_numbers_are_numpys(function):
    check(function)


@pytest.mark.parametrize("function", TRUTHS.values(), ids=TRUTHS)
def test_truth_values_are_numpys(function):
    check(function)


def test_matrices_of_many_whole_numbers_are_numpys():
    rng = np.random.default_rng(0)
    check(lambda i, j: i @ np.swapaxes(j, -1, -2), *rng.integers(-(2**60), 2**60, (2, 5, 3, 7, 4)))


def test_floating_numbers_become_whole_ones_towards_0():
    x = np.array([[-2.7, 2.7, 300.5]], np.float32)
    np.testing.assert_array_equal(Of(lambda x, _: x.astype(int))(x, J[:1])[0], [[-2, 2, 300]])
    np.testing.assert_array_equal(Of(lambda x, _: x.astype(np.uint8))(x[:, 1:], J[:1])[0], [[2, 44]])
    np.testing.assert_array_equal(Of(lambda x, _: np.sum(x, axis=1, dtype=int))(x, J[:1])[0], [300])


REFUSED = {
    "bits of floating numbers": (lambda i, x: x & 1, "expected whole numbers, got floating ones; write x.astype(int)"),
    "bits of both": (lambda i, x: i | x, "expected whole numbers, got floating ones"),
    "a shift of floating numbers": (lambda i, x: x << 1, "expected whole numbers, got floating ones"),
    "a difference of truth values": (lambda i, x: (i > 0) - (i > 1), "got truth values; write a ^ b, or .astype(int)"),
    "the negative of truth values": (lambda i, x: -(i > 0), "expected numbers, got truth values; write ~x"),
    "the sign of truth values": (lambda i, x: np.sign(i > 0), "expected numbers, got truth values"),
    "a negative power": (lambda i, x: i**-1, "expected exponents of 0 or more of whole numbers, got -1"),
    "tens": (lambda i, x: np.round(i, -1), "expected decimals of 0 or more for whole numbers, got -1"),
    "complex numbers": (lambda i, x: i.astype(complex), "that int64 holds, or of truth values, got complex128"),
    "texts": (lambda i, x: i.astype(str), "that int64 holds, or of truth values, got <U0"),
    "uint64": (lambda i, x: i.astype(np.uint64), "that int64 holds, or of truth values, got uint64"),
}


@pytest.mark.parametrize(("function", "message"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_exact_result_is_refused(function, message):
    with pytest.raises((TypeError, ValueError), match=r"^test_whole_numbers\.py:\d+: ") as error:
        Of(function)(I, J.astype(np.float32))
    assert message in str(error.value)
