"""History: what each epoch of a fit came to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import short, shown

Metric: TypeAlias = Callable[[np.ndarray, np.ndarray], float]
RESERVED = ("epoch", "loss", "lr", "seconds")


class History:
    """What each finished epoch came to, one record an epoch.

    A record holds `loss` (the mean over all that the criterion's mean counts in the epoch, such as targets that are not
    ignored, or their weights, taken while the weights change; NaN where that is nothing; the sum where the criterion
    sums), the means of the loss's terms where it is a sum of named ones, the metrics (of the outputs of those same steps),
    `val_loss`, `val_*` terms and metrics (after the epoch, in evaluation mode) where there are validation data, `lr` (the
    first parameter group's in that epoch) and `seconds` (validation included).

    `history["loss"]` is the list over epochs, `history[-1]` the last record, `len(history)` the number of epochs,
    `"val_loss" in history` whether there is such a name, and iteration gives the records.

    Attributes:
        names: the names in each record, known before the first epoch.
        records: the records.
        engine: which engine ran, and why.
        interrupted: whether Ctrl-C ended the fit.

    Example:
        >>> history = History(("loss", "lr"))
        >>> history.records += [{"loss": 0.5, "lr": 0.1}, {"loss": 0.25, "lr": 0.1}]
        >>> history["loss"], history[-1]["lr"], len(history), "val_loss" in history
        ([0.5, 0.25], 0.1, 2, False)
    """

    def __init__(self, names: Iterable[str], engine: str = "plain") -> None:
        self.names = tuple(names)
        self.records: list[dict[str, float]] = []
        self.engine = engine
        self.interrupted = False

    def __getitem__(self, key: str | int) -> Any:
        if not isinstance(key, str):
            return self.records[key]
        if key not in self.names:
            raise KeyError(f"History: expected one of {', '.join(self.names)}, got {short(key)}")
        return [record[key] for record in self.records]

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[dict[str, float]]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {value:.4g}" for name, value in self.records[-1].items()) if self.records else ""
        return f"History({len(self)} epochs{'; last: ' if last else ''}{last})"


def refuse_taken(terms: Iterable[Any], metrics: Iterable[str]) -> None:
    """An error where a loss's terms have names that a history cannot give them."""
    for name in terms:
        if not (isinstance(name, str) and name.isidentifier()):
            raise InvalidValueError("Trainer", "an identifier as the name of each term of the loss", shown(name))
        if name in RESERVED or name.startswith("val_") or name in metrics:
            expected = "names of the loss's terms apart from the metrics' and the history's"
            raise InvalidValueError("Trainer", expected, shown(name))


def named_metrics(metrics: Iterable[Metric] | Mapping[str, Metric]) -> dict[str, Metric]:
    """The metrics by the names that a history gives them.

    Raises:
        TypeError, ValueError: if they are no functions, or their names are missing, taken or a history's own.

    Example:
        >>> from fastdl.metrics import accuracy
        >>> list(named_metrics([accuracy]))
        ['accuracy']
    """
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise InvalidTypeError("Trainer", "a list or dictionary of functions", shown(metrics), argument="metrics")
    listed: Iterable[tuple[Any, Any]] = (
        metrics.items() if isinstance(metrics, Mapping) else [(getattr(m, "__name__", ""), m) for m in metrics]
    )
    named: dict[str, Any] = {}
    for name, metric in listed:
        if not callable(metric):
            raise InvalidTypeError("Trainer", "functions of (output, target)", shown(metric), argument="metrics")
        if not (isinstance(name, str) and name.isidentifier()):
            raise InvalidValueError("Trainer", "a name for each metric", shown(name), "write a dictionary of names")
        if name in RESERVED or name.startswith("val_") or name in named:
            raise InvalidValueError("Trainer", "metric names apart from each other and the history's", shown(name))
        named[name] = metric
    return named
