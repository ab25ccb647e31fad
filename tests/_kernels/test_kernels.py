"""Every kernel against its reference, at the sizes around registers and tiles, on every CPU level."""

from itertools import product

import numpy as np
import pytest

from fastdl import _kernels as kernels
from fastdl import reference
from fastdl._kernels import activation, cross_entropy, gemm, linear, loss, optim, softmax
from fastdl.reference import activation as naive_activation
from fastdl.reference import cross_entropy as naive_cross_entropy
from fastdl.reference import gemm as naive_gemm
from fastdl.reference import linear as naive_linear
from fastdl.reference import loss as naive_loss
from fastdl.reference import optim as naive_optim
from fastdl.reference import softmax as naive_softmax
from fastdl.testing import SIZES, assert_close

assert kernels
assert reference

REFERENCES = {
    activation: naive_activation,
    cross_entropy: naive_cross_entropy,
    linear: naive_linear,
    loss: naive_loss,
    optim: naive_optim,
    softmax: naive_softmax,
}

# Each size stands once in each place, beside sizes of its own.
TRIPLES = [(m, SIZES[(i + 5) % 14], SIZES[(i + 9) % 14]) for i, m in enumerate(SIZES)]
TRIPLES += [(1, 100, 33), (1, 25, 25), (100, 2, 25), (100, 25, 2), (2, 1, 1), (15, 3, 65)]
GEMM_OPTIONS = [
    (False, False, False, None, False),
    (False, True, False, None, True),
    (True, False, True, None, False),
    (True, True, True, "relu", True),
    (False, True, False, "tanh", False),
]


@pytest.fixture
def assert_its_reference(each_level, dtype):
    """A check that a kernel writes at each level what its reference does, on copies of the same outputs."""

    def check(module, name, inputs, *outputs, tolerance):
        want = [None if output is None else output.copy() for output in outputs]
        getattr(REFERENCES[module], name)(*inputs, *want)
        for _ in each_level():
            got = [None if output is None else output.copy() for output in outputs]
            getattr(module, name)(*inputs, *got)
            for one, other in zip(got, want, strict=True):
                if other is not None:
                    assert_close(one, other, tolerance, dtype, name)

    return check


@pytest.mark.parametrize(("transpose_a", "transpose_b", "accumulate", "kind", "with_bias"), GEMM_OPTIONS)
def test_gemm_is_the_triple_loop(each, each_level, dtype, transpose_a, transpose_b, accumulate, kind, with_bias):
    for m, k, n in each(sizes=TRIPLES):
        rng = np.random.default_rng(m * 10000 + k * 100 + n)
        a = rng.standard_normal((k, m) if transpose_a else (m, k)).astype(dtype)
        b = rng.standard_normal((n, k) if transpose_b else (k, n)).astype(dtype)
        bias = rng.standard_normal(n).astype(dtype) if with_bias else None
        c = rng.standard_normal((m, n)).astype(dtype)
        inputs = a, b, bias, transpose_a, transpose_b, accumulate, kind, 0.0, 0.0
        want = c.copy()
        naive_gemm.gemm(*inputs, want)
        for _ in each_level():
            got = c.copy()
            gemm.gemm(*inputs, got)
            assert_close(got, want, 64, dtype)


# Beyond a slice of k, a strip of columns and a band of rows, and at their edges; few rows a multiple of the cache's period
# apart; a sum over nothing.
LARGE = [(30, 257, 40), (30, 700, 70), (1010, 30, 65), (3, 40, 2100), (1100, 300, 33), (64, 784, 128), (257, 513, 129)]
LARGE += [(40, 1024, 70), (40, 1100, 70), (5, 0, 1100)]


