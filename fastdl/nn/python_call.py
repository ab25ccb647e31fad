"""Modules in Python amid a trace: those with a backward in Python, and those that are not to be traced."""

from __future__ import annotations

from contextlib import nullcontext
from copy import deepcopy
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.quiet import Quiet
from fastdl.data.nested import leaves, mapped
from fastdl.errors import InvalidValueError
from fastdl.graph.python import PythonCall, python
from fastdl.graph.size import ObservedSizeError, Shape, Size, numbers
from fastdl.graph.value import NotTraceableError, Value, apart
from fastdl.nn.stateful import gradients_aside, run_backward, run_forward
from fastdl.random import Stream, drawing_from

if TYPE_CHECKING:
    from fastdl.nn.module import Module

Array = NDArray[Any]


class NotTracedError(ValueError):
    """A module that a trace cannot go through, and why."""


class Outputs:
    """Several outputs of a module in Python as one array: their rows side by side.

    Args:
        module: for errors.
        example: what the module has returned: tuples and dictionaries of floating arrays with a row for each sample.
    """

    def __init__(self, module: Module, example: Any) -> None:
        arrays = [_checked(module, array) for _, array in leaves(example)]
        if not arrays or any(array.ndim == 0 or len(array) != len(arrays[0]) for array in arrays):
            got = ", ".join(str(array.shape) for array in arrays) or "none"
            raise NotTraceableError(
                type(module).__name__, "outputs with a row for each sample from a module in Python", got
            )
        self._example, self._shapes = example, [array.shape[1:] for array in arrays]

    def packed(self, module: Module, output: Any) -> Array:
        """The array of what the module has returned."""
        arrays = [_checked(module, array) for _, array in leaves(output)]
        shapes = [array.shape[1:] for array in arrays]
        if shapes != self._shapes:
            name, wanted = type(module).__name__, " and ".join(map(str, self._shapes))
            raise InvalidValueError(name, f"rows of shape {wanted}, as at first", " and ".join(map(str, shapes)))
        return np.concatenate([array.reshape(len(array), prod(array.shape[1:])) for array in arrays], axis=1)

    def parts(self, packed: Any) -> Any:
        """The outputs in an array, or a traced value, of that kind."""
        found, first = [], 0
        for shape in self._shapes:
            size = prod(shape)
            part = np.reshape(packed[:, first : first + size], (packed.shape[0], *shape))
            # Unlike a view of one array, an output shares nothing with the others.
            found.append(part.copy() if isinstance(part, Value) else part)
            first += size
        each = iter(found)
        return mapped(self._example, lambda _: next(each))


def call_in_python(module: Module, inputs: tuple[Value, ...]) -> Any:
    """What a module in Python returns for some values."""
    graph = inputs[0].graph
    forward, backward = _functions(module, graph.dtype)
    if graph.array_of(inputs[0]) is None:
        (outputs, shape), done = _outputs(module, inputs), None
    else:  # node by node
        output, saved = forward(*map(graph.array_of, inputs))
        outputs = None if isinstance(output, np.ndarray) else Outputs(module, output)
        done = _packed(module, outputs, output, graph.dtype), saved
        shape = done[0].shape

    def run(*arrays: Array) -> tuple[Array, Any]:
        if done is not None:
            return done
        output, saved = forward(*arrays)
        return _packed(module, outputs, output, graph.dtype), saved

    def pull(saved: Any, gy: Array, adds: bool, with_inputs: bool) -> tuple[Any, ...]:
        found = backward(saved, gy if outputs is None else outputs.parts(gy), adds, with_inputs)
        return tuple([each if each is None else np.asarray(each, graph.dtype) for each in found])

    y = python(PythonCall(module, run, pull), inputs, shape)
    return y if outputs is None else outputs.parts(y)


def _functions(module: Module, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """A module's forward, which returns the output and what backward reads, and its backward, which returns gradients."""
    if module._forward_only:
        return _functions_by_nodes(module, dtype)

    def backward(saved: Any, gy: Any, adds: bool, with_inputs: bool) -> Any:
        with nullcontext() if adds else gradients_aside(module):
            gx = apart(run_backward, module, saved, gy, with_inputs, True)
        return gx if isinstance(gx, tuple) else (gx,)

    return lambda *arrays: run_forward(module, *arrays), backward


def _functions_by_nodes(module: Module, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """The two of a module that is not to be traced, and has no backward."""

    def forward(*arrays: Array) -> tuple[Any, Any]:
        from fastdl.nn.eager import run

        try:
            record = apart(run, module, arrays, {}, dtype)
        except NotTraceableError as error:  # as forward is written, for whoever asks for no gradient
            return apart(module.forward, *arrays), error
        return record.output, record

    def backward(record: Any, gy: Any, adds: bool, with_inputs: bool) -> Any:
        if isinstance(record, NotTraceableError):
            raise record
        found = apart(record.pull, module, gy, adds)
        return found if isinstance(found, tuple) else (found,)

    return forward, backward


def _packed(module: Module, outputs: Outputs | None, output: Any, dtype: np.dtype[Any]) -> Array:
    """What a module has returned as one array of the graph's dtype."""
    return np.asarray(_checked(module, output) if outputs is None else outputs.packed(module, output), dtype)


def _checked(module: Module, y: Any) -> Array:
    """An output of a module in Python."""
    if not isinstance(y, np.ndarray) or y.dtype.kind != "f":
        got = f"{y.dtype} values" if isinstance(y, np.ndarray) else type(y).__name__
        raise NotTraceableError(type(module).__name__, "floating arrays from a module in Python", got)
    return y


def _outputs(module: Module, inputs: tuple[Value, ...]) -> tuple[Outputs | None, Shape]:
    """A module's outputs, and the shape of their array: of what a copy returns for zeros, of two numbers of samples where these
    may vary."""
    capacity, dtype = max(1, inputs[0].graph.capacity), inputs[0].graph.dtype
    output = _returned(module, inputs, capacity)
    try:
        outputs = None if isinstance(output, np.ndarray) else Outputs(module, output)
        found = _packed(module, outputs, output, dtype).shape
    except NotTraceableError as error:
        raise NotTracedError(str(error)) from None
    if not any(isinstance(size, Size) for value in inputs for size in value.shape):
        return outputs, found
    try:
        other = _packed(module, outputs, _returned(module, inputs, capacity + 1), dtype).shape
    except NotTracedError:
        raise ObservedSizeError(("N",)) from None
    shape: list[Any] = []
    for one, more in zip(found, other, strict=False):
        follows = one != more and one * (capacity + 1) == more * capacity
        shape.append(Size(one // capacity, ("N",)) if follows else one)
    if numbers(tuple(shape), {"N": capacity + 1}) != other:
        raise ObservedSizeError(("N",))
    return outputs, tuple(shape)


def _returned(module: Module, inputs: tuple[Value, ...], samples: int) -> Any:
    """What a copy of a module returns for zeros."""
    name = type(module).__name__
    try:
        copy = apart(deepcopy, module)
    except Exception as error:
        raise NotTracedError(f"{name} cannot be copied: {error}") from None
    forward, _ = _functions(copy, inputs[0].graph.dtype)
    arrays = [np.zeros(numbers(value.shape, {"N": samples}), value.dtype) for value in inputs]
    try:
        with Quiet(all="ignore"), drawing_from(Stream(np.random.default_rng(0))):
            return forward(*arrays)[0]
    except Exception as error:
        raise NotTracedError(f"{name} cannot be run on zeros: {error}") from None
