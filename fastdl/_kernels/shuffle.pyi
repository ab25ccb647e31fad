from typing import Any

from numpy.typing import NDArray

def shuffle(seed: int, order: NDArray[Any]) -> None: ...
