from typing import Any, TypeAlias

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Pair: TypeAlias = tuple[int, int]

def max_pool_forward(
    x: Array, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, y: Array, index: Array | None
) -> None: ...
def max_pool_backward(
    gy: Array, index: Array, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, gx: Array
) -> None: ...
def avg_pool_forward(
    x: Array,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    count_include_pad: bool,
    divisor_override: int | None,
    y: Array,
) -> None: ...
def avg_pool_backward(
    gy: Array,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    count_include_pad: bool,
    divisor_override: int | None,
    gx: Array,
) -> None: ...
def adaptive_avg_pool_forward(x: Array, y: Array) -> None: ...
def adaptive_avg_pool_backward(gy: Array, gx: Array) -> None: ...
