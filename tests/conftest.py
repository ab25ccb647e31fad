"""What several test files ask for: every CPU level, every thread count, both dtypes."""

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastdl
from fastdl import cli
from fastdl._kernels.table import set_cpu_level
from fastdl.random import Stream, drawing_from

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # its tests are skipped
    pass
else:
    # The same examples in every run, however slow the machine.
    settings.register_profile("fastdl", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("fastdl")


def pytest_runtest_setup() -> None:
    """Let nothing be called in collections of garbage, where CPython ignores what is raised, a KeyboardInterrupt too.

    Hypothesis measures their time so.
    """
    gc.callbacks.clear()


@pytest.fixture
def write(tmp_path):
    """Write a table and give its path."""

    def write(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


class Each:
    """Loops for many small cases that share a test, `for n in each(n=(1, 2))`: a failure names the values it came at."""

    def __init__(self) -> None:
        self.at: dict[str, object] = {}

    def __call__(self, **axes: Iterable[Any]) -> Iterator[Any]:
        """Go through the values of one name, or through the combinations of several."""
        for values in product(*axes.values()):
            self.at.update(zip(axes, values, strict=True))
            yield values if len(axes) > 1 else values[0]
        for name in axes:
            self.at.pop(name, None)


@pytest.fixture
def each() -> Each:
    """Loops in the place of parametrizations whose cases take less time than a test of their own."""
    return Each()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Name the values at which the loops of a failed test stood."""
    loops = getattr(item, "funcargs", {}).get("each")
    if call.when == "call" and call.excinfo is not None and loops is not None and loops.at:
        call.excinfo.value.add_note("at " + ", ".join(f"{name}={value}" for name, value in loops.at.items()))
    return (yield)


@pytest.fixture
def each_level(each: Each) -> Iterator[Callable[[], Iterator[str]]]:
    """A loop over the CPU levels of this machine, switched in this process: what they are compared with is computed once."""
    before = fastdl.cpu_level()

    def run() -> Iterator[str]:
        for level in each(level=fastdl.cpu_levels()):
            set_cpu_level(level)
            yield level
        set_cpu_level(before)

    yield run
    set_cpu_level(before)


@pytest.fixture(params=fastdl.cpu_levels())
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each CPU level of this machine in turn, switched in this process."""
    before = fastdl.cpu_level()
    set_cpu_level(request.param)
    yield request.param
    set_cpu_level(before)


@pytest.fixture
def threads() -> Iterator[None]:
    """Restore the number of threads afterwards."""
    before = fastdl.get_num_threads()
    yield
    fastdl.set_num_threads(before)


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> type:
    """Both dtypes in turn."""
    return request.param


@pytest.fixture
def each_dtype(each: Each) -> Callable[[], Iterator[type]]:
    """A loop over both dtypes."""
    return lambda: each(dtype=(np.float32, np.float64))


@pytest.fixture
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run code in another interpreter, with further variables in its environment."""

    def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-c", code]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=6000, env={**os.environ, **environment}, cwd="/"
        )

    return run


class SameDraws(Stream):
    """A stream whose every call is the same one."""

    def next(self) -> tuple[int, int]:
        return 0x1234_5678_9ABC_DEF0, 7


@pytest.fixture
def same_draws() -> Iterator[None]:
    """Let every forward of a dropout draw the same mask, so that calls can be compared."""
    with drawing_from(SameDraws(np.random.default_rng(0))):
        yield


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Run `fastdl WORDS`, with train's output in tmp_path/out; returns code, standard output, standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        out = ["--out", tmp_path / "out", "--overwrite"] if words[:1] == ("train",) and "--out" not in words else []
        code = cli.main([str(word) for word in (*words, *out)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let matplotlib be missing."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """A CSV file of three kinds in words, which two of four columns distinguish."""
    rng = np.random.default_rng(0)
    kinds = np.array(["lily", "rose", "tulip, late"])
    y = np.arange(150) % 3
    x = rng.normal(0, 1, (150, 4))
    x[:, 0] += 8 * (y == 1)
    x[:, 2] = 1000 + 50 * x[:, 2] + 500 * (y == 2)
    rows = [f'{a:.4f},{b:.4f},{c:.4f},{d:.4f},"{kinds[i]}"' for (a, b, c, d), i in zip(x, y, strict=True)]
    path = tmp_path / "flowers.csv"
    path.write_text("length,width,weight,age,kind\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    """A CSV file of a value, tens of thousands in size, that follows from two of three columns."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 10, (300, 3))
    y = 40_000 + 3_000 * x[:, 0] + 200 * x[:, 1] ** 2
    path = tmp_path / "prices.csv"
    rows = [",".join(f"{value:.3f}" for value in (*row, price)) for row, price in zip(x, y, strict=True)]
    path.write_text("rooms,size,noise,price\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture
def images(tmp_path: Path) -> tuple[Path, Path]:
    """IDX files of 200 images, 8 by 6, of bars that stand, lie or are not there, and of their labels."""
    rng = np.random.default_rng(0)
    y = (np.arange(200) % 3).astype(np.uint8)
    x = rng.integers(0, 100, (200, 8, 6), np.uint8)
    for i, label in enumerate(y):
        if label == 0:
            x[i, :, rng.integers(1, 5)] += 150
        elif label == 1:
            x[i, rng.integers(1, 7), :] += 150
    paths = tmp_path / "images-idx3", tmp_path / "labels-idx1"
    for path, array in zip(paths, (x, y), strict=True):
        path.write_bytes(bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes())
    return paths
