from typing import Any, TypeAlias

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

def batch_norm_forward(
    x: Array,
    W: Array | None,
    b: Array | None,
    eps: float,
    momentum: float,
    running_mean: Array | None,
    running_var: Array | None,
    batches: Array | None,
    mean: Array,
    inverse: Array,
    y: Array,
) -> None: ...
def batch_norm_evaluate(
    x: Array,
    W: Array | None,
    b: Array | None,
    running_mean: Array,
    running_var: Array,
    eps: float,
    mean: Array,
    inverse: Array,
    y: Array,
) -> None: ...
def batch_norm_backward(
    gy: Array,
    x: Array,
    W: Array | None,
    mean: Array,
    inverse: Array,
    training: bool,
    accumulate: bool,
    gx: Array | None,
    gW: Array | None,
    gb: Array | None,
) -> None: ...
