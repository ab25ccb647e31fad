"""What a study leaves: NAME.md to read, NAME.json with everything, NAME.csv with each mean and spread."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import platform
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastdl._kernels.table import cpu_level
from fastdl._kernels.threads import get_num_threads
from fastdl.environment import __version__, installing
from fastdl.studies import pytorch
from fastdl.studies.results import Results, Spread
from fastdl.studies.study import Case, Figure, Study

PAPER, PAPERS_PYTORCH = "paper", "paper's PyTorch"


class Table(NamedTuple):
    """A table of text."""

    head: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        """The table as Markdown, its columns aligned, so that it is read on a terminal too."""
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        lines = [self.head, ["-" * width for width in widths], *self.rows]
        padded = (" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
        return "\n".join(f"| {line} |" for line in padded)


def table(study: Study, results: Results) -> Table:
    """A row for each case, a column for each measure by each framework, with the paper's figures beside ours."""
    entries = list(dict.fromkeys(name for case in results.cases for name in case if name != "framework"))
    rows: dict[tuple[str, ...], dict[tuple[str, str], str]] = {}
    for case in results.cases:
        cells = rows.setdefault(tuple(spelled(case.get(name)) for name in entries), {})
        for measure in results.measures():
            found = results.of(measure, case)
            if found.runs:
                cells[measure, case.get("framework", "fastdl")] = str(found)
            for figure in about(study, measure, case):
                cells[measure, PAPERS_PYTORCH if case.get("framework") == "PyTorch" else PAPER] = papers(figure)
    used = {column for cells in rows.values() for column in cells}
    sides = list(dict.fromkeys(case.get("framework", "fastdl") for case in results.cases))
    order = ("fastdl", PAPER, *sides, PAPERS_PYTORCH)
    columns = [(m, side) for m in results.measures() for side in dict.fromkeys(order) if (m, side) in used]
    head = [
        *entries,
        *(measure if side == "fastdl" and len(sides) == 1 else f"{measure}, {side}" for measure, side in columns),
    ]
    return Table(head, [[*words, *(cells.get(column, "") for column in columns)] for words, cells in rows.items()])


def about(study: Study, measure: str, case: Case) -> list[Figure]:
    """The paper's figures of a measure for a case."""
    return [figure for figure in study.figures if figure.measure == measure and figure.fits(case)]


def spelled(value: Any) -> str:
    """An entry of a case as text.

    Example:
        >>> spelled(0.005), spelled("MSE"), spelled(None)
        ('0.005', 'MSE', '')
    """
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def papers(figure: Figure) -> str:
    """A paper's figure as text, with its spread where there is one."""
    return f"{figure.value:g} ± {figure.spread:g}" if figure.spread else f"{figure.value:g}"


def judgements(study: Study, results: Results) -> list[str]:
    """A sentence for each of the paper's figures: ours, the paper's, and whether it is reached; none for other settings."""
    sentences = []
    for figure in [] if study.changed() else study.figures:
        for case, ours, verdict in results.judged(figure):
            named = ", ".join(f"{name} {spelled(value)}" for name, value in case.items() if value != "fastdl")
            sentences.append(
                f"{figure.measure}{f' ({named})' if named else ''}: {ours} here, {papers(figure)} in the paper"
                f" ({figure.place}): {verdict}."
            )
    return sentences


def markdown(study: Study, results: Results, pictures: list[str] | None) -> str:
    """The report.

    Args:
        study: what was done.
        results: what it came to.
        pictures: the names of their files; None where matplotlib is not installed.
    """
    text = [
        f"# {study.name}: {study.summary}",
        f"{study.source}.",
        f"**The paper.** {study.paper}",
        f"**Here.** {study.setup}",
    ]
    if study.choices:
        text.append("What the paper leaves open, and what was chosen:")
        text.append("\n".join(f"- {choice}" for choice in study.choices))
    if study.changed():
        changed = (
            f"{name} {_listed(value)} (the paper: {_listed(getattr(study.full, name))})"
            for name, value in study.changed().items()
        )
        text.append(
            f"**These are not the paper's settings:** {', '.join(changed)}. So nothing is held against its figures."
        )
    runs = study.settings.runs
    text.append(f"Mean ± standard deviation over {runs} run{'s' * (runs > 1)}; {PAPER}: its own figure.")
    text.append(table(study, results).markdown())
    if pictures is None:
        text.append(f"No pictures, as matplotlib is not installed; write {installing('plot')} and start again.")
    else:
        text.append("\n\n".join(f"![{study.summary}]({name})" for name in pictures))
    found = [*judgements(study, results), *map(str, study.findings(results)), *study.remarks(results)]
    if found:
        text.append("\n".join(f"- {sentence}" for sentence in found))
    text.append(_times(study, results))
    text.append("Settings: " + ", ".join(f"{name} {_listed(value)}" for name, value in study.identity().items()) + ".")
    text.append("Versions: " + ", ".join(f"{name} {value}" for name, value in versions().items()) + ".")
    return "\n\n".join(each for each in text if each) + "\n"


