from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

def nll_forward(x: Array, target: NDArray[np.int64], weight: Array | None, ignore_index: int, y: Array) -> None: ...
def nll_backward(target: NDArray[np.int64], weight: Array | None, ignore_index: int, gy: Array, gx: Array) -> None: ...
def cross_entropy_forward(
    x: Array,
    target: NDArray[np.int64],
    weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
    p: Array,
    y: Array,
) -> None: ...
def cross_entropy_backward(
    p: Array,
    target: NDArray[np.int64],
    weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
    gy: Array,
    gx: Array,
) -> None: ...
def cross_entropy_probabilities_forward(
    x: Array, t: Array, weight: Array | None, label_smoothing: float, p: Array, y: Array
) -> None: ...
def cross_entropy_probabilities_backward(
    p: Array, t: Array, weight: Array | None, label_smoothing: float, gy: Array, gx: Array
) -> None: ...
