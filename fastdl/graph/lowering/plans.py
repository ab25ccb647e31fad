"""Programs of graphs that have been planned before, for the next model of the same structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastdl.graph.content import content
from fastdl.graph.graph import Graph
from fastdl.graph.lowering.program import Lowered

# The most entries of all programs that are kept.
MOST_ENTRIES = 10_000
# Programs by what was planned, the latest last. Nothing is locked: threads that plan the same at once each make a program.
_PLANS: dict[Any, Lowered] = {}


def planned(graph: Graph, how: tuple[Any, ...], plan: Callable[[], Lowered]) -> Lowered:
    """A graph's program: one that was made for a graph of the same content, or a new one.

    Args:
        graph: the graph as it was traced, to which nothing is added behind.
        how: what else the program depends on: numbers of its values, and options.
        plan: differentiates and lowers the graph.
    """
    known = content(graph)
    key = known, how
    found = (None if known is None else _PLANS.pop(key, None)) or plan()
    graph.end()
    if known is None:
        return found
    _PLANS[key] = found
    entries = sum(len(each.entries) for each in list(_PLANS.values()))
    for each in list(_PLANS)[:-1]:
        if entries <= MOST_ENTRIES:
            break
        dropped = _PLANS.pop(each, None)
        entries -= 0 if dropped is None else len(dropped.entries)
    return found


def forget() -> None:
    """Let all graphs be planned anew."""
    _PLANS.clear()