@pytest.mark.parametrize(("transpose_a", "transpose_b", "accumulate", "kind", "with_bias"), GEMM_OPTIONS)
def test_large_products_agree_with_numpy_in_double_precision(
    each, each_level, dtype, transpose_a, transpose_b, accumulate, kind, with_bias
):
    for m, k, n in each(sizes=LARGE):
        rng = np.random.default_rng(m + k + n)
        a = rng.standard_normal((k, m) if transpose_a else (m, k)).astype(dtype)
        b = rng.standard_normal((n, k) if transpose_b else (k, n)).astype(dtype)
        bias = rng.standard_normal(n).astype(dtype) if with_bias else None
        c = rng.standard_normal((m, n)).astype(dtype)
        want = (a.T if transpose_a else a).astype(float) @ (b.T if transpose_b else b).astype(float)
        want += (c if accumulate else 0) + (bias if with_bias else 0)
        want = {None: lambda x: x, "relu": lambda x: np.maximum(x, 0), "tanh": np.tanh}[kind](want)
        for _ in each_level():
            got = c.copy()
            gemm.gemm(a, b, bias, transpose_a, transpose_b, accumulate, kind, 0.0, 0.0, got)
            assert_close(got, want, 500, dtype)


# A Linear has at least one input and one output.
LINEAR_TRIPLES = [sizes for sizes in TRIPLES if 0 not in sizes[1:]]


def test_linear_is_its_loops(each, dtype, assert_its_reference):
    for rows, ins, outs in each(sizes=LINEAR_TRIPLES):
        rng = np.random.default_rng(0)
        x, W, b = (rng.standard_normal(s).astype(dtype) for s in ((rows, ins), (outs, ins), outs))
        gy, gW, gb = (rng.standard_normal(s).astype(dtype) for s in ((rows, outs), (outs, ins), outs))
        y, gx = np.full_like(gy, np.nan), np.full_like(x, np.nan)
        for bias in (b, None):
            assert_its_reference(linear, "linear_forward", (x, W, bias), y, tolerance=64)
        for outputs in ((gx, gW, gb), (gx, None, None), (None, gW, gb), (None, gW, None), (gx, None, gb)):
            for accumulate in (False, True):
                assert_its_reference(linear, "linear_backward", (gy, x, W, accumulate), *outputs, tolerance=64)


KINDS = [k for k in activation.activation_kinds() if k != "identity"]


@pytest.mark.parametrize("kind", KINDS)
def test_activations_are_their_formulas(each, dtype, kind, assert_its_reference):
    assert activation.keeps_output(kind) == (kind in naive_activation.KEEPS_OUTPUT)
    for n in each(n=SIZES):
        rng = np.random.default_rng(n)
        x, gy = (4 * rng.standard_normal((n,))).astype(dtype), rng.standard_normal(n).astype(dtype)
        y = np.full_like(x, np.nan)
        options = (kind, 1.5, 2.5)
        assert_its_reference(activation, "activation_forward", (x, *options), y, tolerance=16)
        naive_activation.activation_forward(x, *options, y)
        kept = (None, y) if kind in naive_activation.KEEPS_OUTPUT else (x, None)
        inputs = (gy, *kept, *options)
        assert_its_reference(activation, "activation_backward", inputs, np.zeros_like(x), tolerance=16)


@pytest.mark.parametrize("kind", KINDS)
def test_a_nan_stays_and_infinities_go_where_the_formula_sends_them(each_level, dtype, kind):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, np.nan] * 5, dtype)
    want = x.copy()
    naive_activation.activation_forward(x, kind, 1.5, 2.5, want)
    for _ in each_level():
        got = x.copy()
        activation.activation_forward(x, kind, 1.5, 2.5, got)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
        assert np.isnan(got[0])
        assert_close(np.nan_to_num(got, nan=0.5), np.nan_to_num(want, nan=0.5), 8, dtype)
        if kind in ("tanh", "elu", "relu"):
            np.testing.assert_array_equal(np.signbit(got[3]), False)


