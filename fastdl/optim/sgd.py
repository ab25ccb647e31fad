"""SGD: stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from fastdl._kernels.optim import sgd_step
from fastdl.errors import InvalidValueError
from fastdl.nn.parameter import Parameter
from fastdl.optim.optimizer import Optimizer
from fastdl.validation import real_number


class SGD(Optimizer):
    """p = p - lr d, where d = g + weight_decay p; with momentum v = momentum v + (1 - dampening) d stands for d.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        momentum: share of the velocity that stays; the first step's velocity is d itself.
        dampening: share of d that is left out of the velocity.
        weight_decay: share of the parameter added to the gradient.
        nesterov: step along d + momentum v; needs momentum and no dampening.
        maximize: ascend instead.
        decoupled_weight_decay: p = (1 - lr weight_decay) p apart from the gradient. Paper 000 subtracts lambda p outright:
            weight_decay = lambda / lr.

    Raises:
        TypeError, ValueError: for options that are not finite numbers >= 0.

    Example:
        >>> from fastdl import nn
        >>> optimizer = SGD(nn.Linear(2, 1).parameters(), lr=0.01, momentum=0.9)

    Source: torch.optim.SGD.
    """

    native = "sgd"
    state_names: ClassVar[tuple[str, ...]] = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise an error for options that are not numbers >= 0, and for Nesterov without plain momentum."""
        super().check_group(group)
        for name in ("momentum", "dampening", "weight_decay"):
            real_number(group[name], name, "SGD", low=0.0)
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise InvalidValueError("SGD", "momentum > 0 and dampening = 0 with nesterov=True")

    def _active_state(self, groups: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
        return self.state_names if any(group["momentum"] for group in groups) else ()

    def _states(self, state: dict[str, Any], group: dict[str, Any]) -> tuple[Any, ...]:
        return (state["momentum_buffer"] if group["momentum"] else None,)

    def update(self, data: Any, grad: Any, state: dict[str, Any], group: dict[str, Any], step: int) -> None:
        """Take one step, in one pass."""
        sgd_step(grad, group, step, data, *self._states(state, group))
