"""The callbacks of a fit, from what its arguments say."""

from __future__ import annotations

from collections.abc import Iterable

from fastdl.callbacks.callback import Callback
from fastdl.callbacks.progress import ProgressBar
from fastdl.errors import InvalidTypeError
from fastdl.validation import kind_of


def listed(callbacks: Iterable[Callback], progress: bool | None) -> list[Callback]:
    """The callbacks of a fit, with a bar unless progress is False or there is one.

    Raises:
        TypeError: if they are not instances of Callback.
    """
    if isinstance(callbacks, Callback):
        raise InvalidTypeError(
            "Trainer.fit", "a list", f"a {kind_of(callbacks)}", "write callbacks=[...]", argument="callbacks"
        )
    if not isinstance(callbacks, Iterable):
        raise InvalidTypeError("Trainer.fit", "a list", kind_of(callbacks), argument="callbacks")
    found = list(callbacks)
    for callback in found:
        if not isinstance(callback, Callback):
            raise InvalidTypeError("Trainer.fit", "instances of Callback", kind_of(callback), argument="callbacks")
    if progress is not False and not any(isinstance(callback, ProgressBar) for callback in found):
        found.append(ProgressBar(progress))
    return found
