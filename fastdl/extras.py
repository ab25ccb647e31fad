"""The optional extras: which package each brings, and how it is installed."""

PACKAGES = {"plot": "matplotlib", "sklearn": "scikit-learn", "onnx": "onnx", "tensorboard": "tensorboard"}


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
