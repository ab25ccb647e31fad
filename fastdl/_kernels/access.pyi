from collections.abc import Collection
from typing import Any

def busy() -> bool: ...

class Access:
    def __init__(
        self,
        reads: Collection[object] = (),
        writes: Collection[object] = (),
        reads_gradients: Collection[object] = (),
        writes_gradients: Collection[object] = (),
    ) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *exception: Any) -> None: ...
