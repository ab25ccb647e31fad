"""Sources: what a program reads and writes outside of its arena, whichever model's arrays these are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from numpy.typing import NDArray

from fastdl.graph.graph import Graph


class Leaf(NamedTuple):
    """What a parameter or a buffer holds, by its number in the graph, or its gradient: "always", or None while it is frozen."""

    number: int
    gradient: bool | Literal["always"] = False


class Held(NamedTuple):
    """An array that a layer or a loss holds, by its node's number and its name there."""

    number: int
    name: str


# An array is a constant; None stands for one that each run is given.
Source: TypeAlias = "Leaf | Held | NDArray[Any] | None"


def found(sources: Sequence[Source], graph: Graph) -> list[Any]:
    """The sources as a frame takes them, of the model whose trace this graph is."""
    return [_found(source, graph) for source in sources]


def _found(source: Source, graph: Graph) -> Any:
    if isinstance(source, Leaf):
        return graph.parameters[source.number], source.gradient
    if isinstance(source, Held):
        return graph.nodes[source.number].attributes["record"].held(source.name)
    return source
