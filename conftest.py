"""Settings of the test run: the installed package is tested, and benchmark bodies run once unless asked for."""

import gc
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent
# The checkout must not shadow the installed package.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
# Tests import what several of them share as `tests.folder.name`.
sys.modules["tests"] = ModuleType("tests")
sys.modules["tests"].__path__ = [str(ROOT / "tests")]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let containers run as programs from their first call on; otherwise they run layer by layer at first."""
    parser.addoption(
        "--programs-at-once", action="store_true", help="let containers run as programs from their first call on"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Run each benchmark body once, as a test, unless --benchmark-only asks for times; let Ctrl-C come through."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's background jobs are born
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("--programs-at-once"):
        from fastdl.nn import container_calls

        container_calls.PATIENCE = 1
    if not config.getoption("--benchmark-only", default=False):
        config.option.benchmark_disable = True


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Let the garbage collector pass over the tests, which live to the end: they are most of what it would look at."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()
