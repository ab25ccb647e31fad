"""Trials: what is found out about model, criterion and data before the first step, leaving no trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.quiet import Quiet
from fastdl.data.input_validation import AnyRows, Rows, in_memory
from fastdl.data.memmap import blocks
from fastdl.data.nested import Nested, bare, call
from fastdl.errors import FastdlError, InvalidTypeError
from fastdl.nn.copying import copy_of
from fastdl.nn.grad_mode import no_grad
from fastdl.nn.module import Module
from fastdl.nn.walk import weights_dtype
from fastdl.random import Stream, drawing_from
from fastdl.training.history import Metric
from fastdl.training.inference import outputs
from fastdl.training.measuring import loss_value, try_metrics

Array = NDArray[Any]


def try_rows(model: Module, criterion: Any, metrics: Mapping[str, Metric], x: Rows, y: Rows) -> list[str]:
    """Send two rows through model, criterion and metrics, those of extreme targets, and of the second to extreme class indices.

    Returns the names of the loss's terms. Two rows each: statistics of a batch want more than one row, and one index may be the
    criterion's ignore_index.

    Raises:
        TypeError: what model and criterion say of their kind.
        ValueError: what model and criterion say of them, with the numbers of the rows where it is the criterion.
        Exception: what a metric raises, of these rows and of all.
    """
    rows = sorted({*range(min(len(x), 2)), *_rows_of_extremes(y)})
    with no_grad(), Quiet(all="ignore"):
        output = outputs(model, x[rows])
        try:
            with explained_dtype(model, output):
                found = loss_value(criterion, output, bare(y[rows]), model, len(rows))
        except ValueError as error:
            note = f"tried on rows {', '.join(map(str, rows))}"
            if not isinstance(error, FastdlError):
                raise ValueError(f"{error} ({note})") from error
            error.note = note
            raise
        try_metrics(metrics, criterion, output, bare(y[rows]), lambda: (outputs(model, x), bare(in_memory(y))))
    return [name for name in found if name != "loss"]


@contextmanager
def explained_dtype(model: Module, output: Array) -> Iterator[None]:
    """Let a TypeError of the criterion say so where it is the model that returns another dtype than that of its weights."""
    try:
        yield
    except TypeError as error:
        wanted = weights_dtype(model)
        if not isinstance(output, np.ndarray) or output.dtype == wanted:
            raise
        expected = f"{type(model).__name__}.forward to return {wanted}, the dtype of the weights"
        explained = InvalidTypeError(None, expected, output.dtype, "write .astype(x.dtype) behind what it returns")
        explained.note = str(error)
        raise explained from error


def try_row_alone(model: Module, x: Rows) -> None:
    """Send the first row through the model as training does, but through a copy with buffers of its own.

    Raises:
        ValueError: what the model says of a batch of one.
    """
    copy = copy_of(model, None if model.training else True, buffers=True)
    with no_grad(), Quiet(all="ignore"), drawing_from(Stream(np.random.default_rng(0))):
        call(copy, bare(x[:1]))


def _rows_of_extremes(y: AnyRows) -> set[int]:
    if isinstance(y, Nested):
        return set().union(*(_rows_of_extremes(array) for _, array in y.arrays() if array.dtype.kind != "b"))
    if not y.size:
        return set()
    each = y.size // len(y)
    places, values = [], []
    for first, block in blocks(y):
        flat = block.ravel()
        found = _extremes(flat)
        places += [first * each + place for place in found]
        values += [flat[place] for place in found]
    return {places[place] // each for place in _extremes(np.array(values))}


def _extremes(flat: Array) -> list[int]:
    """The places of the lowest and the highest, and of integers those of the next lowest and highest as well."""
    found = [flat.argmin(), flat.argmax()]
    if flat.dtype.kind == "i":
        low, high = flat[found[0]], flat[found[1]]
        found += [np.where(flat == low, high, flat).argmin(), np.where(flat == high, low, flat).argmax()]
    return sorted(int(place) for place in found)
