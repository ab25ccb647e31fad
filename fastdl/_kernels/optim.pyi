from typing import Any, TypeAlias

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

def sgd_step(
    g: Array,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    decoupled: bool,
    maximize: bool,
    first: bool,
    p: Array,
    momentum_buffer: Array | None,
) -> None: ...
def rmsprop_step(
    g: Array,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    momentum: float,
    maximize: bool,
    eps_inside_sqrt: bool,
    p: Array,
    square_avg: Array,
    grad_avg: Array | None,
    momentum_buffer: Array | None,
) -> None: ...
def adam_step(
    g: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
    eps_inside_sqrt: bool,
    step: int,
    p: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    max_exp_avg_sq: Array | None,
) -> None: ...
def norm(g: Array) -> float: ...
def shrink(limit: float, norm: float, g: Array) -> None: ...
def clamp(low: float, high: float, g: Array) -> None: ...
