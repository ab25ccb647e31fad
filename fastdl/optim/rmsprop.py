"""RMSprop: steps divided by a running root mean square of the gradient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from fastdl._kernels.optim import rmsprop_step
from fastdl.nn.parameter import Parameter
from fastdl.optim.optimizer import Optimizer
from fastdl.validation import real_number


class RMSprop(Optimizer):
    """s = alpha s + (1 - alpha) g^2;  p = p - lr g / (sqrt(s) + eps).

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        alpha: share of s that stays (rho of paper 001, which takes 0.9).
        eps: keeps the denominator from 0.
        weight_decay: share of the parameter added to the gradient.
        momentum: v = momentum v + g / (sqrt(s) + eps) is stepped along instead.
        centered: take the square of a running mean of g from s.
        maximize: ascend instead.
        eps_inside_sqrt: divide by sqrt(s + eps), as paper 001 has it (there 1e-6).
        decoupled_weight_decay: p = (1 - lr weight_decay) p apart from the gradient.

    Raises:
        TypeError, ValueError: for options that are not finite numbers >= 0.

    Example:
        >>> from fastdl import nn
        >>> optimizer = RMSprop(nn.Linear(2, 1).parameters(), lr=1e-3, alpha=0.9, eps=1e-6, eps_inside_sqrt=True)

    Source: torch.optim.RMSprop; G. Hinton, "Neural Networks for Machine Learning", lecture 6a, 2012.
    """

    native = "rmsprop"
    state_names: ClassVar[tuple[str, ...]] = ("square_avg", "grad_avg", "momentum_buffer")

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[dict[str, Any]],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
        eps_inside_sqrt: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "maximize": maximize,
                "eps_inside_sqrt": eps_inside_sqrt,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise an error for options that are not numbers >= 0, alpha also at most 1."""
        super().check_group(group)
        real_number(group["alpha"], "alpha", "RMSprop", 0.0, 1.0)
        for name in ("eps", "weight_decay", "momentum"):
            real_number(group[name], name, "RMSprop", low=0.0)

    def _active_state(self, groups: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
        needs = {"square_avg": True}
        needs["grad_avg"] = any(group["centered"] for group in groups)
        needs["momentum_buffer"] = any(group["momentum"] for group in groups)
        return tuple(name for name in self.state_names if needs[name])

    def _states(self, state: dict[str, Any], group: dict[str, Any]) -> tuple[Any, ...]:
        mean = state["grad_avg"] if group["centered"] else None
        return state["square_avg"], mean, state["momentum_buffer"] if group["momentum"] else None

    def update(self, data: Any, grad: Any, state: dict[str, Any], group: dict[str, Any], step: int) -> None:
        """Take one step, in one pass."""
        rmsprop_step(grad, group, step, data, *self._states(state, group))
