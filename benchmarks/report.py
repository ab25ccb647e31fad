"""Results as words: the table in columns and in Markdown, what is missed and lost, and the README's section."""

from __future__ import annotations

from benchmarks.results import Comparison, Entry, Results

HEADINGS = ("row", "work", "fastdl", "peer", "its value", "ratio", "goal", "met")
BEGIN, END = "<!-- speed: what python -m benchmarks.peers --readme writes -->\n", "<!-- end of speed -->\n"


def table(results: Results) -> list[list[str]]:
    """A line for each comparison, under HEADINGS."""
    lines = []
    for entry in results.entries:
        if entry.failure:
            lines.append([entry.name, entry.work, "", "", f"did not run: {entry.failure}", "", "", ""])
        for comparison in entry.comparisons:
            peer, met = comparison.peer, comparison.met
            against = ["(limit)", ""] if peer is None else [peer, value_of(entry, peer)]
            answer = {None: "", True: "yes", False: "NO"}[met]
            if met is False and comparison.floor is not None and comparison.ratio >= comparison.floor:
                answer = f"NO, but >= {comparison.floor:g}"
            ratio = "" if peer is None else number(comparison.ratio)
            lines.append(
                [entry.name, entry.work, value_of(entry, "fastdl"), *against, ratio, goal_of(comparison), answer]
            )
        for name, reason in entry.left_out.items():
            lines.append([entry.name, entry.work, "", name, f"left out: {reason}", "", "", ""])
    return lines


def number(value: float) -> str:
    """Three digits that matter, no powers of ten."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def value_of(entry: Entry, name: str) -> str:
    """A side's value with unit, and its number of threads where several were tried."""
    figure = entry.figures[name]
    return f"{number(figure.value)} {entry.unit}" + (f" ({figure.threads} t)" if len(figure.by_threads) > 1 else "")


def goal_of(comparison: Comparison) -> str:
    """What is asked for."""
    if comparison.peer is None:
        return f"<= {comparison.goal:.3g} {comparison.entry.unit}"
    return "" if comparison.goal is None else f">= {comparison.goal:g}"


def losses(results: Results) -> list[str]:
    """Sentences on what was not reached."""
    every = results.comparisons
    asked = [comparison for comparison in every if comparison.met is not None]
    sentences = [f"{sum(bool(comparison.met) for comparison in asked)} of {len(asked)} goals are met."]
    missed = [f"{each.entry.name} ({each.peer or 'limit'})" for each in asked if not each.met]
    lost = [f"{each.entry.name} ({each.peer})" for each in every if each.lost]
    if missed:
        sentences.append(f"Not met: {', '.join(missed)}.")
    if lost:
        sentences.append(f"fastdl is slower than the peer in: {', '.join(lost)}.")
    return sentences + [f"{each.name} did not run: {each.failure}." for each in results.entries if each.failure]


def as_text(results: Results) -> str:
    """The table in columns."""
    lines = [list(HEADINGS), *table(results)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def as_markdown(results: Results, picture: str | None = None) -> str:
    """The whole report, with a picture of this name."""
    lines = ["# fastdl and its peers", ""]
    lines += ["Medians of slices that were measured in turn, each side in a process of its own, warm."]
    lines += ["Ratio: peer over fastdl, each at its better number of threads (t). Spread: in the JSON file.", ""]
    lines += [f"{' '.join(losses(results))}", ""]
    lines += [f"![Ratios and goals, row by row]({picture})", ""] if picture else []
    lines += markdown_table(HEADINGS, table(results))
    for place, run in enumerate(results.runs):
        names = [entry.name for entry in results.entries if entry.run == place]
        of = f": {', '.join(names)}" if len(results.runs) > 1 else ""
        lines += ["", f"## Machine, flags and versions{of}", "", *(f"- {name}: {fact}" for name, fact in run.items())]
    return "\n".join(lines) + "\n"


def markdown_table(headings: tuple[str, ...], lines: list[list[str]]) -> list[str]:
    """A table's lines."""
    marked = [f"| {' | '.join(headings)} |", f"|{' --- |' * len(headings)}"]
    return marked + [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines]


def section(results: Results) -> str:
    """What the README says of speed, between its markers: a line for each row."""
    facts = results.runs[-1] if results.runs else {}
    where = f"On {facts.get('processor', 'an unknown processor')}, {facts.get('cores', '?')} cores"
    lines = [
        f"{where}, {facts.get('date', 'undated')}. How many times as long as fastdl each peer takes (below 1: fastdl is",
        "slower) and, after the arrow, the goal; **what misses its goal or loses is bold**, and an FMA peak or a copy is the",
        "machine's own limit. [RESULTS.md](benchmarks/RESULTS.md) has every value, the flags and the versions.",
        "",
        "![How many times as long as fastdl each peer takes, and the goals](benchmarks/results.png)",
        "",
        " ".join(losses(results)[:1]),
        "",
    ]
    rows = []
    for entry in results.entries:
        own = "did not run" if entry.failure else value_of(entry, "fastdl")
        rows.append([entry.name, entry.work, own, ", ".join(map(phrase, entry.comparisons))])
    return "\n".join([*lines, *markdown_table(("row", "work", "fastdl", "peer: ratio → goal"), rows)]) + "\n"


def phrase(comparison: Comparison) -> str:
    """A comparison in a table's cell."""
    if comparison.peer is None:
        said = f"limit {goal_of(comparison).removeprefix('<= ')}"
    else:
        goal = "" if comparison.goal is None else f" → {comparison.goal:g}"
        said = f"{comparison.peer}: {number(comparison.ratio)}{goal}"
    return f"**{said}**" if comparison.met is False or comparison.lost else said


def with_section(readme: str, results: Results) -> str:
    """The README with its section written anew.

    Raises:
        ValueError: if its markers are not there, one of each.
    """
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        raise ValueError(
            f"README.md: expected the markers {BEGIN.strip()} and {END.strip()}, one of each in this order"
        )
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}{section(results)}{END}{rest.split(END)[1]}"
