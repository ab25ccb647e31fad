"""Records of forwards: what a backward checks, however the forward has run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl.data.nested import leaves
from fastdl.errors import InvalidStateError, InvalidTypeError, InvalidValueError
from fastdl.messages import shown
from fastdl.nn.parameter import Parameter


def not_computed(module: Any, output: Any) -> InvalidTypeError:
    """The error of an output that is no result of traced functions, such as a number or an array of forward's own."""
    kind = type(output).__name__
    return InvalidTypeError(f"{type(module).__name__}.forward", "to return what is computed of its inputs", kind)


def check_versions(module: Any, parameters: Sequence[Parameter], versions: Sequence[int]) -> None:
    """An error where parameters have other values than in the forward."""
    for parameter, version in zip(parameters, versions, strict=True):
        if parameter.version != version:
            raise InvalidStateError(
                shown(module),
                "the parameters' values of the forward",
                "others: they were changed since",
                "call again",
            )


def gradients_like(module: Any, grad_output: Any, output: Any) -> list[NDArray[Any]]:
    """The gradients with respect to outputs as arrays like these, floating ones in their dtype."""
    given, wanted = [each for _, each in leaves(grad_output)], [each for _, each in leaves(output)]
    if len(given) != len(wanted):
        raise InvalidValueError(shown(module), f"a gradient for each of {len(wanted)} outputs", len(given))
    found = []
    for gradient, like in zip(given, wanted, strict=True):
        array = np.ascontiguousarray(gradient, like.dtype) if like.dtype.kind == "f" else np.asarray(gradient)
        if like.dtype.kind == "f" and array.shape != like.shape:
            raise InvalidValueError(shown(module), f"a gradient of shape {like.shape}", array.shape)
        found.append(array)
    return found
