"""ProgressBar: how far a fit has come."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fastdl.callbacks.callback import Callback

if TYPE_CHECKING:
    from fastdl.training import Trainer


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and type(ipython.get_ipython()).__name__ == "ZMQInteractiveShell"


class ProgressBar(Callback):
    """A bar of epochs with the latest loss and metrics, on standard error.

    Args:
        show: None draws in a terminal and in a notebook where tqdm is there, True always, False never.

    Raises:
        TypeError: if show is none of these.
        ImportError: at the start of a fit, if show is True and tqdm is not installed.

    Example:
        >>> ProgressBar(show=False).show
        False
    """

    watches = True

    def __init__(self, show: bool | None = None) -> None:
        if show not in (None, True, False):
            raise TypeError(f"ProgressBar: expected None, True or False for show, got {show!r}")
        self.show = show
        self._bar: Any = None

    def on_fit_begin(self, trainer: Trainer, epochs: int) -> None:
        """Draw the empty bar."""
        notebook = in_notebook()
        wanted = notebook or bool(sys.stderr and sys.stderr.isatty()) if self.show is None else self.show
        if not wanted:
            return
        try:
            if notebook and find_spec("ipywidgets"):
                from tqdm.notebook import tqdm
            else:
                from tqdm import tqdm
        except ImportError:
            if self.show is None:
                return
            raise ImportError("ProgressBar: needs tqdm; write pip install tqdm, or fit(..., progress=False)") from None
        done = len(trainer.history)
        self._bar = tqdm(total=epochs, initial=done, unit="epoch", dynamic_ncols=True, file=sys.stderr)

    def awaits_epochs(self) -> bool:
        """Whether the bar is drawn."""
        return self._bar is not None

    def on_epoch_end(self, trainer: Trainer, record: dict[str, float]) -> None:
        """Move the bar on."""
        if self._bar is not None:
            words = [f"{name} {value:.4g}" for name, value in record.items() if name not in ("lr", "seconds")]
            self._bar.set_postfix_str(", ".join(words), refresh=False)
            self._bar.update()

    def on_fit_end(self, trainer: Trainer) -> None:
        """Leave the bar as it is and end its line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
