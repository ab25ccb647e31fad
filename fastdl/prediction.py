"""predict: a model's outputs, batch by batch, in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdl import door
from fastdl.arguments import positive_integer
from fastdl.nn.grad_mode import no_grad
from fastdl.nn.module import Module

Array = NDArray[Any]


def predict(model: Module, x: ArrayLike, batch_size: int = 1024) -> Array:
    """The model's outputs for x, in evaluation mode and under no_grad; the model's own modes are restored.

    To predict from many threads at once, put the model into evaluation mode before: then nothing of it is touched.

    Args:
        model: any Module.
        x: inputs, converted to the weights' dtype; NaN and infinite values are an error. Of a memory-mapped array a batch
            is in memory at a time.
        batch_size: samples that go through the model at a time.

    Shape:
        x (n, ...) gives (n, ...) as the model has it; n may be 0.

    Raises:
        TypeError: if model is no Module, x is not numeric or batch_size no integer.
        ValueError: if x has no rows, values are not finite, or batch_size is below 1; what the model says of shapes.

    Example:
        >>> from fastdl import nn
        >>> predict(nn.ReLU(), [[-1.0, 2.0], [3.0, -4.0]], batch_size=1)
        array([[0., 2.],
               [3., 0.]], dtype=float32)
    """
    if not isinstance(model, Module):
        raise TypeError(f"predict: expected a fastdl Module for model, got {type(model).__name__}")
    batch_size = positive_integer(batch_size, "batch_size", "predict")
    return outputs(model, door.inputs(x, door.weights_dtype(model), "predict"), batch_size)


def outputs(model: Module, rows: door.Rows, batch_size: int = 1024) -> Array:
    """What `predict` gives, for rows that have come through the door."""
    with no_grad(), training_mode(model, False):
        if len(rows) <= batch_size:
            return np.asarray(model(door.in_memory(rows)))
        return np.concatenate([model(rows[i : i + batch_size]) for i in range(0, len(rows), batch_size)])


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