def together(reports: Sequence[tuple[str, str]], folder: str) -> str:
    """The reports of several studies in one, which lies beside the folder that holds a folder for each.

    Args:
        reports: name and Markdown of each.
        folder: the name of that folder.
    """
    text = [
        "# The papers' experiments",
        "\n".join(f"- [{_title(words)}](#{_anchor(_title(words))})" for _, words in reports),
    ]
    text += [f"#{words.replace('](', f']({folder}/{name}/')}" for name, words in reports]
    return "\n\n".join(each.strip() for each in text) + "\n"


def record(study: Study, results: Results) -> dict[str, Any]:
    """The report for programs."""
    return {
        "study": study.name,
        "summary": study.summary,
        "source": study.source,
        "settings": study.identity(),
        "quick": study.is_quick,
        "versions": versions(),
        "results": [
            {
                "case": case,
                "measure": measure,
                **_numbers(results.of(measure, case)),
                "paper": _paper(study, measure, case),
            }
            for case in results.cases
            for measure in results.measures()
            if results.of(measure, case).runs
        ],
        "figures": [
            {"measure": figure.measure, "case": case, "value": figure.value, "place": figure.place, "verdict": verdict}
            for figure in study.figures
            for case, _, verdict in results.judged(figure)
        ],
        "findings": [
            {"claim": finding.claim, "holds": bool(finding.holds), "numbers": finding.numbers}
            for finding in study.findings(results)
        ],
        "remarks": study.remarks(results),
    }


def as_json(study: Study, results: Results) -> str:
    """`record` as text; a number that is not finite, which JSON does not know, is null."""
    return json.dumps(_finite(record(study, results)), indent=1, allow_nan=False) + "\n"


def as_csv(study: Study, results: Results) -> str:
    """A line for each case and measure."""
    entries = list(dict.fromkeys(name for case in results.cases for name in case))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*entries, "measure", "mean", "deviation", "runs", "paper"])
    for case in results.cases:
        for measure in results.measures():
            found = results.of(measure, case)
            if found.runs:
                words = [spelled(case.get(name)) for name in entries]
                paper = _paper(study, measure, case)
                writer.writerow([*words, measure, *found, "" if paper is None else paper])
    return text.getvalue()


def versions() -> dict[str, str]:
    """What ran, and on what."""
    torch = "not installed"
    if pytorch.installed():
        from importlib.metadata import version

        torch = version("torch")
    return {
        "fastdl": __version__,
        "CPU level": cpu_level(),
        "threads": str(get_num_threads()),
        "cores": str(os.cpu_count()),
        "PyTorch": torch,
        "NumPy": np.__version__,
        "Python": platform.python_version(),
    }


def _title(words: str) -> str:
    return words.partition("\n")[0].removeprefix("# ")


def _anchor(title: str) -> str:
    return "".join(letter for letter in title.lower().replace(" ", "-") if letter.isalnum() or letter in "-_")


def _times(study: Study, results: Results) -> str:
    times = [f"{name} {results.seconds(name):.3g} s" for name in ("fastdl", "PyTorch") if results.seconds(name)]
    alone = "alone in one process" if study.timed else "each on one thread, data and tests included"
    text = f"All runs together took: {', '.join(times)} ({alone})."
    if not pytorch.installed() and any(case.get("framework") == "PyTorch" for case in study.cases()):
        text += " PyTorch is not installed, so its side is left out: `pip install torch` and start again."
    return text


def _paper(study: Study, measure: str, case: Case) -> float | None:
    return next((figure.value for figure in about(study, measure, case)), None)


def _numbers(spread: Spread) -> dict[str, Any]:
    return dict(zip(("mean", "deviation", "runs"), spread, strict=True))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _listed(value: Any) -> str:
    return " ".join(map(spelled, value)) if isinstance(value, (list, tuple)) else spelled(value)
