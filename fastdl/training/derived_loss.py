"""DerivedLoss: a criterion that is a function, run node by node with its gradients, for the plain engine."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastdl.graph.functions  # noqa: F401 - lets NumPy's functions take values
from fastdl.data.nested import leaves, mapped
from fastdl.graph.eager import EagerGraph
from fastdl.graph.gradient import gradient
from fastdl.graph.trace import loss_of
from fastdl.graph.value import Value


class DerivedLoss:
    """A function of outputs and targets, called and differentiated as a Loss.

    Args:
        function: the criterion.
        model: what it is given as a third argument, if it has one.
        samples: how many the outputs are of; it may be set anew.
    """

    def __init__(self, function: Any, model: Any, samples: int = 0) -> None:
        self.function, self.model, self.samples = function, model, samples
        self._gradients: Any = None
        # The named terms of the latest loss.
        self.terms: dict[str, float] = {}

    def __call__(self, output: Any, target: Any) -> float:
        """Return the loss; backward gives its gradients."""
        graph, outputs, (loss, terms) = self._computed(output, target)
        self.terms = {name: float(value) for name, value in terms.items()}
        self._parameters = [p for p in graph.parameters.values() if p._requires_grad]
        with graph.traced():
            wanted = [*(value for _, value in leaves(outputs)), *map(graph.parameter, self._parameters)]
            left = iter([graph.array_of(value) for value in gradient(loss, wanted)])
        self._gradients = mapped(outputs, lambda _: next(left))
        self._of_parameters = list(left)
        return float(loss)

    def value(self, output: Any, target: Any) -> dict[str, float]:
        """Return the loss and its terms alone."""
        loss, terms = self._computed(output, target)[2]
        return {"loss": float(loss)} | {name: float(value) for name, value in terms.items()}

    def _computed(self, output: Any, target: Any) -> tuple[EagerGraph, Any, tuple[Value, dict[str, Value]]]:
        """The graph of the loss, its values for the outputs, and its result with its terms."""
        first = np.asarray(next(array for _, array in leaves(output)))
        graph = EagerGraph(first.dtype if first.dtype.kind == "f" else np.float64)
        graph.stand_for(self.model)
        outputs = mapped(output, graph.given)
        targets = None if target is None else mapped(target, graph.given)
        with graph.traced():
            return graph, outputs, loss_of(self.function, outputs, targets, self.model, self.samples)

    def backward(self) -> Any:
        """Return the gradients with respect to the outputs; add those of parameters that the criterion reads itself."""
        for parameter, found in zip(self._parameters, self._of_parameters, strict=True):
            parameter.grad += found
        return self._gradients
