from typing import Any, TypeAlias

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

def loss_kinds() -> tuple[str, ...]: ...
def loss_forward(
    x: Array, t: Array, weight: Array | None, pos_weight: Array | None, kind: str, delta: float, y: Array
) -> None: ...
def loss_sum(x: Array, t: Array, weight: Array | None, pos_weight: Array | None, kind: str, delta: float) -> float: ...
def loss_backward(
    x: Array, t: Array, weight: Array | None, pos_weight: Array | None, kind: str, delta: float, scale: float, gx: Array
) -> None: ...
