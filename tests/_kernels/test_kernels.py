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


def call_both(fast, naive, inputs, *outputs):
    """Run kernel and reference on copies of the same outputs; return both lists of outputs."""
    got, want = (
        [o.copy() if o is not None else None for o in outputs],
        [o.copy() if o is not None else None for o in outputs],
    )
    fast(*inputs, *got)
    naive(*inputs, *want)
    return got, want


def assert_same(pair, tolerance, dtype):
    for got, want in zip(*pair, strict=True):
        if want is not None:
            assert_close(got, want, tolerance, dtype)


@pytest.mark.parametrize(("transpose_a", "transpose_b", "accumulate", "kind", "with_bias"), GEMM_OPTIONS)
@pytest.mark.parametrize(("m", "k", "n"), TRIPLES)
def test_gemm_is_the_triple_loop(level, dtype, m, k, n, transpose_a, transpose_b, accumulate, kind, with_bias):
    rng = np.random.default_rng(m * 10000 + k * 100 + n)
    a = rng.standard_normal((k, m) if transpose_a else (m, k)).astype(dtype)
    b = rng.standard_normal((n, k) if transpose_b else (k, n)).astype(dtype)
    bias = rng.standard_normal(n).astype(dtype) if with_bias else None
    c = rng.standard_normal((m, n)).astype(dtype)
    inputs = a, b, bias, transpose_a, transpose_b, accumulate, kind, 0.0, 0.0
    assert_same(call_both(gemm.gemm, naive_gemm.gemm, inputs, c), 64, dtype)


# Beyond a slice of k, a strip of columns and a band of rows, and at their edges; few rows a multiple of the cache's period
# apart; a sum over nothing.
LARGE = [(30, 257, 40), (30, 700, 70), (1010, 30, 65), (3, 40, 2100), (1100, 300, 33), (64, 784, 128), (257, 513, 129)]
LARGE += [(40, 1024, 70), (40, 1100, 70), (5, 0, 1100)]


@pytest.mark.parametrize(("transpose_a", "transpose_b", "accumulate", "kind", "with_bias"), GEMM_OPTIONS)
@pytest.mark.parametrize(("m", "k", "n"), LARGE)
def test_large_products_agree_with_numpy_in_double_precision(
    level, dtype, m, k, n, transpose_a, transpose_b, accumulate, kind, with_bias
):
    rng = np.random.default_rng(m + k + n)
    a = rng.standard_normal((k, m) if transpose_a else (m, k)).astype(dtype)
    b = rng.standard_normal((n, k) if transpose_b else (k, n)).astype(dtype)
    bias = rng.standard_normal(n).astype(dtype) if with_bias else None
    c = rng.standard_normal((m, n)).astype(dtype)
    want = (a.T if transpose_a else a).astype(float) @ (b.T if transpose_b else b).astype(float)
    want += (c if accumulate else 0) + (bias if with_bias else 0)
    want = {None: lambda x: x, "relu": lambda x: np.maximum(x, 0), "tanh": np.tanh}[kind](want)
    gemm.gemm(a, b, bias, transpose_a, transpose_b, accumulate, kind, 0.0, 0.0, c)
    assert_close(c, want, 500, dtype)


@pytest.mark.parametrize(("rows", "ins", "outs"), TRIPLES)
def test_linear_is_its_loops(level, dtype, rows, ins, outs):
    if not ins or not outs:
        pytest.skip("a Linear has at least one input and one output")
    rng = np.random.default_rng(0)
    x, W, b = (rng.standard_normal(s).astype(dtype) for s in ((rows, ins), (outs, ins), outs))
    gy, gW, gb = (rng.standard_normal(s).astype(dtype) for s in ((rows, outs), (outs, ins), outs))
    y, gx = np.full_like(gy, np.nan), np.full_like(x, np.nan)
    for bias in (b, None):
        assert_same(call_both(linear.linear_forward, naive_linear.linear_forward, (x, W, bias), y), 64, dtype)
    assert_same(call_both(linear.linear_backward_input, naive_linear.linear_backward_input, (gy, W), gx), 64, dtype)
    fast, naive = linear.linear_backward_weight, naive_linear.linear_backward_weight
    for gradients in ((gW, gb), (gW, None), (None, gb)):
        for accumulate in (False, True):
            assert_same(call_both(fast, naive, (gy, x, accumulate), *gradients), 64, dtype)


