"""Training one case, with fastdl or with PyTorch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from fastdl import nn, optim
from fastdl.studies.study import Case
from fastdl.training import Trainer
from fastdl.training.history import History, Metric


def trainer_for(
    case: Case,
    model: nn.Module,
    criterion: nn.Loss,
    optimizer: optim.Optimizer,
    metrics: Mapping[str, Metric] | None = None,
) -> Any:
    """fastdl's Trainer, or where the case's framework is PyTorch a twin of it that trains a copy there.

    The twin begins from the same weights and, of the same seed, sees the same batches.
    """
    if case.get("framework") == "PyTorch":
        from fastdl.studies.pytorch import Twin

        return Twin(model, criterion, optimizer, metrics=metrics or {})
    return Trainer(model, criterion, optimizer, metrics=metrics or {})


class Fitted(NamedTuple):
    """What a fit came to: its history, the seconds that it took, and whether the loss became NaN or infinite on the way."""

    history: History
    seconds: float
    diverged: bool


def fit(trainer: Any, x: Any, t: Any, **options: Any) -> Fitted:
    """`trainer.fit`, with the time that it took; where the loss diverges it ends before that step, in both frameworks.

    Raises:
        KeyboardInterrupt: if Ctrl-C ended it: the run does not count.
    """
    start, diverged = time.perf_counter(), False
    try:
        trainer.fit(x, t, progress=False, **options)
    except FloatingPointError:
        diverged = True
    seconds = time.perf_counter() - start
    if trainer.history.interrupted:
        raise KeyboardInterrupt
    return Fitted(trainer.history, seconds, diverged)
