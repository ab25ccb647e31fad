"""ProgressBar: how far a fit has come."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from fastdl.callbacks.bar import bar_class, is_terminal
from fastdl.callbacks.callback import Callback
from fastdl.environment import in_notebook
from fastdl.errors import InvalidTypeError
from fastdl.messages import shown

if TYPE_CHECKING:
    from fastdl.training import Trainer


class ProgressBar(Callback):
    """A bar of epochs with the latest loss and metrics: on standard error, in a notebook a widget.

    Args:
        show: None draws in a terminal (when standard error is one) and in a notebook, if tqdm is there; True always, False
            never.

    Raises:
        TypeError: if show is none of these.
        ImportError: at the start of a fit, if show is True and tqdm is not installed.

    Example:
        >>> ProgressBar(show=False).show
        False
    """

    watches = True
    _of_this_fit = ("_bar",)

    def __init__(self, show: bool | None = None) -> None:
        if show not in (None, True, False):
            raise InvalidTypeError("ProgressBar", "None, True or False", shown(show), argument="show")
        self.show = show
        self._bar: Any = None

    def on_fit_begin(self, trainer: Trainer, epochs: int) -> None:
        """Draw the empty bar."""
        notebook = in_notebook()
        wanted = notebook or is_terminal(sys.stderr) if self.show is None else self.show
        if not wanted:
            return
        try:
            make = bar_class(notebook)
        except ImportError:
            if self.show is None:
                return
            raise ImportError("ProgressBar: needs tqdm; write pip install tqdm, or fit(..., progress=False)") from None
        done = len(trainer.history)
        self._bar = make(total=epochs, initial=done, unit="epoch", dynamic_ncols=True, file=sys.stderr)

    def awaits_epochs(self) -> bool:
        """Whether the bar is drawn."""
        return self._bar is not None

    def on_epoch_end(self, trainer: Trainer, record: dict[str, float]) -> None:
        """Move the bar on."""
        if self._bar is not None:
            self._bar.show_record({name: value for name, value in record.items() if name not in ("lr", "seconds")})
            self._bar.update()

    def on_fit_end(self, trainer: Trainer) -> None:
        """Leave the bar as it is and end its line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
