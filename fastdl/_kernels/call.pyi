from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeAlias

from numpy.typing import NDArray

from fastdl._kernels.program import Program

Array: TypeAlias = NDArray[Any]

class Watch:
    def __init__(
        self, dictionaries: Iterable[dict[str, Any]], passing: Collection[str], parameters: Iterable[Any], kind: Any
    ) -> None: ...
    def unchanged(self) -> bool: ...

class Kept:
    y: Array
    def current(self) -> bool: ...
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
    ) -> None: ...
    def forward(self, x: Any, owner: Any) -> Kept | None: ...
