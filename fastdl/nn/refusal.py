"""The producer of a shape: a layer in a row that refuses its input says which layer before it has made the shape."""

from __future__ import annotations

from typing import Any

from fastdl.errors import InvalidShapeError
from fastdl.messages import shown
from fastdl.nn.module import Module


def name_producer(error: InvalidShapeError, x: Any, layers: dict[str, Module], number: int) -> None:
    """Add to an error by which the layer of this number refused x the layer that produced the shape of x.

    The error stays as it is where it is about another array, or where no layer before has changed the shape.

    Example:
        >>> import numpy as np
        >>> from fastdl import nn
        >>> nn.Sequential(nn.Linear(2, 30), nn.ReLU(), nn.Linear(25, 2))(np.zeros((1, 2), np.float32))
        Traceback (most recent call last):
        fastdl.errors.InvalidShapeError: Linear(25, 2): expected input of shape (..., 25), got (1, 30) from layer 0, Linear(2, 30)
    """
    shape = getattr(x, "shape", ())
    # The body of a Siamese has refused the shape of one input.
    if error.producer is None and error.shape in (shape, shape[:1] + shape[2:]):
        producer = _producer(layers, number)
        if producer is not None:
            name, layer = producer
            error.producer = f"layer {name}, {shown(layer)}"


def _producer(layers: dict[str, Module], number: int) -> tuple[str, Module] | None:
    """The latest among the first layers, so many, that may have changed the shape, and its name."""
    for name, layer in reversed([*layers.items()][:number]):
        inside: dict[str, Module] | None = getattr(layer, "_layers", None)
        if inside is not None:
            found = _producer(inside, len(inside))
            if found is not None:
                return f"{name}.{found[0]}", found[1]
        elif not layer._keeps_shape:
            return name, layer
    return None
