"""Settings of the test run: the installed package is tested, and benchmark bodies run once unless asked for."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
# The checkout must not shadow the installed package.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]


def pytest_configure(config: pytest.Config) -> None:
    """Run each benchmark body once, as a test, unless --benchmark-only asks for times."""
    if not config.getoption("--benchmark-only", default=False):
        config.option.benchmark_disable = True
