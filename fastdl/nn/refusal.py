"""Refusals: a layer in a row that cannot take what it is given says which layer gave it."""

from __future__ import annotations

from typing import Any

from fastdl.messages import shown
from fastdl.nn.module import Module


def name_giver(error: ValueError, x: Any, layers: dict[str, Module], number: int) -> None:
    """Let the error by which the layer of this number refused x say which layer gave x its shape.

    Nothing changes where it speaks of something else, says so already, or no layer before has changed the shape.

    Example:
        >>> import numpy as np
        >>> from fastdl import nn
        >>> nn.Sequential(nn.Linear(2, 30), nn.ReLU(), nn.Linear(25, 2))(np.zeros((1, 2), np.float32))
        Traceback (most recent call last):
        ValueError: Linear(25, 2): expected input of shape (..., 25), got (1, 30) from layer 0, Linear(2, 30)
    """
    head, got, tail = str(error).rpartition("got ")
    shape, semicolon, hint = tail.partition(";")
    # Of a shape, a convolution tells the pixels, a Siamese's body that of one input.
    whole = getattr(x, "shape", ())
    told = shape in map(str, (whole, whole[2:], whole[:1] + whole[2:])) and ("input" in head or "images" in head)
    giver = _giver(layers, number) if told and len(error.args) == 1 else None
    if giver is not None:
        name, layer = giver
        error.args = (f"{head}{got}{shape} from layer {name}, {shown(layer)}{semicolon}{hint}",)


def _giver(layers: dict[str, Module], number: int) -> tuple[str, Module] | None:
    """The latest among the first layers, so many, that may have changed the shape, and its name."""
    for name, layer in reversed([*layers.items()][:number]):
        inside: dict[str, Module] | None = getattr(layer, "_layers", None)
        if inside is not None:
            found = _giver(inside, len(inside))
            if found is not None:
                return f"{name}.{found[0]}", found[1]
        elif not layer._keeps_shape:
            return name, layer
    return None
