"""EagerGraph: a graph that is computed as it is traced, node by node with NumPy, so that its values have elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import fastdl.graph.layers  # noqa: F401 - enters what computes layers
from fastdl.graph.gradient import rule
from fastdl.graph.graph import Graph, Node
from fastdl.graph.interpreter import Symbols, computed, computes
from fastdl.graph.size import Shape
from fastdl.graph.value import Value


class EagerGraph(Graph):
    """A graph of sizes that are known, in which `print`, `if` and breakpoints work.

    Args:
        dtype: as for Graph.
    """

    def __init__(self, dtype: Any) -> None:
        super().__init__(dtype)
        self._arrays: dict[int, Any] = {}
        self._symbols = Symbols({}, moves=True)

    def given(self, array: Any) -> Value:
        """An array as an input."""
        array = np.asarray(array)
        value = self.input("", array.shape, array.dtype)
        self._arrays[value.number] = np.asarray(array, value.dtype)
        return value

    def parameter(self, parameter: Any) -> Value:
        """See Graph."""
        value = super().parameter(parameter)
        self._arrays.setdefault(value.number, parameter._data)
        return value

    def array_of(self, value: Value) -> Any:
        """See Graph."""
        return self._arrays[value.number]

    def _new(
        self,
        operation: str,
        inputs: tuple[int, ...],
        attributes: dict[str, Any],
        shape: Shape,
        dtype: Any,
        deliberate: Any,
    ) -> Value:
        value = super()._new(operation, inputs, attributes, shape, dtype, deliberate)
        if operation not in ("input", "parameter"):
            with np.errstate(all="ignore"):
                found = computed(self.nodes[value.number], self._symbols, [self._arrays[each] for each in inputs])
            self._arrays[value.number] = np.asarray(found, value.dtype)
        return value

    def calls(self) -> list[Value]:
        """The results of modules in Python."""
        numbered = enumerate(self.nodes)
        return [
            Value(self, n, node.shape, node.dtype, frozenset()) for n, node in numbered if node.operation == "python"
        ]

    def own_value(self, value: Value) -> Value:
        """The value of this graph that stands where one stands in the graph that it is a copy of."""
        return Value(self, value.number, value.shape, value.dtype, value.deliberate)

    def copy(self, adds: bool) -> EagerGraph:
        """A graph that begins with these nodes; `adds`: whether modules in Python add to the gradients of their parameters."""
        copy = EagerGraph(self.dtype)
        copy.nodes, copy.parameters, copy._arrays = self.nodes.copy(), self.parameters.copy(), self._arrays.copy()
        copy._of_parameter = {key: copy.own_value(value) for key, value in self._of_parameter.items()}
        copy._symbols.kept, copy._symbols.adds = self._symbols.kept.copy(), adds
        return copy


class PythonCall(NamedTuple):
    """A call of a module in Python: what it has returned, and its backward."""

    output: Any
    backward: Callable[[Any, bool], Any]

    __hash__ = object.__hash__


def python(output: Any, backward: Callable[[Any, bool], Any], inputs: Sequence[Value]) -> Value:
    """What a module in Python has returned for some inputs, as a value.

    `backward`, given the gradient of that, and whether to add to those of parameters, returns a gradient for each input.
    """
    graph = inputs[0].graph
    return graph.add("python", tuple(inputs), output.shape, graph.dtype, call=PythonCall(output, backward))


@computes("python")
def _(node: Node, values: Symbols, *inputs: Any) -> Any:
    return node.attributes["call"].output


@rule("python")
def _(node: Node, gy: Value, y: Value, inputs: Any) -> Any:
    graph, call = y.graph, node.attributes["call"]
    back = graph.add("python_backward", (gy,), (), np.bool_, call=call)
    return [
        graph.add("python_gradient", (back,), x.shape, graph.dtype, number=n, call=call)
        if x.dtype.kind == "f"
        else None
        for n, x in enumerate(inputs)
    ]


@computes("python_backward")
def _(node: Node, values: Symbols, gy: Any) -> Any:
    call = node.attributes["call"]
    values.kept[id(call)] = call.backward(gy, values.adds)
    return True


@computes("python_gradient")
def _(node: Node, values: Symbols, back: Any) -> Any:
    return values.kept[id(node.attributes["call"])][node.attributes["number"]]
