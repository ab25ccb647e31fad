"""The form of the pictures: axes with units, legends below the data, lines that differ in grey print.

>>> figure, (ax,) = panels("error", "momentum", 1)
>>> line(ax, 0, [0.0, 0.9], [20.0, 2.0], [1.0, 0.2], "MSE")
>>> paper(ax, 2.0, "the paper's")
>>> finished(figure).axes[0].get_ylabel()
'error'
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fastdl.output_file import write_atomically
from fastdl.plot import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (8, 2, 1, 2, 1, 2)), (0, (1, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P")
# Points up to which each has a marker.
MOST_MARKERS = 40


def panels(ylabel: str, xlabel: str, n: int, titles: Sequence[str] = ()) -> tuple[Figure, tuple[Axes, ...]]:
    """A figure of n panels in a row over one vertical axis, which the leftmost names."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.4 + 4.2 * n, 4.6), dpi=150, layout="constrained")
    axes = tuple(figure.subplots(1, n, sharey=True, squeeze=False)[0])
    for ax, title in zip(axes, titles or [""] * n, strict=True):
        ax.set_xlabel(xlabel)
        ax.set_title(title)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.3)
    axes[0].set_ylabel(ylabel)
    return figure, axes


def line(
    ax: Axes, i: int, x: ArrayLike, mean: ArrayLike, deviation: ArrayLike | None, label: str, offset: float = 0.0
) -> None:
    """The i-th line of a panel, with its spread: bars at a few points, a band over many."""
    x, mean = np.asarray(x, float) + offset, np.asarray(mean, float)
    colour, few = COLOURS[i % len(COLOURS)], len(x) <= MOST_MARKERS
    marker = MARKERS[i % len(MARKERS)] if few else ""
    ax.plot(x, mean, color=colour, linestyle=STYLES[i % len(STYLES)], marker=marker, markersize=5, label=label)
    if deviation is None:
        return
    above = np.asarray(deviation, float)
    below = np.minimum(above, mean) if (mean >= 0).all() else above  # what cannot be negative is not drawn so
    if few:
        ax.errorbar(x, mean, (below, above), fmt="none", ecolor=colour, elinewidth=1, capsize=2.5)
    else:
        ax.fill_between(x, mean - below, mean + above, color=colour, alpha=0.2, linewidth=0)


def dots(ax: Axes, names: Sequence[str], mean: ArrayLike, deviation: ArrayLike) -> None:
    """A dot for each name, from top to bottom, with its spread."""
    places = list(range(len(names)))[::-1]
    ax.errorbar(mean, places, xerr=deviation, fmt="o", color=COLOURS[0], elinewidth=1.2, capsize=3, markersize=6)
    ax.set_yticks(places, list(names))
    ax.set_ylim(-0.6, len(names) - 0.4)


def runs(ax: Axes, names: Sequence[str], values: Sequence[ArrayLike]) -> None:
    """A row of dots for each name, from top to bottom: every run, and their mean as a stroke."""
    places = list(range(len(names)))[::-1]
    for place, given in zip(places, values, strict=True):
        each = np.asarray(given, float)
        ax.plot(each, np.full(len(each), place), "o", color=COLOURS[0], alpha=0.45, markersize=6)
        ax.plot([each.mean()], [place], "|", color="black", markersize=14, markeredgewidth=1.8)
    ax.set_yticks(places, list(names))
    ax.set_ylim(-0.6, len(names) - 0.4)


def cells(ax: Axes, values: ArrayLike, x: Sequence[float], y: Sequence[float], low: float, high: float) -> None:
    """A table of numbers in grey: a row for each y, from the bottom, a column for each x; low is white."""
    rows = np.asarray(values, float)
    ax.imshow(rows, cmap="Greys", vmin=low, vmax=high + (high - low) / 2, origin="lower", aspect="auto")
    for (i, j), value in np.ndenumerate(rows):
        ax.text(
            j, i, f"{value:.1f}", ha="center", va="center", color="white" if value > (low + 3 * high) / 4 else "black"
        )
    ax.set_xticks(range(len(x)), [f"{each:g}" for each in x])
    ax.set_yticks(range(len(y)), [f"{each:g}" for each in y])
    ax.grid(False)


def framed(ax: Axes, column: int, row: int, label: str) -> None:
    """A frame around one of the `cells`."""
    ax.plot([column], [row], "s", markersize=34, markerfacecolor="none", markeredgecolor=COLOURS[1], markeredgewidth=2)
    ax.plot(
        [], [], "s", markersize=10, markerfacecolor="none", markeredgecolor=COLOURS[1], markeredgewidth=2, label=label
    )


def paper(
    ax: Axes, value: float, label: str, spread: float = 0.0, upright: bool = False, style: Any = (0, (6, 3))
) -> None:
    """The paper's figure: a black line across the panel, with a grey band where it has a spread."""
    (ax.axvline if upright else ax.axhline)(value, color="black", linestyle=style, linewidth=1.2, label=label)
    if spread:
        span = ax.axvspan if upright else ax.axhspan
        span(value - spread, value + spread, color="black", alpha=0.12, linewidth=0)


def paper_points(ax: Axes, x: ArrayLike, y: ArrayLike, label: str) -> None:
    """The paper's figures at some places: black crosses."""
    ax.plot(np.asarray(x), np.asarray(y), color="black", linestyle="", marker="x", markersize=9, label=label, zorder=4)


def classified(ax: Axes, x: ArrayLike, taken: ArrayLike, right: ArrayLike, radius: float) -> None:
    """Points of the unit square taken for outside or inside of the disk in its middle, the wrong ones crossed."""
    from matplotlib.patches import Circle

    x, taken, right = np.asarray(x), np.asarray(taken), np.asarray(right)
    for side, (name, marker) in enumerate((("taken for outside", "s"), ("taken for inside", "o"))):
        shown = x[taken == side]
        ax.plot(*shown.T, linestyle="", marker=marker, markersize=3, color=COLOURS[side], label=name)
    wrong = x[taken != right]
    ax.plot(*wrong.T, linestyle="", marker="x", markersize=5, color="black", label="wrong")
    ax.add_patch(Circle((0.5, 0.5), radius, fill=False, color="black", linewidth=1.2))
    ax.set_aspect("equal")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_atomically(path, content.getvalue(), "study")


def finished(figure: Figure, columns: int = 3) -> Figure:
    """The figure with one legend below its panels, where it covers nothing."""
    named = {}
    for ax in figure.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    if named:
        figure.legend(list(named.values()), list(named), loc="outside lower center", ncols=columns, frameon=False)
    return figure
