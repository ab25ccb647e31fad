from typing import Any, TypeAlias

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Pair: TypeAlias = tuple[int, ...]

def conv_forward(
    x: Array, W: Array, b: Array | None, stride: Pair, padding: Pair, dilation: Pair, groups: int, y: Array
) -> None: ...
def conv_backward_input(
    gy: Array, W: Array, stride: Pair, padding: Pair, dilation: Pair, groups: int, gx: Array
) -> None: ...
def conv_backward_weight(
    gy: Array,
    x: Array,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    accumulate: bool,
    gW: Array | None,
    gb: Array | None,
) -> None: ...
