"""Learning-rate schedules: how lr changes from epoch to epoch."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.instance import WithDictionary
from fastdl.messages import listed, shown
from fastdl.optim.optimizer import Optimizer
from fastdl.validation import one_of, positive_integer, real_number


class Schedule(WithDictionary):
    """A learning rate that follows the epoch, for each group of an optimizer.

    A subclass defines `rate(initial, epoch)`. `step()`, called once after each epoch, goes on from the rates that the
    optimizer has then, so that another one set by hand, by a loaded state or by a second schedule counts:

    lr = lr rate(initial, epoch) / rate(initial, epoch - 1)

    which is rate(initial, epoch) where nothing else changes them. Epochs count from 0.

    Example:
        >>> from fastdl import nn, optim
        >>> class Linear(Schedule):
        ...     def rate(self, initial, epoch):
        ...         return initial * (1 - epoch / 10)
        >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
        >>> schedule = Linear(optimizer)
        >>> schedule.step()
        >>> optimizer.param_groups[0]["lr"]
        0.9
    """

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise InvalidTypeError(type(self).__name__, "an Optimizer", type(optimizer).__name__)
        if not all("lr" in group for group in optimizer.param_groups):
            raise InvalidValueError(type(self).__name__, "an optimizer with an option lr", shown(optimizer))
        self.optimizer = optimizer
        self.initial = [group["lr"] for group in optimizer.param_groups]
        self.epoch = 0
        for group, initial in zip(optimizer.param_groups, self.initial, strict=True):
            group["lr"] = self.rate(initial, 0)

    def rate(self, initial: float, epoch: int) -> float:
        """Return the learning rate of an epoch; defined by the subclass."""
        raise TypeError(f"{type(self).__name__} has no rate: define rate(self, initial, epoch)")

    def follow(self, lr: float, initial: float, epoch: int) -> float:
        """Return the learning rate of an epoch from lr, the latest one, where that is another than `rate` gave."""
        before, after = self.rate(initial, epoch - 1), self.rate(initial, epoch)
        return lr * (after / before) if before else after or lr

    def step(self, metric: float | None = None) -> None:
        """Go on to the next epoch; the metric is for ReduceLROnPlateau."""
        self.epoch += 1
        for group, initial in zip(self.optimizer.param_groups, self.initial, strict=True):
            lr = float(group["lr"])
            as_set = lr == self.rate(initial, self.epoch - 1)
            group["lr"] = self.rate(initial, self.epoch) if as_set else self.follow(lr, initial, self.epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimizer, whose state holds the rates."""
        return {name: value for name, value in dict(vars(self)).items() if name != "optimizer"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what state_dict gave; the rates are the optimizer's, and come with its state.

        Raises:
            TypeError: if it is no dictionary, or an entry is of another kind.
            ValueError: if the entries are not this schedule's; nothing is changed in either case.
        """
        own = self.state_dict()
        if not isinstance(state, Mapping):
            raise InvalidTypeError(type(self).__name__, "a dictionary such as state_dict() gives", shown(state))
        if set(state) != set(own):
            raise InvalidValueError(type(self).__name__, f"entries {', '.join(own)}", listed(state))
        for name, value in own.items():
            if any(isinstance(value, kind) != isinstance(state[name], kind) for kind in (numbers.Real, list, str)):
                raise InvalidTypeError(type(self).__name__, f"{name} such as {shown(value)}", shown(state[name]))
        if len(state["initial"]) != len(self.initial):
            raise InvalidValueError(type(self).__name__, f"rates of {len(self.initial)} groups", len(state["initial"]))
        vars(self).update(state)


class StepLR(Schedule):
    """lr = initial gamma^(epoch // step_size).

    Args:
        optimizer: whose rates to set.
        step_size: epochs between drops.
        gamma: factor of each drop.

    Source: torch.optim.lr_scheduler.StepLR.
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = positive_integer(step_size, "step_size", "StepLR")
        self.gamma = real_number(gamma, "gamma", "StepLR", low=0.0)
        super().__init__(optimizer)

    def rate(self, initial: float, epoch: int) -> float:
        """Return the learning rate of an epoch."""
        return initial * self.gamma ** (epoch // self.step_size)

    def follow(self, lr: float, initial: float, epoch: int) -> float:
        """Return the rate of an epoch from the latest one."""
        return lr if epoch % self.step_size else lr * self.gamma


class ExponentialLR(Schedule):
    """lr = initial gamma^epoch.

    Args:
        optimizer: whose rates to set.
        gamma: factor from epoch to epoch.

    Source: torch.optim.lr_scheduler.ExponentialLR.
    """

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = real_number(gamma, "gamma", "ExponentialLR", low=0.0)
        super().__init__(optimizer)

    def rate(self, initial: float, epoch: int) -> float:
        """Return the learning rate of an epoch."""
        return initial * self.gamma**epoch

    def follow(self, lr: float, initial: float, epoch: int) -> float:
        """Return the rate of an epoch from the latest one."""
        return lr * self.gamma


class CosineAnnealingLR(Schedule):
    """Half a cosine from the initial rate down to eta_min, after a linear warm-up.

    lr = initial (epoch + 1) / (warmup + 1) for epoch < warmup, then
    lr = eta_min + (initial - eta_min) (1 + cos(pi e / E)) / 2 with e = epoch - warmup, E = T_max - warmup; eta_min after T_max.

    Args:
        optimizer: whose rates to set.
        T_max: the epoch at which eta_min is reached.
        eta_min: the lowest rate.
        warmup: epochs of warm-up; 0 for none.

    Source: torch.optim.lr_scheduler.CosineAnnealingLR (which goes up again after T_max); I. Loshchilov, F. Hutter, "SGDR",
    2016; warm-up: P. Goyal et al., "Accurate, Large Minibatch SGD", 2017.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, *, warmup: int = 0) -> None:
        self.T_max = positive_integer(T_max, "T_max", "CosineAnnealingLR")
        self.eta_min = real_number(eta_min, "eta_min", "CosineAnnealingLR", low=0.0)
        self.warmup = positive_integer(warmup, "warmup", "CosineAnnealingLR", or_zero=True)
        if self.warmup >= self.T_max:
            raise InvalidValueError("CosineAnnealingLR", f"warmup below T_max = {shown(T_max)}", shown(warmup))
        super().__init__(optimizer)

    def rate(self, initial: float, epoch: int) -> float:
        """Return the learning rate of an epoch."""
        if epoch < self.warmup:
            return initial * (epoch + 1) / (self.warmup + 1)
        return self.eta_min + (initial - self.eta_min) * self._height(epoch)

    def follow(self, lr: float, initial: float, epoch: int) -> float:
        """Return the rate of an epoch from the latest one, which stays as it is after T_max."""
        if epoch <= self.warmup:
            return lr * (epoch + 1) / epoch
        if epoch > self.T_max:
            return lr
        return self.eta_min + (lr - self.eta_min) * self._height(epoch) / self._height(epoch - 1)

    def _height(self, epoch: int) -> float:
        """Where the cosine stands after the warm-up, from 1 down to 0."""
        part = min((epoch - self.warmup) / (self.T_max - self.warmup), 1.0)
        return (1 + math.cos(math.pi * part)) / 2


class ReduceLROnPlateau(Schedule):
    """Multiply lr by factor when a metric has not improved for more than `patience` epochs.

    Args:
        optimizer: whose rates to set.
        mode: "min" or "max", which way the metric improves.
        factor: below 1.
        patience: epochs without improvement that are let pass.
        threshold: an improvement is a change by more than this, of the best's magnitude ("rel") or as it is ("abs").
        threshold_mode: "rel" or "abs".
        cooldown: epochs after a reduction in which none are counted.
        min_lr: lower bound of the rate, or one for each group.
        eps: a reduction by no more than this is left out.

    Example:
        >>> from fastdl import nn, optim
        >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
        >>> schedule = ReduceLROnPlateau(optimizer, patience=0)
        >>> for loss in (1.0, 1.0):
        ...     schedule.step(loss)
        >>> optimizer.param_groups[0]["lr"]
        0.1

    Source: torch.optim.lr_scheduler.ReduceLROnPlateau (where a negative metric improves with "rel" as it stands still).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        name = "ReduceLROnPlateau"
        self.mode = one_of(("min", "max"), mode, "mode", name)
        self.threshold_mode = one_of(("rel", "abs"), threshold_mode, "threshold_mode", name)
        self.factor = real_number(factor, "factor", name, 0.0, 1.0)
        if self.factor == 1.0:
            raise InvalidValueError(name, "a factor below 1", factor)
        self.patience = positive_integer(patience, "patience", name, or_zero=True)
        self.cooldown = positive_integer(cooldown, "cooldown", name, or_zero=True)
        self.threshold = real_number(threshold, "threshold", name, low=0.0)
        self.min_lr: float | list[float] = (
            [real_number(each, "min_lr", name, low=0.0) for each in min_lr]
            if isinstance(min_lr, (list, tuple))
            else real_number(min_lr, "min_lr", name, low=0.0)  # pyright: ignore[reportArgumentType]
        )
        self.eps = real_number(eps, "eps", name, low=0.0)
        self.best = math.inf if mode == "min" else -math.inf
        self.bad_epochs = 0
        self.cooling = 0
        super().__init__(optimizer)
        if isinstance(self.min_lr, list) and len(self.min_lr) != len(optimizer.param_groups):
            raise InvalidValueError(name, f"min_lr for each of {len(optimizer.param_groups)} groups", len(self.min_lr))

    def step(self, metric: float | None = None) -> None:
        """Take the epoch's metric into account and go on to the next epoch."""
        if metric is None:
            raise InvalidValueError("ReduceLROnPlateau", "the epoch's metric", hint="write schedule.step(metric)")
        if isinstance(metric, bool) or not isinstance(metric, numbers.Real):
            raise InvalidTypeError("ReduceLROnPlateau", "a number", shown(metric), argument="metric")
        if self._improves(metric):
            self.best, self.bad_epochs = metric, 0
        else:
            self.bad_epochs += 1
        if self.cooling > 0:
            self.cooling -= 1
            self.bad_epochs = 0
        if self.bad_epochs > self.patience:
            self._reduce()
            self.cooling, self.bad_epochs = self.cooldown, 0
        self.epoch += 1

    def _improves(self, metric: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        found, best = sign * metric, sign * self.best
        if self.threshold_mode == "abs":
            return found < best - self.threshold
        return found < (best if math.isinf(best) else best * (1 - math.copysign(self.threshold, best)))

    def _reduce(self) -> None:
        groups = self.optimizer.param_groups
        bounds = self.min_lr if isinstance(self.min_lr, list) else [self.min_lr] * len(groups)
        for group, bound in zip(groups, bounds, strict=True):
            lr = float(group["lr"])
            reduced = max(lr * self.factor, bound)
            if lr - reduced > self.eps:
                group["lr"] = reduced

    def rate(self, initial: float, epoch: int) -> float:
        """Return the learning rate that the optimizer begins with; what follows depends on the metric."""
        return initial
