"""LearningRateLog: the learning rates of every parameter group, epoch by epoch."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

from fastdl.callbacks.callback import Callback
from fastdl.errors import InvalidValueError
from fastdl.messages import shown

if TYPE_CHECKING:
    from fastdl.training import Trainer


class LearningRateLog(Callback):
    """Keep the learning rates that each epoch was trained with, one for each parameter group.

    The history's `lr` is that of the first group alone.

    Attributes:
        rates: a list for each finished epoch.

    Raises:
        ValueError: at the start of a fit, if the optimizer's groups have no lr.

    Example:
        >>> from fastdl import Trainer, data, nn, optim
        >>> x, y = data.disk(50, rng=0)
        >>> body, head = nn.Linear(2, 4, rng=1), nn.Linear(4, 2, rng=2)
        >>> groups = [{"params": body.parameters(), "lr": 0.1}, {"params": head.parameters()}]
        >>> model, optimizer = nn.Sequential(body, nn.ReLU(), head), optim.SGD(groups, lr=1.0)
        >>> trainer = Trainer(model, nn.CrossEntropyLoss(), optimizer, schedule=optim.ExponentialLR(optimizer, 0.5))
        >>> log = LearningRateLog()
        >>> history = trainer.fit(x, y, epochs=2, batch_size=10, callbacks=[log])
        >>> log.rates
        [[0.1, 1.0], [0.05, 0.5]]
    """

    def __init__(self) -> None:
        self.rates: list[list[float]] = []
        self._now: list[float] = []

    def on_fit_begin(self, trainer: Trainer, epochs: int) -> None:
        """Start afresh."""
        if not all("lr" in group for group in trainer.optimizer.param_groups):
            raise InvalidValueError("LearningRateLog", "an optimizer with an option lr", "one without")
        self.rates = []

    def on_epoch_begin(self, trainer: Trainer, epoch: int) -> None:
        """Look at the rates before the schedule's step."""
        self._now = [float(group["lr"]) for group in trainer.optimizer.param_groups]

    def on_epoch_end(self, trainer: Trainer, record: dict[str, float]) -> None:
        """Keep them, as the epoch is finished."""
        self.rates.append(self._now)

    def state_dict(self) -> dict[str, Any]:
        """Return the rates so far."""
        return {"rates": self.rates}

    def on_resume(self, trainer: Trainer, state: dict[str, Any]) -> None:
        """Go on from the rates so far."""
        rates = state.get("rates")
        if not isinstance(rates, list) or not all(
            isinstance(each, list) and all(isinstance(rate, numbers.Real) for rate in each) for each in rates
        ):
            raise InvalidValueError("LearningRateLog", "lists of rates", shown(rates))
        self.rates = [list(each) for each in rates]
