"""NumPy's side: its BLAS, and copying as the measure of memory."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.row import Timed, at_once, repeated

BLAS = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
VERSION = f"NumPy {np.__version__}, {BLAS['name']} {BLAS['version']}"


def product(m: int, k: int, n: int, transposed: bool, threads: int) -> Timed:
    """X W, or X W^T, into an array that is there. The process was started for this number of threads."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((m, k)).astype(np.float32)
    W = rng.standard_normal((n, k) if transposed else (k, n)).astype(np.float32)
    y = np.empty((m, n), np.float32)
    second = W.T if transposed else W
    return repeated(lambda: np.matmul(x, second, out=y))


def copy(size: int, threads: int) -> Timed:
    """A copy that reads and writes `size` bytes in all, its parts in as many threads."""
    source, target = (np.ones(size // 8, np.float32) for _ in range(2))
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    return at_once([partial(np.copyto, *part) for part in parts])
