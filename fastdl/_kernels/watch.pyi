from collections.abc import Collection, Iterable
from typing import Any

class Watch:
    def __init__(
        self,
        dictionaries: Iterable[dict[str, Any]],
        passing: Collection[str],
        parameters: Iterable[Any],
        kind: Any,
        in_place: bool = False,
    ) -> None: ...
    def stands(self) -> bool: ...
