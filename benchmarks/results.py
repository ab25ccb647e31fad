"""What was measured, and how it is kept: a file that later runs add their rows to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

# What the machine can do at most: no contender, so that staying below it is no loss.
MACHINE = ("FMA peak", "copy")


class Figure(NamedTuple):
    """A side at its better number of threads: the median in the row's unit, and the interquartile range over it.

    `by_threads` holds the median at each number of threads, which are strings as JSON's keys are.
    """

    value: float
    spread: float
    threads: int
    by_threads: dict[str, float]


@dataclass(frozen=True)
class Entry:
    """A row measured at a CPU level: figures by side, and why other sides are left out.

    `failure` says why fastdl itself is missing. `run` is the place of the run that it comes from in `Results.runs`.
    """

    name: str
    work: str
    unit: str
    goals: Mapping[str, float] = field(default_factory=dict)
    limit: float | None = None
    figures: Mapping[str, Figure] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    failure: str = ""
    run: int = 0
    level: str = ""

    @property
    def title(self) -> str:
        """The row's name and the level."""
        return f"{self.name} {self.level}".strip()

    @property
    def comparisons(self) -> list[Comparison]:
        """fastdl against the row's limit and against each peer."""
        if self.failure:
            return []
        limit = [] if self.limit is None else [Comparison(self, None, self.limit)]
        peers = [peer for peer in self.figures if peer != "fastdl"]
        return limit + [Comparison(self, peer, self.goals.get(peer)) for peer in peers]


class Comparison(NamedTuple):
    """fastdl's value against a peer's, or against the row's limit (peer None)."""

    entry: Entry
    peer: str | None
    goal: float | None

    @property
    def ratio(self) -> float:
        """Peer over fastdl, or limit over fastdl: the larger the better."""
        own = self.entry.figures["fastdl"].value
        against = self.goal if self.peer is None else self.entry.figures[self.peer].value
        return float("inf") if own == 0 else (against or 0.0) / own

    @property
    def asked(self) -> float | None:
        """The least ratio that is asked for: the goal, and 1 against a limit."""
        return self.goal if self.peer is not None else 1.0

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        return None if self.asked is None else self.ratio >= self.asked

    @property
    def lost(self) -> bool:
        """Whether fastdl takes more than the peer; the machine's own limits are no peers."""
        return self.peer is not None and self.peer not in MACHINE and self.ratio < 1


@dataclass(frozen=True)
class Results:
    """Entries, and what is known of the runs that they come from: machine, flags, versions."""

    runs: tuple[Mapping[str, str], ...] = ()
    entries: tuple[Entry, ...] = ()

    @property
    def comparisons(self) -> list[Comparison]:
        """Those of all entries."""
        return [comparison for entry in self.entries for comparison in entry.comparisons]

    @property
    def levels(self) -> dict[str, str]:
        """The levels with the processors that they were measured on."""
        processors: dict[str, dict[str, None]] = {}
        for entry in self.entries:
            processors.setdefault(entry.level, {})[self.runs[entry.run].get("processor", "")] = None
        return {level: " and ".join(filter(None, processors[level])) for level in sorted(processors)}

    def merged(self, about: Mapping[str, str], entries: Sequence[Entry], names: Sequence[str]) -> Results:
        """These and a further run's, which replaces what it has measured anew; only rows of these names, in their order.

        Each level has entries of its own. A run is kept as long as an entry comes from it.
        """
        by_title = {(entry.name, entry.level): entry for entry in self.entries}
        by_title |= {(entry.name, entry.level): replace(entry, run=len(self.runs)) for entry in entries}
        levels = sorted({level for _, level in by_title})
        kept = [by_title[name, level] for name in names for level in levels if (name, level) in by_title]
        runs, used = (*self.runs, about), sorted({entry.run for entry in kept})
        renumbered = (replace(entry, run=used.index(entry.run)) for entry in kept)
        return Results(tuple(runs[run] for run in used), tuple(renumbered))

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        rows = [asdict(entry) | {"figures": figures_of(entry)} for entry in self.entries]
        path.write_text(json.dumps({"runs": [dict(run) for run in self.runs], "rows": rows}, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what `save` wrote; nothing where there is no file.

        Raises:
            ValueError: if the file holds something else.
        """
        if not path.exists():
            return cls()
        try:
            read = json.loads(path.read_text())
            entries = []
            for each in read["rows"]:
                figures = {name: Figure(**values) for name, values in each.pop("figures").items()}
                entries.append(Entry(**each, figures=figures))
            return cls(tuple(read["runs"]), tuple(entries))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path}: expected what benchmarks.peers writes, got {error!r}; remove it") from error


def figures_of(entry: Entry) -> dict[str, dict[str, object]]:
    """The figures with their names."""
    return {name: figure._asdict() for name, figure in entry.figures.items()}
