"""Encodings of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph import operations as op
from fastdl.graph.value import Value
from fastdl.nn.functional.applied import array_or_value
from fastdl.validation import positive_integer


def one_hot(x: Any, num_classes: int) -> Any:
    """A new last axis with 1 at the place that a whole number names, else 0.

    Args:
        x: whole numbers from 0 to below `num_classes`.
        num_classes: the length of the new axis.

    Raises:
        ValueError, IndexError: for another number; the latter in traced code.

    Example:
        >>> one_hot(np.array([2, 0]), 3)
        array([[0, 0, 1],
               [1, 0, 0]])
    """
    values: Any = array_or_value(x)
    if values.dtype.kind not in "iu":
        raise InvalidTypeError("one_hot", "whole numbers", f"dtype {values.dtype}", "write x.astype(int)", argument="x")
    classes: Any = np.arange(positive_integer(num_classes, "num_classes", "one_hot"))
    if isinstance(values, Value):
        # The numbers are looked up, which refuses what is not there; negative ones would count from the end.
        place = op.where_of(op.elementwise("less", values, 0), num_classes, values)
        values = op.take(values.graph.constant(classes), place, 0)
    elif ((values < 0) | (values >= num_classes)).any():
        wrong = values[(values < 0) | (values >= num_classes)][0]
        raise InvalidValueError("one_hot", f"whole numbers from 0 to {num_classes - 1}", wrong)
    return (values[..., None] == classes).astype(np.int64)
