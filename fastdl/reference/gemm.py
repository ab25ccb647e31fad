"""The matrix product."""

import numpy as np

from fastdl.reference.activation import ACTIVATIONS
from fastdl.reference.elements import elements


def gemm(
    a: np.ndarray,
    b: np.ndarray,
    bias: np.ndarray | None,
    transpose_a: bool,
    transpose_b: bool,
    accumulate: bool,
    activation: str | None,
    alpha: float,
    beta: float,
    c: np.ndarray,
) -> None:
    """c = f(op(a) op(b) + c + bias), the c on the right only where `accumulate`.

    a is (m, k), or (k, m) transposed; b is (k, n), or (n, k) transposed; bias is (n,) or None; c is (m, n).
    """
    a, b, bias, c = elements(a, b, bias, c)
    M, N = c.shape
    K = a.shape[0] if transpose_a else a.shape[1]
    for m in range(M):
        for n in range(N):
            total = c[m, n] if accumulate else 0.0
            for k in range(K):
                total += (a[k, m] if transpose_a else a[m, k]) * (b[n, k] if transpose_b else b[k, n])
            if bias is not None:
                total += bias[n]
            if activation is not None:
                f, _ = ACTIVATIONS[activation]
                total = f(total, alpha, beta)
            c[m, n] = total
