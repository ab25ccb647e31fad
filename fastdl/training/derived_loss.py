"""DerivedLoss: a criterion that is a function, run node by node with its gradients, for the plain engine."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastdl.graph.functions  # noqa: F401 - lets NumPy's functions take values
from fastdl.data.nested import leaves, mapped
from fastdl.errors import InvalidValueError
from fastdl.graph.eager import EagerGraph
from fastdl.graph.gradient import gradient
from fastdl.graph.interpreter import needed
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
        # The graph of the latest loss, and whether it depends on outputs or parameters, and on the targets where there are any.
        self.graph: Any = None
        self.learns = self.uses_targets = True
        self._gradients: Any = None
        # The named terms of the latest loss.
        self.terms: dict[str, float] = {}

    def __call__(self, output: Any, target: Any) -> float:
        """Return the loss; backward gives its gradients."""
        graph, outputs, (loss, terms) = self._computed(output, target)
        self._count = self.samples if terms else self._count_of(graph, loss)
        self._look_at(graph, outputs, loss)
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
            found = loss_of(function, outputs, targets, self.model, self.samples)
        self._refuse_outer(graph)
        return graph, outputs, found

    def _shared(self, output: Any, target: Any, model: Any) -> Terms:
        """The terms with their shares; those that nothing of the batch counts in are left out."""
        assert self.shares is not None
        losses, weights = self.function(output, target, model)
        shares = {name: share for name, share in self.shares.items() if share} or self.shares
        return Terms({name: losses[name] for name in shares}, {name: weights[name] * shares[name] for name in shares})

    def _look_at(self, graph: EagerGraph, outputs: Any, loss: Value) -> None:
        """Find out what the loss depends on."""
        self.graph, reached = graph, needed(graph, [loss.number])
        own = {value.number for _, value in leaves(outputs)}
        given = {number for number, node in enumerate(graph.nodes) if node.operation == "input"}
        self.learns = bool(reached & (own | graph.parameters.keys()))
        self.uses_targets = given <= own or bool(reached & (given - own))

    def _refuse_outer(self, graph: EagerGraph) -> None:
        """(N,) with (N, 1) makes (N, N), hardly meant where outputs and targets have these shapes; a trace refuses it too."""
        n, one, other = self.samples, (self.samples,), (self.samples, 1)
        as_given: set[int] = set()
        for number, node in enumerate(graph.nodes):
            if node.operation == "input" and n > 1 and node.shape in (one, other):
                as_given.add(number)
            operands = {graph.nodes[each].shape for each in node.inputs if each in as_given}
            if node.shape == (n, n) and operands >= {one, other}:
                raise InvalidValueError(
                    f"{node.line}: np.{node.operation}",
                    "one shape of both",
                    "(N,) and (N, 1)",
                    "write x[:, 0] for the second, or x[:, None] for the first where the outer product is meant",
                )
            if node.shape in operands:
                as_given.add(number)

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
