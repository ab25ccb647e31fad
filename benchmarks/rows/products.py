"""The matrix product against NumPy's BLAS, on one thread."""

from __future__ import annotations

from functools import partial

from benchmarks.row import Side, row, side

GOALS = {
    (100, 25, 25): 1.3,
    (64, 784, 128): 1.15,
    (64, 576, 1024): 1.1,
    (256, 1024, 1024): 1.0,
    (2048, 2048, 2048): 1.0,
}


def product(m: int, k: int, n: int, transposed: bool) -> dict[str, Side]:
    """(m, k) times (k, n), the second as it is or as the transpose of (n, k)."""
    libraries = {"fastdl": "fastdl", "NumPy": "numpy"}
    return {name: side(library, "product", m, k, n, transposed, threads=(1,)) for name, library in libraries.items()}


for (m, k, n), goal in GOALS.items():
    for form in ("X @ W", "X @ W.T"):
        name = f"P23 {m}x{k}x{n} {form}"
        row(name, "float32, one thread", {"NumPy": goal})(partial(product, m, k, n, form == "X @ W.T"))
