"""What several test files ask for: every CPU level, every thread count, both dtypes."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import fastdl
from fastdl._kernels.table import set_cpu_level
from fastdl.random import Stream, drawing_from


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
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run code in another interpreter, with further variables in its environment."""

    def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-c", code]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}, cwd="/"
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
