"""Nodes of modules in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastdl._kernels.program.frame import Passed
from fastdl._kernels.program.python_call import PythonCall
from fastdl._kernels.program.sequence import RUN_PYTHON
from fastdl.graph.graph import Node
from fastdl.graph.layout import Layout
from fastdl.graph.lowering.entries import EACH_SAMPLE, Entries, lowers
from fastdl.graph.lowering.memory import pair
from fastdl.graph.size import Shape
from fastdl.graph.value import Value


@lowers("python")
def _(low: Entries, number: int, node: Node) -> None:
    call = node.attributes["call"]
    inputs = [_passed(low, low.value(each)) for each in node.inputs]
    made = low.layouts[number] = low.fresh(node.shape, node.dtype)

    begin, low.begin = low.begin, None

    def forward(kept: dict[Any, Any], *arrays: Any) -> tuple[Any]:
        if begin is not None:
            begin()
        y, kept[call] = call.forward(*arrays)
        return (y,)

    _python(low, f"{type(call.module).__name__}.forward", forward, inputs, [(made, node.dtype, node.shape)])


@lowers("python_backward")
def _(low: Entries, number: int, node: Node) -> None:
    call = node.attributes["call"]
    found = {}
    for each in low.readers.get(number, []):
        reader = low.graph.nodes[each]
        made = low.layouts[each] = low.fresh(reader.shape, reader.dtype)
        found[reader.attributes["number"]] = made, reader.dtype, reader.shape

    def backward(kept: dict[Any, Any], gy: Any) -> list[Any]:
        gradients = call.backward(kept[call], gy, kept.get("adds", True), bool(found))
        return [gradients[number] for number in found]

    gy = _passed(low, low.value(node.inputs[1]))
    _python(low, f"{type(call.module).__name__}.backward", backward, [gy], list(found.values()))


@lowers("python_gradient")
def _(low: Entries, number: int, node: Node) -> None:
    """The module's backward has returned it."""


def _passed(low: Entries, value: Value) -> tuple[Layout, np.dtype[Any], Shape]:
    return low.dense(value), value.dtype, value.shape


def _python(
    low: Entries,
    name: str,
    function: Callable[..., Any],
    reads: list[tuple[Layout, np.dtype[Any], Shape]],
    writes: list[tuple[Layout, np.dtype[Any], Shape]],
) -> None:
    """Add an entry for a function in Python."""
    for layout, _, _ in (*reads, *writes):
        low.use(layout)

    def made() -> PythonCall:
        passed = [
            [
                Passed(low.place_of(layout, itemsize=dtype.itemsize), dtype, tuple(map(pair, shape)))
                for layout, dtype, shape in each
            ]
            for each in (reads, writes)
        ]
        return PythonCall(name, function, tuple(passed[0]), tuple(passed[1]))

    low.enter(RUN_PYTHON, EACH_SAMPLE, made)
