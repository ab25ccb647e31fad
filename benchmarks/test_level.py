"""Levels: what a process is started with, and how a library that does not do as asked is found out."""

from __future__ import annotations

import os

import pytest

from benchmarks import level
from benchmarks.process import Process
from fastdl import cpu_levels


def test_every_library_is_asked_and_can_answer():
    import benchmarks.rows
    from benchmarks.row import ROWS

    assert benchmarks.rows
    assert {side.library for row in ROWS.values() for side in row.sides().values()} <= set(level.IN_USE)


@pytest.mark.parametrize(
    ("library", "found", "asked", "said"),
    [
        ("torch", {"ATen": "v3", "MKL": "v3"}, "v3", ""),
        ("torch", {"ATen": "v3", "MKL": "v4"}, "v3", "expected level v3, got MKL v4"),
        ("thinc", {"BLIS haswell": "v3"}, "v4", ""),
        ("fastdl", {"fastdl": "v3"}, "v4", "expected level v4, got fastdl v3"),
    ],
)
def test_a_library_beyond_the_level_departs_and_fastdl_below_it(
    library: str, found: dict[str, str], asked: str, said: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(level, "IN_USE", {library: lambda: found})
    assert level.departure(library, asked) == said


def test_a_process_is_held_to_its_level_and_keeps_its_number_of_threads(monkeypatch: pytest.MonkeyPatch):
    started: list[dict[str, str]] = []
    monkeypatch.setattr("subprocess.Popen", lambda *_, env, **__: started.append(env))
    monkeypatch.setattr(level, "numpy_features", lambda: ["X86_V4"])
    for asked in (None, "v3", "v4"):
        Process(1, level=asked)
    free, held, high = started
    assert (free.get("FASTDL_CPU"), held["FASTDL_CPU"], high["FASTDL_CPU"]) == (
        os.environ.get("FASTDL_CPU"),
        "v3",
        "v4",
    )
    assert held["XLA_FLAGS"] == "--xla_cpu_max_isa=AVX2 --xla_cpu_multi_thread_eigen=false"
    assert held["NPY_DISABLE_CPU_FEATURES"] == "X86_V4"
    assert {"MKL_ENABLE_INSTRUCTIONS", "OPENBLAS_CORETYPE"}.isdisjoint(high)


@pytest.mark.skipif("v3" not in cpu_levels(), reason="the processor has no AVX2")
@pytest.mark.parametrize(
    ("row", "side"), [("P1", "fastdl"), ("P23 64x784x128 X @ W", "NumPy"), ("P22 fit", "loops over lists")]
)
def test_a_side_at_v3_is_at_v3(row: str, side: str):
    pytest.importorskip("threadpoolctl")
    process = Process(1, level="v3")
    answer = process.ask(build={"row": row, "side": side, "threads": 1, "block": 0.001, "level": "v3"})
    process.close()
    assert "version" in answer, answer


@pytest.mark.skipif("v4" not in cpu_levels(), reason="the processor has no AVX-512")
def test_a_side_that_is_not_held_is_refused():
    process = Process(1, level="v4")
    answer = process.ask(build={"row": "P1", "side": "fastdl", "threads": 1, "block": 0.001, "level": "v3"})
    process.close()
    assert answer == {"missing": "ValueError: expected level v3, got fastdl v4"}
