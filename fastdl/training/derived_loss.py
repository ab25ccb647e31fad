"""DerivedLoss: a criterion that is a function, with gradients from its trace, for the plain engine."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastdl.graph.functions  # noqa: F401 - lets NumPy's functions take values
from fastdl.data.nested import leaves, mapped
from fastdl.graph.gradient import gradient
from fastdl.graph.graph import Graph
from fastdl.graph.interpreter import run
from fastdl.graph.trace import loss_of
from fastdl.graph.value import Value


class DerivedLoss:
    """A function of outputs and targets, called and differentiated as a Loss.

    Args:
        function: the criterion.
        model: what it is given as a third argument, if it has one.
    """

    def __init__(self, function: Any, model: Any) -> None:
        self.function, self.model = function, model
        self._gradients: Any = None

    def __call__(self, output: Any, target: Any) -> float:
        """Return the loss; backward gives its gradients."""
        graph, outputs, loss, inputs = self._traced(output, target)
        self._parameters = {n: p for n, p in graph.parameters.items() if p._requires_grad}
        wanted = [value for _, value in leaves(outputs)]
        wanted += [Value(graph, n, p.shape, graph.dtype, frozenset()) for n, p in self._parameters.items()]
        found, *gradients = run(graph, [loss, *gradient(loss, wanted)], inputs)
        left = iter(gradients)
        self._gradients = mapped(outputs, lambda _: next(left))
        self._of_parameters = list(left)
        return float(found)

    def value(self, output: Any, target: Any) -> float:
        """Return the loss alone."""
        graph, _, loss, inputs = self._traced(output, target)
        return float(run(graph, [loss], inputs)[0])

    def _traced(self, output: Any, target: Any) -> tuple[Graph, Any, Value, dict[str, Any]]:
        """The graph of the loss, its values for the outputs, its result, and the arrays that it reads."""
        first = np.asarray(next(array for _, array in leaves(output)))
        graph, inputs = Graph(first.dtype if first.dtype.kind == "f" else np.float64), {}

        def entered(array: Any) -> Value:
            array = np.asarray(array)
            name = str(len(inputs))
            inputs[name] = array
            return graph.input(name, array.shape, array.dtype)

        outputs = mapped(output, entered)
        targets = None if target is None else mapped(target, entered)
        with graph.traced():
            return graph, outputs, loss_of(self.function, outputs, targets, self.model, len(first)), inputs

    def backward(self) -> Any:
        """Return the gradients with respect to the outputs; add those of parameters that the criterion reads itself."""
        for parameter, found in zip(self._parameters.values(), self._of_parameters, strict=True):
            parameter.grad += found
        return self._gradients
