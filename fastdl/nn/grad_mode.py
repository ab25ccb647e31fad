"""no_grad: whether forward keeps what backward needs, a setting of the calling thread."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from fastdl._kernels.grad_mode import Mode, Pause

_Function = TypeVar("_Function", bound=Callable[..., Any])


mode = Mode()


def is_grad_enabled() -> bool:
    """Tell whether forward keeps what backward needs, in this thread."""
    return mode.enabled


class no_grad(Pause):  # noqa: N801 - torch's name
    """Keep nothing for backward inside the block (or the decorated function), in the calling thread.

    A model in evaluation mode is not changed by a forward inside, so one model may serve many threads at once. In training
    mode a batch norm's running statistics still move, and dropout still drops, as in torch.

    Example:
        >>> with no_grad():
        ...     is_grad_enabled()
        False
        >>> is_grad_enabled()
        True

    Source: torch.no_grad.
    """

    __slots__ = ()

    def __call__(self, function: _Function) -> _Function:
        @wraps(function)
        def without_grad(*args: Any, **kwargs: Any) -> Any:
            with no_grad():
                return function(*args, **kwargs)

        return without_grad  # pyright: ignore[reportReturnType]
