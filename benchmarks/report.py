"""Results as words: the table in columns and in Markdown, what is missed and lost, and the README's section."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.results import Comparison, Entry, Results

HEADINGS = ("row", "work", "peer", "goal")
BEGIN, END = "<!-- speed: what python -m benchmarks.peers --readme writes -->\n", "<!-- end of speed -->\n"
# The rows that the README shows: the papers' network, MNIST's, a convolution, a CNN and the prediction of a sample.
TELLING = ("P1", "P6", "P12", "P18", "P19")


def headings(results: Results) -> list[str]:
    """Those of a table: a column for each level, with the processor."""
    return [*HEADINGS, *(", ".join(filter(None, each)) for each in results.levels.items())]


def table(results: Results) -> list[list[str]]:
    """A line for each row and peer, under the headings."""
    lines: dict[tuple[str, str], list[str]] = {}
    for place, level in enumerate(results.levels, len(HEADINGS)):
        for entry in (entry for entry in results.entries if entry.level == level):
            goals = {each.peer or "(limit)": goal_of(each) for each in entry.comparisons}
            cells = {each.peer or "(limit)": cell(each) for each in entry.comparisons}
            cells |= {name: f"left out: {reason}" for name, reason in entry.left_out.items()}
            cells |= {"": f"did not run: {entry.failure}"} if entry.failure else {}
            for peer, said in cells.items():
                blank = [entry.name, entry.work, peer, goals.get(peer, "")] + [""] * len(results.levels)
                line = lines.setdefault((entry.name, peer), blank)
                line[3] = line[3] or goals.get(peer, "")
                line[place] = said
    order = {entry.name: place for place, entry in enumerate(results.entries)}
    return sorted(lines.values(), key=lambda line: order[line[0]])


def cell(comparison: Comparison) -> str:
    """A comparison in figures: ratio, values, and what is to be said of it."""
    entry, peer = comparison.entry, comparison.peer
    own = value_of(entry, "fastdl")
    said = own if peer is None else f"{number(comparison.ratio)} = {value_of(entry, peer)} / {own}"
    if comparison.met is False:
        return f"{said}, missed"
    return f"{said}, slower" if comparison.lost else said


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
    missed = [f"{each.entry.title} ({each.peer or 'limit'})" for each in asked if not each.met]
    lost = [f"{each.entry.title} ({each.peer})" for each in every if each.lost]
    if missed:
        sentences.append(f"Not met: {', '.join(missed)}.")
    if lost:
        sentences.append(f"fastdl is slower than the peer in: {', '.join(lost)}.")
    return sentences + [f"{each.title} did not run: {each.failure}." for each in results.entries if each.failure]


def as_text(results: Results) -> str:
    """The table in columns."""
    lines = [headings(results), *table(results)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def as_markdown(results: Results, picture: str | None = None) -> str:
    """The whole report, with a picture of this name."""
    lines = ["# fastdl and its peers", ""]
    lines += ["Medians of slices that were measured in turn, each side in a process of its own, warm."]
    lines += [
        "Ratio: peer / fastdl, each at its better number of threads (t), with every side held to the column's CPU level"
    ]
    lines += ["(v4: AVX-512, v3: AVX2). Spread: in the JSON file.", ""]
    lines += [f"{' '.join(losses(results))}", ""]
    lines += [f"![Ratios and goals, row by row]({picture})", ""] if picture else []
    lines += markdown_table(headings(results), table(results))
    for place, run in enumerate(results.runs):
        names = [entry.title for entry in results.entries if entry.run == place]
        of = f": {', '.join(names)}" if len(results.runs) > 1 else ""
        lines += ["", f"## Machine, flags and versions{of}", "", *(f"- {name}: {fact}" for name, fact in run.items())]
    return "\n".join(lines) + "\n"


def markdown_table(titles: Sequence[str], lines: list[list[str]]) -> list[str]:
    """A table's lines."""
    marked = [f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}"]
    return marked + [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines]


def section(results: Results) -> str:
    """What the README says of speed, between its markers: the picture and a line for each of its rows."""
    facts = results.runs[-1] if results.runs else {}
    where = "; ".join(f"{level}: {processor}" for level, processor in results.levels.items())
    lines = [
        "How many times as long as fastdl each peer takes (below 1: fastdl is slower) and, after the arrow, the goal; **what",
        f"misses its goal or loses is bold**. {facts.get('cores', '?')} cores, {facts.get('date', 'undated')}; {where}.",
        "[RESULTS.md](benchmarks/RESULTS.md) has every row and value, the flags and the versions.",
        "",
        "![How many times as long as fastdl each peer takes, and the goals](benchmarks/results.png)",
        "",
        " ".join(losses(results)[:1]),
        "",
    ]
    rows: dict[str, list[str]] = {}
    for place, level in enumerate(results.levels, 2):
        for entry in results.entries:
            if entry.level == level and entry.name.split()[0] in TELLING:
                line = rows.setdefault(entry.name, [entry.name, entry.work] + [""] * len(results.levels))
                line[place] = (
                    f"did not run: {entry.failure}" if entry.failure else ", ".join(map(phrase, entry.comparisons))
                )
    return "\n".join([*lines, *markdown_table(("row", "work", *results.levels), list(rows.values()))]) + "\n"


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
