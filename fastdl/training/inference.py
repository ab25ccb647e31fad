"""predict: a model's outputs, batch by batch, in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdl.data import input_validation
from fastdl.data.nested import bare, call, is_nested, joined, leaves, mapped
from fastdl.errors import InvalidTypeError
from fastdl.graph.value import apart
from fastdl.nn.container import takes_integers
from fastdl.nn.evaluation import evaluated
from fastdl.nn.grad_mode import no_grad
from fastdl.nn.module import Module
from fastdl.nn.walk import weights_dtype
from fastdl.validation import kind_of, positive_integer

Array = NDArray[Any]


def predict(model: Module, x: ArrayLike, batch_size: int = 1024) -> Array:
    """The model's outputs for x, in evaluation mode and under no_grad.

    Nothing of the model is touched: what is evaluated is a copy that shares its parameters and buffers. So many threads may
    predict at once, also while another trains the model; each batch sees one whole set of weights. (Modules in Python of your own
    may see weights change in the midst of a batch, and what their forward stores in attributes is the copy's.)

    Args:
        model: any Module.
        x: inputs, converted to the weights' dtype, but for integers that a forward in NumPy takes, which may be indices; NaN and
            infinite values are an error. Of a memory-mapped array a batch is in memory at a time.
        batch_size: samples that go through the model at a time.

    Shape:
        x (n, ...) gives (n, ...) as the model has it; n may be 0. Outputs without a row for each sample, such as statistics of a
        batch, are those of all samples together: where there are such, all go through the model at a time.

    Raises:
        TypeError: if model is no Module, x is not numeric or batch_size no integer.
        ValueError: if x has no rows, values are not finite, or batch_size is below 1, or batches give samples of
            different shapes; what the model says of shapes.

    Example:
        >>> from fastdl import nn
        >>> predict(nn.ReLU(), [[-1.0, 2.0], [3.0, -4.0]], batch_size=1)
        array([[0., 2.],
               [3., 0.]], dtype=float32)
    """
    if not isinstance(model, Module):
        raise InvalidTypeError("predict", "a fastdl Module", type(model).__name__, argument="model")
    batch_size = positive_integer(batch_size, "batch_size", "predict")
    dtype = weights_dtype(model)
    if is_nested(x):
        return outputs(model, input_validation.several(x, dtype, "predict", "x"), batch_size)
    return outputs(model, input_validation.inputs(x, dtype, "predict", takes_integers(model)), batch_size)


def outputs(model: Module, rows: input_validation.AnyRows, batch_size: int = 1024) -> Any:
    """What `predict` gives, for validated rows."""
    if len(rows) <= batch_size:
        return _output(model, input_validation.in_memory(rows))
    found, first = [], 0
    while first < len(rows):
        size = min(batch_size, len(rows) - first)
        if first and first + size == len(rows) and size == batch_size and _may_lack_rows(model, found[0]):
            size -= size // 2  # so that what has as many rows as a batch by chance is found out
        output = _output(model, rows[first : first + size])
        if not has_rows(output, size):
            return _output(model, input_validation.in_memory(rows))
        found.append(output)
        first += size
    return joined(found, "predict", f"outputs of one shape from {type(model).__name__}")


def has_rows(output: Any, samples: int) -> bool:
    """Whether each of the outputs has a row for each of so many samples."""
    return all(each.ndim > 0 and len(each) == samples for _, each in leaves(output))


def _may_lack_rows(model: Module, output: Any) -> bool:
    return model._forward_only or not isinstance(output, np.ndarray)


def _output(model: Module, batch: Any) -> Any:
    """What the model returns in evaluation mode."""
    copy, turn = evaluated(model)
    with no_grad(), turn:
        return mapped(apart(call, copy, bare(batch)), lambda each: _array(each, model))


def _array(output: Any, model: Module) -> Array:
    if isinstance(output, np.ndarray) or np.isscalar(output):
        return np.asarray(output)
    name = type(model).__name__
    raise InvalidTypeError(
        None, f"{name}.forward to return an array, or a tuple or dictionary of them", kind_of(output)
    )


@contextmanager
def training_mode(model: Module, training: bool) -> Iterator[None]:
    """Set training or evaluation mode inside the block; every part's own mode is restored.

    Example:
        >>> from fastdl import nn
        >>> model = nn.ReLU()
        >>> with training_mode(model, False):
        ...     model.training
        False
        >>> model.training
        True
    """
    changed = [module for module in model.modules() if module.training != training]
    try:
        for module in changed:
            module.training = training
        yield
    finally:
        for module in changed:
            module.training = not training
