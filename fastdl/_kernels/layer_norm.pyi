from typing import Any, TypeAlias

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

def layer_norm_forward(
    x: Array, W: Array | None, b: Array | None, eps: float, mean: Array, inverse: Array, y: Array
) -> None: ...
def layer_norm_backward(
    gy: Array,
    x: Array,
    W: Array | None,
    mean: Array,
    inverse: Array,
    accumulate: bool,
    gx: Array | None,
    gW: Array | None,
    gb: Array | None,
) -> None: ...
