"""Whether someone sees what is drawn though there is no terminal."""

from __future__ import annotations

import sys


def in_notebook() -> bool:
    """Whether this is a process of Jupyter's, whose standard error is no terminal though someone reads it.

    Example:
        >>> in_notebook()
        False
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return any(each.__name__ == "ZMQInteractiveShell" for each in type(shell).__mro__)
