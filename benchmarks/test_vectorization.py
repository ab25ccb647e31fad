"""The papers' vectorization study: naive loops, one sample at a time, against fastdl; built, trained and tested."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from benchmarks import study as papers

TITLE = "vectorization study: speed-up over naive loops (the papers: 91.1 s against 0.71 s, 128 x)"

# Name, way, batch size, rounds.
WAYS = (
    ("loops over arrays, batch 1", papers.loops_over_arrays, 1, 3),
    ("loops over lists, batch 1", papers.loops_over_lists, 1, 3),
    ("fastdl explicit loop, batch 1", papers.fastdl(papers.explicit_loop), 1, 15),
    ("fastdl fit, batch 1", papers.fastdl(papers.fit), 1, 15),
    ("fastdl explicit loop, batch 10", papers.fastdl(papers.explicit_loop), 10, 15),
    ("fastdl fit, batch 10", papers.fastdl(papers.fit), 10, 15),
    ("fastdl explicit loop, batch 100", papers.fastdl(papers.explicit_loop), 100, 15),
    ("fastdl fit, batch 100", papers.fastdl(papers.fit), 100, 15),
)


@cache
def expected(samples: int, epochs: int, batch: int) -> papers.Outcome:
    """What a batch size comes to."""
    return papers.matrices(papers.points(samples), epochs, batch)


@pytest.mark.benchmark(group="vectorization study: 2-25-25-25-2 on the disk, 5 epochs of 1000 samples, and 1000 tested")
@pytest.mark.parametrize(("way", "batch", "rounds"), [each[1:] for each in WAYS], ids=[each[0] for each in WAYS])
def test_train(benchmark: Any, timed: bool, study: Any, request: Any, way: papers.Way, batch: int, rounds: int) -> None:
    samples, epochs = (1000, 5) if timed else (100, 2)
    points = papers.points(samples)
    got = benchmark.pedantic(way, (points, epochs, batch), rounds=rounds, warmup_rounds=int(rounds > 3))
    want = expected(samples, epochs, batch)
    for mine, theirs in zip(got.parameters, want.parameters, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-4)
    assert abs(got.errors - want.errors) <= samples // 100  # those on the border
    study(TITLE, request.node.callspec.id)
