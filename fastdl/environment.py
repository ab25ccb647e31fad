"""The environment: what this copy of fastdl is, which optional packages there are, and whether a notebook shows what is drawn."""

from __future__ import annotations

import sys

from fastdl._kernels.table import compiler, cpu_levels

__version__ = "0.1.0"

# The optional extras, and the package that each brings.
PACKAGES = {"plot": "matplotlib", "sklearn": "scikit-learn", "onnx": "onnx", "tensorboard": "tensorboard"}


def build_info() -> dict[str, str]:
    """Return the compiler, and the CPU levels built in that this processor runs.

    Example:
        >>> sorted(build_info())
        ['compiler', 'levels']
    """
    return {"compiler": compiler(), "levels": ", ".join(cpu_levels())}


def missing(owner: str, extra: str) -> ImportError:
    """The error of something whose package is not installed, to be raised.

    Args:
        owner: what needs it.
        extra: the extra that brings it.

    Example:
        >>> print(missing("digits", "sklearn"))  # doctest: +ELLIPSIS
        digits: needs scikit-learn; write pip install ".[sklearn]" in the folder with fastdl's sources (...)
    """
    return ImportError(f"{owner}: needs {PACKAGES[extra]}; write {installing(extra)}")


def installing(extra: str) -> str:
    """The command that installs an extra: from the sources, and from the package index, where fastdl is not yet.

    Example:
        >>> print(installing("plot"))
        pip install ".[plot]" in the folder with fastdl's sources (once it is on PyPI: pip install "fastdl-nn[plot]")
    """
    return f'pip install ".[{extra}]" in the folder with fastdl\'s sources (once it is on PyPI: pip install "fastdl-nn[{extra}]")'


def in_notebook() -> bool:
    """Whether this is a process of Jupyter's, whose standard error is no terminal though someone reads it.

    Example:
        >>> in_notebook()
        False
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return any(each.__name__ == "ZMQInteractiveShell" for each in type(shell).__mro__)
