"""A row of the comparison: what is measured, on which sides, and what fastdl is to reach."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple


class Timed(NamedTuple):
    """Work that is timed: `run(n)` does it n times over, `units` of them (training steps, calls) each time."""

    run: Callable[[int], Any]
    units: int = 1


class Reading(NamedTuple):
    """Something that is read off instead of timed, in the row's unit."""

    read: Callable[[], float]


@dataclass(frozen=True)
class Side:
    """One contender: a builder of work, and the numbers of threads to try it with.

    The work is what `function(*arguments, threads)` of benchmarks/sides/with_<library>.py returns, called in a process
    of the side's own; nothing of it is imported before. A `fresh` side's process has done nothing else before, and does
    nothing after. `python` is the interpreter of another environment.
    """

    library: str
    function: str
    arguments: tuple[Any, ...]
    threads: tuple[int, ...] = (1, 2)
    fresh: bool = False
    python: str | None = None

    def build(self, threads: int) -> Timed | Reading:
        """The work itself."""
        module = import_module(f"benchmarks.sides.with_{self.library}")
        return getattr(module, self.function)(*self.arguments, threads)


def side(library: str, function: str, *arguments: Any, threads: tuple[int, ...] = (1, 2), fresh: bool = False) -> Side:
    """A Side, its arguments written as those of a call."""
    return Side(library, function, arguments, threads, fresh)


class Row(NamedTuple):
    """What is compared. The side "fastdl" is ours, the others are peers.

    name: P and a number, with a word after it where several things are measured under one number.
    goals: the least ratio peer / fastdl, by peer; a peer without an entry is reported and nothing is asked of it.
    limit: the most that fastdl's own value may be; None where only ratios count.
    """

    name: str
    work: str
    sides: Callable[[], Mapping[str, Side]]
    goals: Mapping[str, float]
    limit: float | None
    unit: str

    @property
    def number(self) -> str:
        """The name without the word after it."""
        return self.name.split()[0]


ROWS: dict[str, Row] = {}

Sides = Callable[[], Mapping[str, Side]]


def row(
    name: str,
    work: str,
    goals: Mapping[str, float] | None = None,
    *,
    limit: float | None = None,
    unit: str = "us",
) -> Callable[[Sides], Sides]:
    """Enter a function that returns the sides by name as a row."""

    def enter(sides: Sides) -> Sides:
        if name in ROWS:
            raise ValueError(f"row: expected a new name, got {name!r} a second time")
        ROWS[name] = Row(name, work, sides, goals or {}, limit, unit)
        return sides

    return enter


def in_order() -> list[Row]:
    """Every row, by its number."""
    return sorted(ROWS.values(), key=lambda each: int(each.number[1:]))


def chosen(names: Iterable[str] | None) -> list[Row]:
    """The rows of these names ("P17" stands for all of that number), in order; None for all.

    Raises:
        ValueError: for a name that no row has.
    """
    if names is None:
        return in_order()
    wanted = {name.strip() for name in names}
    unknown = wanted - set(ROWS) - {each.number for each in ROWS.values()}
    if unknown:
        known = dict.fromkeys(each.number for each in in_order())
        got = ", ".join(map(repr, sorted(unknown)))
        raise ValueError(f"--rows: expected names among {', '.join(known)}, got {got}")
    return [each for each in in_order() if wanted & {each.name, each.number}]


def repeated(call: Callable[[], Any]) -> Timed:
    """A call that is made again and again."""

    def run(n: int) -> None:
        for _ in range(n):
            call()

    return Timed(run)


def at_once(calls: Sequence[Callable[[], Any]]) -> Timed:
    """Calls that are made again and again, each in a thread of its own; they meet at the end of a timing only."""
    parts = [repeated(call).run for call in calls]
    if len(parts) == 1:
        return Timed(parts[0])
    pool = ThreadPoolExecutor(len(parts))
    return Timed(lambda n: list(pool.map(lambda part: part(n), parts)))
