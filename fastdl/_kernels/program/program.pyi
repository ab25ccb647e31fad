from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.access import Access
from fastdl._kernels.watch import Watch

Array: TypeAlias = NDArray[Any]

OPERATION: np.dtype[Any]
OBJECTIVE: np.dtype[Any]
UPDATE: np.dtype[Any]
FEWEST_ALONE: int

class Program:
    draws: int
    def __init__(
        self,
        operations: Array,
        objective: Array | None,
        itemsize: int,
        input: int,
        target: int,
        draws: int,
        light: int,
        kept: object,
        blocks: tuple[int, ...],
    ) -> None: ...
    def train(
        self,
        x: Array,
        t: Array,
        order: Array | None,
        rows: int,
        seeds: Array | None,
        epochs: int,
        batch_size: int,
        updates: Array,
        limit_of_values: float,
        limit_of_norm: float,
        sums: bool,
        seed: int,
        call: int,
        outputs: Array | None,
        counts: list[int],
        members: list[slice],
        access: Access,
        watch: Watch,
        goes_on: Callable[[], bool],
        ended: Callable[[float, float, float], int | None],
    ) -> tuple[bool, int, int, float, float, float, int]: ...
    def first_not_finite(self, x: Array, seed: int, call: int) -> int: ...
