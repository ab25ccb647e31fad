"""Modules in Python in a graph: one node for a call, two for its backward and the gradients that this returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastdl.graph.gradient import rule
from fastdl.graph.graph import Graph, Node
from fastdl.graph.interpreter import Symbols, computes
from fastdl.graph.size import Shape
from fastdl.graph.value import Value


class PythonCall(NamedTuple):
    """A call of a module in Python.

    Attributes:
        module: the module.
        forward: takes arrays; returns the output and what backward reads.
        backward: takes the latter, the gradient with respect to the output, whether to add to those of parameters, and whether
            the inputs' are asked for; returns a gradient for each input.
    """

    module: Any
    forward: Callable[..., tuple[Any, Any]]
    backward: Callable[[Any, Any, bool, bool], Sequence[Any]]

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def facts(self) -> tuple[int]:
        """What two traces of one call have in common."""
        return (id(self.module),)


def python(call: PythonCall, inputs: Sequence[Value], shape: Shape) -> Value:
    """What a module in Python returns for some values: one floating array of this shape."""
    graph = inputs[0].graph
    return graph.add("python", tuple(inputs), shape, graph.dtype, call=call)


def python_calls(graph: Graph) -> list[Value]:
    """What modules in Python have returned in a graph."""
    numbered = enumerate(graph.nodes)
    return [Value(graph, n, node.shape, node.dtype, frozenset()) for n, node in numbered if node.operation == "python"]


@computes("python")
def _(node: Node, values: Symbols, *inputs: Any) -> Any:
    call = node.attributes["call"]
    y, values.kept[id(call)] = call.forward(*inputs)
    return y


@rule("python")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> list[Value | None]:
    graph, call = y.graph, node.attributes["call"]
    back = graph.add("python_backward", (y, gy), (), np.bool_, call=call)
    return [
        graph.add("python_gradient", (back,), x.shape, graph.dtype, number=number, call=call)
        if x.dtype.kind == "f"
        else None
        for number, x in enumerate(inputs)
    ]


@computes("python_backward")
def _(node: Node, values: Symbols, y: Any, gy: Any) -> Any:
    call = node.attributes["call"]
    values.kept[id(call), "gradients"] = call.backward(
        values.kept[id(call)], np.asarray(gy, order="C"), values.adds, True
    )
    return True


@computes("python_gradient")
def _(node: Node, values: Symbols, back: Any) -> Any:
    return values.kept[id(node.attributes["call"]), "gradients"][node.attributes["number"]]
