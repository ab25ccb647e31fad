from typing import Any, TypeAlias

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

def gemm(
    a: Array,
    b: Array,
    bias: Array | None,
    transpose_a: bool,
    transpose_b: bool,
    accumulate: bool,
    activation: str | None,
    alpha: float,
    beta: float,
    c: Array,
) -> None: ...
