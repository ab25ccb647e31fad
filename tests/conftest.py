"""What several test files ask for: every CPU level, every thread count, both dtypes."""

from collections.abc import Iterator

import numpy as np
import pytest

import fastdl
from fastdl._kernels.table import set_cpu_level


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
