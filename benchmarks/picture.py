"""Results as a picture: ratios on a logarithmic axis, each with its goal; drawn to be read in grey."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from PIL import Image

from benchmarks.report import number
from benchmarks.results import Comparison, Entry, Results

# Inches: width, a line's height, above and below all lines, and where the bars begin and end.
WIDTH, LINE, ABOVE, BELOW, LEFT, RIGHT = 10.0, 0.15, 0.62, 0.42, 5.4, 9.15
GAP = 0.35  # lines between rows
TEXT: dict[str, Any] = {"fontsize": 6.6, "va": "center_baseline"}
EDGE = "0.2"
REACHED: dict[str, Any] = {"color": "0.55", "label": "goal reached"}
MISSED: dict[str, Any] = {"color": "0.87", "label": "goal missed"}
SLOWER: dict[str, Any] = {"color": "white", "hatch": "////////", "label": "slower than the peer"}
GOAL: dict[str, Any] = {"color": "black", "lw": 2.0, "solid_capstyle": "butt", "label": "goal"}


def draw(results: Results, path: Path) -> None:
    """A bar for each comparison that has a goal or is lost, from 1 to its ratio."""
    rows = [(entry, shown) for entry in results.entries if (shown := worth_showing(entry))]
    lines = max(sum(len(shown) + GAP for _, shown in rows), 1)
    height = ABOVE + BELOW + LINE * lines
    canvas = Canvas(figsize=(WIDTH, height))
    axes = canvas.add_axes((LEFT / WIDTH, BELOW / height, (RIGHT - LEFT) / WIDTH, LINE * lines / height))
    y = 0.0
    for entry, shown in rows:
        beside(axes, 0.08, y, f"{entry.title}   {entry.work}")
        for comparison in shown:
            bar(axes, y, comparison)
            y += 1
        axes.axhline(y - 0.5 + GAP / 2, xmin=(0.08 - LEFT) / (RIGHT - LEFT), clip_on=False, color="0.88", lw=0.5)
        y += GAP
    axes.set_ylim(lines - 0.5 - GAP / 2, -0.5 - GAP / 2)
    frame(canvas, axes, results)
    canvas.savefig(path, dpi=144)
    Image.open(path).convert("L").quantize(32).save(path, optimize=True)


def worth_showing(entry: Entry) -> list[Comparison]:
    """What has a goal or is lost."""
    return [each for each in entry.comparisons if each.asked is not None or each.lost]


def kind(comparison: Comparison) -> dict[str, Any]:
    """How its bar is filled."""
    return SLOWER if comparison.lost else MISSED if comparison.met is False else REACHED


def bar(axes: Axes, y: float, comparison: Comparison) -> None:
    """One comparison: its bar, its goal, the peer to the left and the ratio to the right."""
    ratio = min(max(comparison.ratio, 1e-3), 1e5)
    axes.barh(y, ratio - 1, left=1, height=0.7, edgecolor=EDGE, lw=0.5, zorder=2, **kind(comparison))
    if comparison.lost:  # a bar that ends near 1 would not be seen
        axes.plot(ratio, y, "<", color="black", markersize=4.5, zorder=5)
    if comparison.asked is not None:
        axes.plot([comparison.asked] * 2, [y - 0.46, y + 0.46], zorder=4, **GOAL)
    beside(axes, LEFT - 0.08, y, comparison.peer or "limit", ha="right")
    verdict = " slower" if comparison.lost else " missed" if comparison.met is False else ""
    beside(axes, RIGHT + 0.08, y, number(comparison.ratio) + verdict, weight="bold" if verdict else "normal")


def beside(axes: Axes, inches: float, y: float, words: str, **how: str) -> None:
    """Words on a line, so far from the left edge."""
    place = (inches - LEFT) / (RIGHT - LEFT)
    axes.text(place, y, words, transform=axes.get_yaxis_transform(), **(TEXT | how))


def frame(canvas: Canvas, axes: Axes, results: Results) -> None:
    """Axes, heading, legend and what it was measured on."""
    axes.set_xscale("log")
    axes.set_yticks([])
    axes.axvline(1, color="black", lw=0.8, zorder=3)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.tick_params(axis="x", labelsize=7, top=True, labeltop=True, length=2)
    axes.tick_params(axis="x", which="minor", length=0)
    axes.grid(axis="x", color="0.85", lw=0.5, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["left", "right"]].set_visible(False)
    keys = [axes.barh(0, 0, edgecolor=EDGE, lw=0.5, **each) for each in (REACHED, MISSED, SLOWER)]
    keys += axes.plot([], [], **GOAL)
    top = 1 - 0.2 / canvas.get_figheight()
    canvas.text(
        0.008, top, "Peer's time over fastdl's (right of 1, fastdl is faster)", fontsize=9, weight="bold", va="center"
    )
    canvas.legend(handles=keys, loc="center right", bbox_to_anchor=(1.0, top), ncols=4, fontsize=7.5, frameon=False)
    facts = results.runs[-1] if results.runs else {}
    said = [facts[name] for name in ("processor", "fastdl", "torch", "date") if name in facts]
    canvas.text(0.008, 0.1 / canvas.get_figheight(), " · ".join(said), fontsize=6.5, color="0.35")
