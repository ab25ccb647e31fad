from collections.abc import Callable
from typing import Any, TypeAlias

from numpy.typing import NDArray

from fastdl._kernels.access import Access
from fastdl._kernels.program.program import Program
from fastdl._kernels.watch import Watch

Array: TypeAlias = NDArray[Any]

class Kept:
    y: Array
    def backward(self, gy: Array, with_input: bool) -> Any: ...

class Call:
    free: list[Program]
    watch: Watch
    def __init__(
        self,
        program: Program,
        make: Callable[[], Program],
        watch: Watch,
        x: Array,
        output_shape: tuple[int, ...],
        least: int,
        parameters: list[Any],
        gradients: list[Any],
        stream: Callable[[], Any],
        forward: Access,
        backward: Access,
    ) -> None: ...
    def forward(self, batch: Any, owner: Any) -> Kept | None: ...
