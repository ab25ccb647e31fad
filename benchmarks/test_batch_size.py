"""The papers' batch-size study: how long training takes, from one sample at a time to all 1000 at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import study as papers

BATCHES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
WAYS = {"explicit loop": papers.explicit_loop, "fit": papers.fit}
RUNS = {f"{way}, batch {batch}": (way, batch) for way in WAYS for batch in BATCHES}


@pytest.mark.parametrize(("way", "batch"), RUNS.values(), ids=RUNS)
def test_train(benchmark: Any, timed: bool, study: Any, way: str, batch: int) -> None:
    benchmark.group = f"batch-size study: 2-25-25-25-2 on the disk, 50 epochs of 1000 samples, {way}"
    samples, epochs = (1000, 50) if timed else (200, 2)
    points, made = papers.points(samples), papers.parts()

    def untrained() -> tuple[tuple[Any, ...], dict[str, Any]]:
        nonlocal made
        made = papers.parts()
        return (made, points, epochs, batch), {}

    benchmark.pedantic(WAYS[way], setup=untrained, rounds=5)
    want = papers.matrices(points, epochs, batch)
    tolerance = 1e-2 if timed else 1e-5  # 50,000 steps in single precision drift
    for mine, theirs in zip(made.parameters, want.parameters, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=tolerance)
    study(f"batch-size study: speed-up over batch 1, {way}", f"batch {batch}")
