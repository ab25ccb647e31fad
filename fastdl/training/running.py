"""Running: at most one fit of a trainer at a time, whichever thread or callback asks for another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

from fastdl.errors import InvalidStateError
from fastdl.instance import WithDictionary

# What a copy or a pickle of a trainer has none of.
TRANSIENT = {"_runner", "_fit_engines", "_step_engines", "_step_calls"}


class Running(WithDictionary):
    """Knows whether a fit runs, and where."""

    # The process and the thread of the fit that runs.
    _runner: tuple[int | None, int | None] = (None, None)
    # What fits of a traced model have run in, which serves the next one, by the form of their rows, and what single steps run in,
    # by their criterion as well; the latest at the end.
    _fit_engines: dict[Any, Any] | None = None
    _step_engines: dict[Any, Any] | None = None
    # The native calls of the latest kinds of steps.
    _step_calls: tuple[Any, ...] = ()

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Refuse another fit, in this thread or another, while one runs."""
        runner = os.getpid(), get_ident()
        try:
            if vars(self).setdefault("_runner", runner) is not runner:
                if self._runs():
                    raise InvalidStateError(
                        "Trainer.fit",
                        "one fit of a trainer at a time",
                        "a call while another runs",
                        "call it after that has returned, or make another Trainer",
                    )
                self._runner = runner
            yield
        finally:  # without calls, between which a signal handler may raise
            if self._runner is runner:
                del self._runner

    def _runs(self, here: bool = False) -> bool:
        """Whether a fit runs, or runs in this thread; one of another thread does not go on in a forked child."""
        process, thread = self._runner
        return thread == get_ident() or (not here and process == os.getpid())

    def __getstate__(self) -> dict[str, Any]:
        own = dict(vars(self)).items()
        return {name: value for name, value in own if name not in TRANSIENT}
