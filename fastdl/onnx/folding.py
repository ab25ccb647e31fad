"""Folding: what is known of a file's values before anything runs, its initializers and what is computed from constants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from fastdl import nn
from fastdl._kernels.quiet import Quiet
from fastdl.errors import InvalidValueError
from fastdl.nn.module import Module
from fastdl.onnx import arrangement, operation
from fastdl.onnx.checking import FLOATS, as_array

Array = NDArray[Any]
# What gives the same numbers in another form: a weight stays one through it.
REARRANGING = (
    nn.Identity,
    nn.Flatten,
    arrangement.Cast,
    operation.Reshape,
    operation.Matrix,
    operation.Transpose,
    arrangement.Squeeze,
    arrangement.Unsqueeze,
)
# The most numbers that arithmetic on constants may yield, and bytes beside the file's own for copies.
MOST, ROOM = 2**20, 2**26


class Constants:
    """The arrays that are known by the names of their values, and which of them are weights.

    Args:
        graph: of the file.
        reads: the names of all values that nodes read, as often as they do.
    """

    def __init__(self, graph: onnx.GraphProto, reads: Iterable[str]) -> None:
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._arrays: dict[str, Array] = {}
        self._origins = {
            tensor.name: (tensor.name, False)
            for tensor in graph.initializer
            if tensor.data_type in FLOATS and len(tensor.dims) > 0
        }
        self._readers = Counter(reads)
        self._room = ROOM + 4 * sum(tensor.ByteSize() for tensor in graph.initializer)

    def array(self, value: str) -> Array | None:
        """What is known of a value; None for one that is given or computed from what is given."""
        if value in self._tensors and value not in self._arrays:
            self._arrays[value] = as_array(self._tensors[value], value)
        return self._arrays.get(value)

    def put(self, name: str, array: Array) -> None:
        """Let an array be a constant of this name."""
        self._arrays[name] = array

    def learns(self, value: str) -> bool:
        """Whether a value is a weight: an initializer of floats with an axis at least, or one in another form."""
        return value in self._origins

    def origin(self, value: str) -> tuple[str, bool]:
        """The weight that a value is, and whether it is turned around; for others the value itself."""
        return self._origins.get(value, (value, False))

    def fold(self, module: Module, inputs: tuple[str, ...], output: str) -> bool:
        """Compute a value here and now where all that it is made of is known; returns whether that was so.

        Weights stay weights in another form. What is computed of several, or of one that others read too, is left to the model.
        """
        arrays = [self.array(each) for each in inputs]
        known = [array for array in arrays if array is not None]
        if not known or len(known) < len(arrays) or not isinstance(module, (operation.Operation, *REARRANGING)):
            return False
        turns = isinstance(module, operation.Transpose) and known[0].ndim == 2
        if any(map(self.learns, inputs)):
            alone = turns or isinstance(module, nn.Identity) or self._readers[inputs[0]] == 1
            if not isinstance(module, REARRANGING) or not alone:
                return False
        elif prod(max(1, size) for size in (*(array.size for array in known), *_counted(module))) > MOST:
            return False
        y = self._computed(module, known)
        if self.learns(inputs[0]) and y.dtype.kind == "f":
            name, turned = self.origin(inputs[0])
            self._origins[output] = (name, not turned) if turns else (output, False)
        self._arrays[output] = y
        return True

    def _computed(self, module: Module, arrays: list[Array]) -> Array:
        try:
            with nn.no_grad(), Quiet(all="ignore"):
                y = np.asarray(module.forward(*arrays))
        except (ValueError, IndexError, ZeroDivisionError) as error:
            raise InvalidValueError("onnx.load", "constants that go together", error) from None
        if not any(y is array for array in arrays):
            self._room -= y.nbytes
        if self._room < 0:
            raise InvalidValueError(
                "onnx.load", "constants of about the file's size", "ones that are computed to far more"
            )
        return y


def _counted(module: Module) -> tuple[int, ...]:
    """How many places a module takes of its input, where the inputs do not say so."""
    return (np.size(module.indices),) if isinstance(module, operation.Take) else ()
