"""Adam and AdamW: steps along a running mean of the gradient, divided by a running root mean square."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from fastdl._kernels.optim import adam_step
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import shown
from fastdl.nn.parameter import Parameter
from fastdl.optim.optimizer import Optimizer
from fastdl.validation import real_number


class Adam(Optimizer):
    """m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p = p - lr m' / (sqrt(v') + eps).

    m' = m / (1 - b1^t) and v' = v / (1 - b2^t) in step t.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        betas: (b1, b2), both in [0, 1).
        eps: keeps the denominator from 0.
        weight_decay: share of the parameter added to the gradient.
        amsgrad: divide by the largest v so far.
        maximize: ascend instead.
        eps_inside_sqrt: divide by sqrt(v' + eps), as paper 001 has it.
        decoupled_weight_decay: p = (1 - lr weight_decay) p apart from the gradient, as AdamW does.

    Raises:
        TypeError, ValueError: for options that are not finite numbers >= 0, betas not in [0, 1).

    Example:
        >>> from fastdl import nn
        >>> optimizer = Adam(nn.Linear(2, 1).parameters(), lr=1e-3)

    Source: torch.optim.Adam; D. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", 2014.
    """

    native = "adam"
    state_names: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        eps_inside_sqrt: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "eps_inside_sqrt": eps_inside_sqrt,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise an error for options that are not numbers >= 0, and betas that are not a pair in [0, 1)."""
        super().check_group(group)
        name = type(self).__name__
        betas = group["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise InvalidTypeError(name, "a pair of numbers", shown(betas), argument="betas")
        for beta in betas:
            if real_number(beta, "betas", name, 0.0, 1.0) == 1.0:
                raise InvalidValueError(name, "betas in [0, 1)", shown(betas))
        for option in ("eps", "weight_decay"):
            real_number(group[option], option, name, low=0.0)

    def _active_state(self, groups: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
        return self.state_names if any(group["amsgrad"] for group in groups) else self.state_names[:2]

    def _states(self, state: dict[str, Any], group: dict[str, Any]) -> tuple[Any, ...]:
        return state["exp_avg"], state["exp_avg_sq"], state["max_exp_avg_sq"] if group["amsgrad"] else None

    def update(self, data: Any, grad: Any, state: dict[str, Any], group: dict[str, Any], step: int) -> None:
        """Take one step, in one pass."""
        adam_step(grad, group, step, data, *self._states(state, group))


class AdamW(Adam):
    """Adam with weight decay apart from the gradient: p = (1 - lr weight_decay) p before the step.

    Args:
        params: parameters or groups of them.
        lr, betas, eps, amsgrad, maximize, eps_inside_sqrt: as for Adam.
        weight_decay: 0.01 unless given.

    Example:
        >>> from fastdl import nn
        >>> optimizer = AdamW(nn.Linear(2, 1).parameters(), lr=1e-3, weight_decay=0.05)

    Source: torch.optim.AdamW; I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", 2017.
    """

    fixed_options: ClassVar[Mapping[str, Any]] = {"decoupled_weight_decay": True}

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        eps_inside_sqrt: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            eps_inside_sqrt=eps_inside_sqrt,
            decoupled_weight_decay=True,
        )
