"""WeightedLosses: a dictionary of losses, one for each output of a name, as one criterion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastdl.data.nested import leaves
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph.trace import Terms, takes_model
from fastdl.messages import listed
from fastdl.nn.loss import Loss
from fastdl.validation import kind_of


class WeightedLosses:
    """The weighted sum of losses of outputs and targets in dictionaries.

    Args:
        losses: by the names of outputs and targets: a loss, or a pair (loss, weight). A weight is a number or an nn.Scalar.
    """

    def __init__(self, losses: Mapping[str, Any]) -> None:
        self.losses: dict[str, Any] = {}
        self.weights: dict[str, Any] = {}
        for name, given in losses.items():
            loss, weight = given if isinstance(given, tuple) and len(given) == 2 else (given, 1.0)
            if not callable(loss) or isinstance(loss, type):
                raise InvalidTypeError("Trainer", f"a loss, or a pair (loss, weight), for {name!r}", kind_of(loss))
            if isinstance(weight, bool) or not (isinstance(weight, (int, float)) or hasattr(weight, "_of_graph")):
                raise InvalidTypeError(
                    "Trainer", f"a number or an nn.Scalar as the weight of {name!r}", kind_of(weight)
                )
            if getattr(loss, "reduction", "mean") not in ("mean", "batchmean", "sum"):
                raise InvalidValueError("Trainer", f"a loss of one number for {name!r}", "reduction='none'")
            self.losses[name], self.weights[name] = loss, weight

    def shares(self, targets: Any, of_step: Any, rows: int, rows_of_step: int) -> dict[str, float]:
        """What the losses of a batch with these targets are multiplied with, by name, for their sum to be those of its step."""
        shares = {}
        for name, loss in self.losses.items():
            count, whole = rows, rows_of_step
            if isinstance(loss, Loss):
                count, whole = loss._count_of(targets[name], rows), loss._count_of(of_step[name], rows_of_step)
            shares[name] = 1.0 if count is None or whole is None else count / whole if whole else 0.0
        return shares

    def count_rows(self, targets: Any) -> bool:
        """Whether the losses of batches of these targets are means that count as their rows."""
        rows = len(next(array for _, array in leaves(targets)))
        for name, loss in self.losses.items():
            if isinstance(loss, Loss) and (isinstance(targets, dict) and name in targets):
                count = loss._count_of(targets[name], rows)
                if getattr(loss, "weight", None) is not None or count not in (rows, targets[name].size):
                    return False
        return True

    def __call__(self, output: Any, target: Any, model: Any) -> Terms:
        """Return the losses by name, and their weights."""
        self.check(output, target)
        found = {
            name: loss(output[name], target[name], *([model] if takes_model(loss, 2) else []))
            for name, loss in self.losses.items()
        }
        return Terms(found, self.weights)

    def check(self, output: Any, target: Any) -> None:
        """Raise a TypeError for outputs or targets of other names."""
        for what, given in (("outputs", output), ("targets", target)):
            if not isinstance(given, dict) or not given.keys() >= self.losses.keys():
                got = listed(map(str, given)) if isinstance(given, dict) else type(given).__name__
                raise InvalidTypeError("Trainer", f"{what} by the names {listed(self.losses)}", got)
