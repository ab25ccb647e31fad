"""How benchmarks are timed and reported: names, columns, and a summary of the papers' two studies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import pytest

# What is set where the command line says nothing: enough rounds for a median, and all of it in a few minutes.
SETTINGS = {"max_time": 0.5, "min_rounds": 5, "warmup": True, "warmup_iterations": 2}
LOOKS = {"name": "short", "columns": ["median", "iqr", "min", "rounds"], "sort": "median"}

STUDIES = pytest.StashKey[dict[str, dict[str, float]]]()


def pytest_configure(config: pytest.Config) -> None:
    """Our settings in the place of pytest-benchmark's, unless the command line has its own."""
    config.stash[STUDIES] = {}
    given = [argument.split("=")[0] for argument in config.invocation_params.args if isinstance(argument, str)]
    for name, value in (SETTINGS | LOOKS).items():
        if f"--benchmark-{name.replace('_', '-')}" not in given:
            setattr(config.option, f"benchmark_{name}", value)


@pytest.fixture
def timed(benchmark: Any) -> bool:
    """Whether this run takes times; a test asserts the same on less work."""
    return not benchmark.disabled


@pytest.fixture
def study(benchmark: Any, request: pytest.FixtureRequest) -> Iterator[Callable[[str, str], None]]:
    """Enter what was timed under a study and a name, to be summed up at the end."""
    entered: list[tuple[str, str]] = []
    yield lambda title, name: entered.append((title, name))
    if benchmark.stats is not None:
        for title, name in entered:
            seconds = median(benchmark.stats.stats.data)
            request.config.stash[STUDIES].setdefault(title, {})[name] = seconds


@pytest.hookimpl(trylast=True)  # below the tables
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Each study's times over that of its first line, as the papers tell them."""
    for title, times in config.stash[STUDIES].items():
        terminalreporter.section(title)
        first = next(iter(times.values()))
        width = max(map(len, times))
        for name, seconds in times.items():
            terminalreporter.write_line(f"{name:<{width}}  {seconds:>12.6f} s  {first / seconds:>10,.1f} x")
