"""The callbacks of a fit, from what its arguments say."""

from __future__ import annotations

from collections.abc import Iterable

from fastdl.callbacks.callback import Callback
from fastdl.callbacks.progress import ProgressBar
from fastdl.validation import kind_of


def listed(callbacks: Iterable[Callback], progress: bool | None) -> list[Callback]:
    """The callbacks of a fit, with a bar unless progress is False or there is one.

    Raises:
        TypeError: if they are not instances of Callback.
    """
    if isinstance(callbacks, Callback):
        raise TypeError(
            f"Trainer.fit: expected a list for callbacks, got a {kind_of(callbacks)}; write callbacks=[...]"
        )
    if not isinstance(callbacks, Iterable):
        raise TypeError(f"Trainer.fit: expected a list for callbacks, got {kind_of(callbacks)}")
    found = list(callbacks)
    for callback in found:
        if not isinstance(callback, Callback):
            raise TypeError(f"Trainer.fit: expected instances of Callback for callbacks, got {kind_of(callback)}")
    if progress is not False and not any(isinstance(callback, ProgressBar) for callback in found):
        found.append(ProgressBar(progress))
    return found