KINDS = [k for k in activation.activation_kinds() if k != "identity"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", SIZES)
def test_activations_are_their_formulas(level, dtype, kind, n):
    rng = np.random.default_rng(n)
    x, gy = (4 * rng.standard_normal((n,))).astype(dtype), rng.standard_normal(n).astype(dtype)
    y = np.full_like(x, np.nan)
    options = (kind, 1.5, 2.5)
    assert_same(
        call_both(activation.activation_forward, naive_activation.activation_forward, (x, *options), y), 16, dtype
    )
    naive_activation.activation_forward(x, *options, y)
    kept = (None, y) if kind in naive_activation.KEEPS_OUTPUT else (x, None)
    assert activation.keeps_output(kind) == (kind in naive_activation.KEEPS_OUTPUT)
    pair = call_both(
        activation.activation_backward, naive_activation.activation_backward, (gy, *kept, *options), np.zeros_like(x)
    )
    assert_same(pair, 16, dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_a_nan_stays_and_infinities_go_where_the_formula_sends_them(level, dtype, kind):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, np.nan] * 5, dtype)
    got, want = call_both(activation.activation_forward, naive_activation.activation_forward, (x, kind, 1.5, 2.5), x)
    np.testing.assert_array_equal(np.isnan(got[0]), np.isnan(want[0]))
    assert np.isnan(got[0][0])
    assert_close(np.nan_to_num(got[0], nan=0.5), np.nan_to_num(want[0], nan=0.5), 8, dtype)
    if kind in ("tanh", "elu", "relu"):
        np.testing.assert_array_equal(np.signbit(got[0][3]), False)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize(
    ("outer", "n", "inner"), [(3, n, i) for n, i in product(SIZES[1:], (1, 3))] + [(0, 3, 1), (2, 3, 0)]
)
def test_softmax_is_its_loops(level, dtype, name, outer, n, inner):
    rng = np.random.default_rng(n)
    x, gy = (
        (3 * rng.standard_normal((outer, n, inner)) + 50).astype(dtype),
        rng.standard_normal((outer, n, inner)).astype(dtype),
    )
    y = np.zeros_like(x)
    assert_same(
        call_both(getattr(softmax, f"{name}_forward"), getattr(naive_softmax, f"{name}_forward"), (x,), y), 16, dtype
    )
    getattr(naive_softmax, f"{name}_forward")(x, y)
    pair = call_both(
        getattr(softmax, f"{name}_backward"), getattr(naive_softmax, f"{name}_backward"), (gy, y), np.zeros_like(x)
    )
    assert_same(pair, 32, dtype)


@pytest.mark.parametrize("kind", loss.loss_kinds())
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("weighted", [False, True])
def test_elementwise_losses_are_their_formulas(level, dtype, kind, n, weighted):
    rng = np.random.default_rng(n)
    x, t = rng.random(n).astype(dtype) * 0.9 + 0.05, rng.random(n).astype(dtype)
    weights = (rng.random(n).astype(dtype), rng.random(n).astype(dtype)) if weighted else (None, None)
    if kind != "bce_with_logits":
        weights = weights[0], None
    options = (x, t, *weights, kind, 0.2)
    assert_same(call_both(loss.loss_forward, naive_loss.loss_forward, options, np.zeros_like(x)), 16, dtype)
    assert_same(call_both(loss.loss_backward, naive_loss.loss_backward, (*options, 0.25), np.zeros_like(x)), 16, dtype)
    assert_close(loss.loss_sum(*options), naive_loss.loss_sum(*options), 16, dtype)


@pytest.mark.parametrize("shape", [(3, 1, 1), (5, 3, 1), (2, 17, 4), (0, 3, 1), (2, 3, 0), (64, 10, 1), (150, 20, 1)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_class_losses_are_their_loops(level, dtype, shape, weighted, smoothing):
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
        fast, naive = getattr(cross_entropy, f"{name}_forward"), getattr(naive_cross_entropy, f"{name}_forward")
        assert_same(call_both(fast, naive, forward, *outputs), 64, dtype)
        naive_cross_entropy.cross_entropy_forward(x, target, weight, -1, smoothing, p, y)
        first = () if name == "nll" else (p,)
        fast, naive = getattr(cross_entropy, f"{name}_backward"), getattr(naive_cross_entropy, f"{name}_backward")
        assert_same(call_both(fast, naive, (*first, *backward), gx), 64, dtype)


@pytest.mark.parametrize("n", SIZES)
def test_clipping_and_norm_are_their_loops(level, dtype, n):
    g = np.random.default_rng(n).standard_normal(n).astype(dtype)
    g[n // 2 : n // 2 + 1] = np.nan
    assert_same(call_both(optim.shrink, naive_optim.shrink, (0.3, 1.0), g), 4, dtype)
    assert_same(call_both(optim.clamp, naive_optim.clamp, (-0.5, 0.25), g), 2, dtype)
    g = np.nan_to_num(g)
    for size in (1.0, 1e19, 1e-25):
        assert_close(optim.norm((size * g).astype(dtype)), naive_optim.norm((size * g).astype(dtype)), 16, dtype)
