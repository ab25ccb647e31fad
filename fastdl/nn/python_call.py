"""Modules in Python amid a trace: those with a backward in Python, and those that are not to be traced."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.quiet import Quiet
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


def call_in_python(module: Module, inputs: tuple[Value, ...]) -> Value:
    """What a module in Python returns for some values."""
    graph = inputs[0].graph
    call = _call_of(module, graph.dtype)
    if graph.array_of(inputs[0]) is None:
        return python(call, inputs, _shape(module, inputs))
    done = call.forward(*map(graph.array_of, inputs))
    return python(call._replace(forward=lambda *_: done), inputs, done[0].shape)


def _call_of(module: Module, dtype: np.dtype[Any]) -> PythonCall:
    """The two functions of a module in Python; what they return is cast to the graph's dtype."""

    def forward(*arrays: Array) -> tuple[Array, Any]:
        y, saved = run_forward(module, *arrays)
        return _array(module, y, dtype), saved

    def backward(saved: Any, gy: Array, adds: bool, with_inputs: bool) -> tuple[Any, ...]:
        if adds:
            gx = apart(run_backward, module, saved, gy, with_inputs, True)
        else:
            with gradients_aside(module):
                gx = apart(run_backward, module, saved, gy, with_inputs, True)
        found = gx if isinstance(gx, tuple) else (gx,)
        return tuple([each if each is None else np.asarray(each, dtype) for each in found])

    def forward_by_nodes(*arrays: Array) -> tuple[Array, Any]:
        from fastdl.nn.eager import run

        record = apart(run, module, arrays, {}, dtype)
        return _array(module, record.output, dtype), record

    def backward_by_nodes(record: Any, gy: Array, adds: bool, with_inputs: bool) -> tuple[Any, ...]:
        found = apart(record.pull, module, gy, adds)
        return found if isinstance(found, tuple) else (found,)

    if module._forward_only:
        return PythonCall(module, forward_by_nodes, backward_by_nodes)
    return PythonCall(module, forward, backward)


def _array(module: Module, y: Any, dtype: np.dtype[Any]) -> Array:
    """The output of a module in Python."""
    if not isinstance(y, np.ndarray) or y.dtype.kind != "f":
        got = f"{y.dtype} values" if isinstance(y, np.ndarray) else type(y).__name__
        raise NotTraceableError(type(module).__name__, "one floating array from a module in Python", got)
    return np.asarray(y, dtype)


def _shape(module: Module, inputs: tuple[Value, ...]) -> Shape:
    """The shape of a module's output: what a copy returns for zeros, of two numbers of samples where these may vary."""
    capacity = max(1, inputs[0].graph.capacity)
    found = _returned(module, inputs, capacity)
    if not any(isinstance(size, Size) for value in inputs for size in value.shape):
        return found
    try:
        other = _returned(module, inputs, capacity + 1)
    except NotTracedError:
        raise ObservedSizeError(("N",)) from None
    shape: list[Any] = []
    for one, more in zip(found, other, strict=False):
        follows = one != more and one * (capacity + 1) == more * capacity
        shape.append(Size(one // capacity, ("N",)) if follows else one)
    if numbers(tuple(shape), {"N": capacity + 1}) != other:
        raise ObservedSizeError(("N",))
    return tuple(shape)


def _returned(module: Module, inputs: tuple[Value, ...], samples: int) -> tuple[int, ...]:
    """The shape that a copy of a module returns for zeros."""
    name = type(module).__name__
    try:
        copy = apart(deepcopy, module)
    except Exception as error:
        raise NotTracedError(f"{name} cannot be copied: {error}") from None
    call = _call_of(copy, inputs[0].graph.dtype)
    arrays = [np.zeros(numbers(value.shape, {"N": samples}), value.dtype) for value in inputs]
    try:
        with Quiet(all="ignore"), drawing_from(Stream(np.random.default_rng(0))):
            return call.forward(*arrays)[0].shape
    except Exception as error:
        raise NotTracedError(f"{name} cannot be run on zeros: {error}") from None
