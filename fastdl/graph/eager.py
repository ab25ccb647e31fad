"""EagerGraph: a graph that is computed as it is traced, node by node with NumPy, so that its values have elements."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastdl.graph.layers
import fastdl.graph.python  # noqa: F401 - these enter what computes layers and modules in Python
from fastdl._kernels.quiet import Quiet
from fastdl.graph.graph import Graph
from fastdl.graph.interpreter import Symbols, computed
from fastdl.graph.registered import Registered
from fastdl.graph.size import Shape
from fastdl.graph.value import Value


class EagerGraph(Graph):
    """A graph of sizes that are known, in which `print`, `if` and breakpoints work.

    Args:
        dtype: as for Graph.
    """

    at_once = True

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
        if value.number not in self._arrays:
            leaf = self.parameters[value.number]
            # Of a buffer a copy, for it may be updated.
            self._arrays[value.number] = leaf._data if leaf._grad is not None else leaf._data.copy()
        return value

    def registered(self, leaf: Registered) -> Value | None:
        """See Graph."""
        value = super().registered(leaf)
        if value is not None:
            self._arrays[value.number] = leaf._data.copy()
        return value

    def array_of(self, value: Value) -> Any:
        """See Graph."""
        return self._arrays[value.number]

    def computed(self, number: int) -> Any:
        """The array of a node."""
        return self._arrays[number]

    def saved(self, record: Any) -> Any:
        """What the latest forward of a layer or loss, by its record, has left for its backward."""
        return self._symbols.kept.get(id(record))

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
            with Quiet(all="ignore"):
                found = computed(self.nodes[value.number], self._symbols, [self._arrays[each] for each in inputs])
            self._arrays[value.number] = np.asarray(found, value.dtype)
        return value

    def own_value(self, value: Value) -> Value:
        """The value of this graph that stands where one stands in the graph that it is a copy of."""
        return Value(self, value.number, value.shape, value.dtype, value.deliberate)

    def copy(self, adds: bool) -> EagerGraph:
        """A graph that begins with these nodes; `adds`: whether modules in Python add to the gradients of their parameters."""
        copy = EagerGraph(self.dtype)
        copy.nodes, copy.parameters, copy._arrays = self.nodes.copy(), self.parameters.copy(), self._arrays.copy()
        copy._of_parameter = {key: copy.own_value(value) for key, value in self._of_parameter.items()}
        copy.cut = self.cut.copy()
        copy._symbols.kept, copy._symbols.adds = self._symbols.kept.copy(), adds
        return copy
