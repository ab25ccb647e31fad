"""DerivedLoss: a criterion that is a function, run node by node with its gradients, for the plain engine."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastdl.graph.functions  # noqa: F401 - lets NumPy's functions take values
from fastdl.data.nested import leaves, mapped
from fastdl.graph.eager import EagerGraph
from fastdl.graph.gradient import gradient
from fastdl.graph.trace import Terms, loss_of
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
        # What named terms are multiplied with, where batches of a step count differently; see WeightedLosses.shares.
        self.shares: dict[str, float] | None = None
        self._count: float = 0
        self._gradients: Any = None
        # The named terms of the latest loss.
        self.terms: dict[str, float] = {}

    def __call__(self, output: Any, target: Any) -> float:
        """Return the loss; backward gives its gradients."""
        graph, outputs, (loss, terms) = self._computed(output, target)
        self._count = self.samples if terms else self._count_of(graph, loss)
        self.terms = {name: float(value) for name, value in terms.items()}
        if self.shares is not None:
            self.terms = {name: self.terms[name] * share if share else 0.0 for name, share in self.shares.items()}
        self._parameters = [p for p in graph.parameters.values() if p._requires_grad]
        with graph.traced():
            wanted = [*(value for _, value in leaves(outputs)), *map(graph.parameter, self._parameters)]
            left = iter([graph.array_of(value) for value in gradient(loss, wanted)])
        self._gradients = mapped(outputs, lambda _: next(left))
        self._of_parameters = list(left)
        return 0.0 if self.shares is not None and not any(self.shares.values()) else float(loss)

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
            function = self.function if self.shares is None else self._shared
            return graph, outputs, loss_of(function, outputs, targets, self.model, self.samples)

    def _shared(self, output: Any, target: Any, model: Any) -> Terms:
        """The terms with their shares; those that nothing of the batch counts in are left out."""
        assert self.shares is not None
        losses, weights = self.function(output, target, model)
        shares = {name: share for name, share in self.shares.items() if share} or self.shares
        return Terms({name: losses[name] for name in shares}, {name: weights[name] * shares[name] for name in shares})

    def _counted(self, rows: int) -> float:
        """How much the latest loss counts among those of batches, as that of a Loss."""
        return self._count

    def _count_of(self, graph: EagerGraph, loss: Value) -> float:
        """What a loss of fastdl's own that the function ends in counts; else the samples."""
        node = graph.nodes[loss.number]
        if node.operation != "loss":
            return self.samples
        record = node.attributes["record"]
        return record.module._counted(self.samples, graph.saved(record))

    def backward(self) -> Any:
        """Return the gradients with respect to the outputs; add those of parameters that the criterion reads itself."""
        for parameter, found in zip(self._parameters, self._of_parameters, strict=True):
            parameter.grad += found
        return self._gradients