SOFTMAX_SHAPES = [(3, n, i) for n, i in product(SIZES[1:], (1, 3))] + [(0, 3, 1), (2, 3, 0)]


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_is_its_loops(each, dtype, name, assert_its_reference):
    for shape in each(shape=SOFTMAX_SHAPES):
        rng = np.random.default_rng(shape[1])
        x, gy = (3 * rng.standard_normal(shape) + 50).astype(dtype), rng.standard_normal(shape).astype(dtype)
        y = np.zeros_like(x)
        assert_its_reference(softmax, f"{name}_forward", (x,), y, tolerance=16)
        getattr(naive_softmax, f"{name}_forward")(x, y)
        assert_its_reference(softmax, f"{name}_backward", (gy, y), np.zeros_like(x), tolerance=32)


@pytest.mark.parametrize("kind", loss.loss_kinds())
def test_elementwise_losses_are_their_formulas(each, each_level, dtype, kind, assert_its_reference):
    for n, weighted in each(n=SIZES, weighted=(False, True)):
        rng = np.random.default_rng(n)
        x, t = rng.random(n).astype(dtype) * 0.9 + 0.05, rng.random(n).astype(dtype)
        weights = (rng.random(n).astype(dtype), rng.random(n).astype(dtype)) if weighted else (None, None)
        if kind != "bce_with_logits":
            weights = weights[0], None
        options = (x, t, *weights, kind, 0.2)
        assert_its_reference(loss, "loss_forward", options, np.zeros_like(x), tolerance=16)
        assert_its_reference(loss, "loss_backward", (*options, 0.25), np.zeros_like(x), tolerance=16)
        want = naive_loss.loss_sum(*options)
        for _ in each_level():
            assert_close(loss.loss_sum(*options), want, 16, dtype)


@pytest.mark.parametrize("shape", [(3, 1, 1), (5, 3, 1), (2, 17, 4), (0, 3, 1), (2, 3, 0), (64, 10, 1), (150, 20, 1)])
def test_class_losses_are_their_loops(each, dtype, shape, assert_its_reference):
    for weighted, smoothing in each(weighted=(False, True), smoothing=(0.0, 0.3)):
        rng = np.random.default_rng(shape[1])
        N, C, D = shape
        x, target = (3 * rng.standard_normal(shape) + 20).astype(dtype), rng.integers(0, C, (N, D))
        target[: N // 2] = -1
        weight = rng.random(C).astype(dtype) if weighted else None
        t, gy = rng.random(shape).astype(dtype), rng.standard_normal((N, D)).astype(dtype)
        p, y, gx = np.zeros_like(x), np.zeros((N, D), dtype), np.zeros_like(x)
        for name, forward, backward, outputs in (
            ("nll", (x, target, weight, -1), (target, weight, -1, gy), (y,)),
            ("cross_entropy", (x, target, weight, -1, smoothing), (target, weight, -1, smoothing, gy), (p, y)),
            ("cross_entropy_probabilities", (x, t, weight, smoothing), (t, weight, smoothing, gy), (p, y)),
        ):
            assert_its_reference(cross_entropy, f"{name}_forward", forward, *outputs, tolerance=64)
            naive_cross_entropy.cross_entropy_forward(x, target, weight, -1, smoothing, p, y)
            inputs = backward if name == "nll" else (p, *backward)
            assert_its_reference(cross_entropy, f"{name}_backward", inputs, gx, tolerance=64)


def test_clipping_and_norm_are_their_loops(each, each_level, dtype, assert_its_reference):
    for n in each(n=SIZES):
        g = np.random.default_rng(n).standard_normal(n).astype(dtype)
        g[n // 2 : n // 2 + 1] = np.nan
        assert_its_reference(optim, "shrink", (0.3, 1.0), g, tolerance=4)
        assert_its_reference(optim, "clamp", (-0.5, 0.25), g, tolerance=2)
        g = np.nan_to_num(g)
        for size in (1.0, 1e19, 1e-25):
            scaled = (size * g).astype(dtype)
            want = naive_optim.norm(scaled)
            for _ in each_level():
                assert_close(optim.norm(scaled), want, 16, dtype)
