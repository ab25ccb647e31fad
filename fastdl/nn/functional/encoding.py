"""Encodings of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdl.nn.functional.applied import array_or_value


def one_hot(x: Any, num_classes: int) -> Any:
    """A new last axis with 1 at the place that a whole number names, else 0.

    Example:
        >>> one_hot(np.array([2, 0]), 3)
        array([[0, 0, 1],
               [1, 0, 0]])
    """
    values: Any = array_or_value(x)
    return (values[..., None] == np.arange(num_classes)).astype(np.int64)
