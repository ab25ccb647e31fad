"""The measured rows as a table, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.interleave import Failure, Result

HEADINGS = ("row", "work", "fastdl", "peer", "its value", "ratio", "goal", "met")


class Judgement(NamedTuple):
    """One comparison: fastdl's value against a peer's, or against a limit (peer None)."""

    result: Result
    peer: str | None
    goal: float | None

    @property
    def ratio(self) -> float | None:
        """Peer over fastdl; None against a limit."""
        return None if self.peer is None else self.result.ratio(self.peer)

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        if self.goal is None:
            return None
        return self.result.figures["fastdl"].value <= self.goal if self.ratio is None else self.ratio >= self.goal

    @property
    def lost(self) -> bool:
        """Whether fastdl takes longer than the peer."""
        return self.ratio is not None and self.ratio < 1


def judgements(result: Result) -> list[Judgement]:
    """A row's comparisons, its limit first."""
    limit = [] if result.row.limit is None else [Judgement(result, None, result.row.limit)]
    peers = [peer for peer in result.figures if peer != "fastdl"]
    return limit + [Judgement(result, peer, result.row.goals.get(peer)) for peer in peers]


def table(results: Sequence[Result]) -> list[list[str]]:
    """A line for each comparison, under HEADINGS."""
    lines = []
    for result in results:
        own = value_of(result, "fastdl")
        for judgement in judgements(result):
            peer, ratio, goal, met = judgement.peer, judgement.ratio, judgement.goal, judgement.met
            least = "" if goal is None else f">= {goal:g}"
            if peer is None or ratio is None:
                against, least = ["(limit)", "", ""], f"<= {goal:g} {result.row.unit}"
            else:
                against = [peer, value_of(result, peer), f"{ratio:.3g}"]
            answer = {None: "", True: "yes", False: "NO"}[met]
            lines.append([result.row.name, result.row.work, own, *against, least, answer])
        for name, reason in result.left_out.items():
            lines.append([result.row.name, result.row.work, own, name, f"left out: {reason}", "", "", ""])
    return lines


def value_of(result: Result, name: str) -> str:
    """A side's value with unit, and its number of threads."""
    figure = result.figures[name]
    digits = f"{figure.value:.0f}" if figure.value >= 1000 else f"{figure.value:.3g}"
    return f"{digits} {result.row.unit}" + (f" ({figure.threads} t)" if len(figure.by_threads) > 1 else "")


def losses(results: Sequence[Result], failures: Sequence[Failure]) -> list[str]:
    """Sentences on what was not reached."""
    every = [judgement for result in results for judgement in judgements(result)]
    asked = [judgement for judgement in every if judgement.met is not None]
    sentences = [f"{sum(bool(judgement.met) for judgement in asked)} of {len(asked)} goals met."]
    missed = [f"{j.result.row.name} ({j.peer or 'limit'})" for j in asked if not j.met]
    lost = [f"{j.result.row.name} ({j.peer})" for j in every if j.lost]
    if missed:
        sentences.append(f"Not met: {', '.join(missed)}.")
    if lost:
        sentences.append(f"fastdl is slower than the peer in: {', '.join(lost)}.")
    sentences += [f"{failure.row.name} did not run: {failure.reason}." for failure in failures]
    return sentences


def as_text(results: Sequence[Result]) -> str:
    """The table in columns."""
    lines = [list(HEADINGS), *table(results)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def as_markdown(results: Sequence[Result], failures: Sequence[Failure], about: Mapping[str, str]) -> str:
    """The whole report."""
    lines = ["# fastdl and its peers", ""]
    lines += ["Medians of interleaved slices; ratio: peer over fastdl, each at its better number of threads (t).", ""]
    lines += [f"- {name}: {value}" for name, value in about.items()]
    lines += ["", *losses(results, failures), "", f"| {' | '.join(HEADINGS)} |", f"|{' --- |' * len(HEADINGS)}"]
    lines += [f"| {' | '.join(line)} |" for line in table(results)]
    return "\n".join(lines) + "\n"


def as_json(results: Sequence[Result], failures: Sequence[Failure], about: Mapping[str, str]) -> str:
    """Everything measured."""
    rows: list[dict[str, Any]] = []
    for result in results:
        compared = [{"peer": j.peer, "ratio": j.ratio, "goal": j.goal, "met": j.met} for j in judgements(result)]
        medians = {name: figure.by_threads for name, figure in result.figures.items()}
        spreads = {name: figure.spread for name, figure in result.figures.items()}
        rows.append(
            {
                "row": result.row.name,
                "work": result.row.work,
                "unit": result.row.unit,
                "medians by threads": medians,
                "spread": spreads,
                "compared": compared,
                "left out": result.left_out,
            }
        )
    failed = {failure.row.name: failure.reason for failure in failures}
    return json.dumps({"about": dict(about), "rows": rows, "failed": failed}, indent=2) + "\n"
