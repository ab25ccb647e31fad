"""Nodes of NumPy's functions: what only rearranges elements is a layout, the rest an entry of a kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastdl._kernels.elementwise
import fastdl._kernels.gather
import fastdl._kernels.matmul
import fastdl._kernels.reduce
import fastdl._kernels.scan
import fastdl._kernels.sort  # noqa: F401 - these enter their descriptors
from fastdl.graph import operations as op
from fastdl.graph import ufuncs
from fastdl.graph.graph import Node
from fastdl.graph.layout import Layout, broadcast, cut, dense, merged, reshaped, transposed
from fastdl.graph.lowering.entries import Entries, Operand, lowers
from fastdl.graph.lowering.memory import Given
from fastdl.graph.lowering.sources import Leaf
from fastdl.graph.registered import is_moved
from fastdl.graph.size import Dimension, Shape, same, same_shape
from fastdl.graph.value import Value

ELEMENTWISE = {*ufuncs.ALL, "where", "cast"}
REDUCTIONS = {"sum", "prod", "max", "min", "any", "all", "argmax", "argmin"}


@lowers("input")
def _(low: Entries, number: int, node: Node) -> None:
    name = node.attributes["name"]
    base = low.outside(None, ("given", name))
    gathered = None
    if name in low.gathered:
        gathered = low.storage(low.count(node.shape) * low.kind(node.dtype)[1])
        gathered.used(0)
    low.inputs[name] = Given(base, gathered)
    low.layouts[number] = dense(low.inputs[name], node.shape)


@lowers("constant")
def _(low: Entries, number: int, node: Node) -> None:
    array = np.ascontiguousarray(node.attributes["array"])
    if array.dtype.kind == "b":
        array = array.view(np.uint8)
    low.layouts[number] = dense(low.outside(array, ("constant", number)), node.shape)


@lowers("parameter")
def _(low: Entries, number: int, node: Node) -> None:
    layout = low.layouts[number] = dense(low.outside(Leaf(number)), node.shape)
    if number in low.graph.updates or is_moved(
        low.graph.parameters[number]
    ):  # the old values, which backward reads too
        made = low.layouts[number] = low.fresh(node.shape, node.dtype)
        low.run_elementwise("cast", node.dtype, node.shape, made, [(layout, node.dtype)])


@lowers("stop_gradient", "alias", "given_slope")
def _(low: Entries, number: int, node: Node) -> None:
    low.layouts[number] = low.layouts[node.inputs[0]]


@lowers("broadcast_to")
def _(low: Entries, number: int, node: Node) -> None:
    source = low.value(node.inputs[0])
    low.layouts[number] = broadcast(low.layout(source), source.shape, node.shape)


@lowers("transpose")
def _(low: Entries, number: int, node: Node) -> None:
    low.layouts[number] = transposed(low.layouts[node.inputs[0]], node.attributes["axes"])


@lowers("reshape")
def _(low: Entries, number: int, node: Node) -> None:
    source = low.value(node.inputs[0])
    found = reshaped(low.layout(source), source.shape, node.shape)
    low.layouts[number] = found or dense(low.dense(source).home, node.shape)._replace(
        constant=low.layout(source).constant
    )


@lowers("cut")
def _(low: Entries, number: int, node: Node) -> None:
    source = low.value(node.inputs[0])
    low.layouts[number] = cut(low.layout(source), source.shape, node.attributes["slices"])


@lowers("size")
def _(low: Entries, number: int, node: Node) -> None:
    made = low.layouts[number] = low.fresh((), node.dtype)
    low.run("size", {}, [], [node.attributes["of"]], [(made, node.dtype, [])])


@lowers(*ELEMENTWISE)
def _elementwise(low: Entries, number: int, node: Node) -> None:
    shape, nodes, layouts = node.shape, low.graph.nodes, low.layouts
    inputs = [(nodes[each], layouts[each]) for each in node.inputs]
    made = layouts[number] = low.fresh(shape, node.dtype)
    sizes = low.known(shape).sizes
    one = (1,) * len(sizes)
    operands: list[Operand] = [(made, node.dtype, one)]
    for each, layout in inputs:
        own = each.shape
        if own and not (layout.whole and (own is shape or same_shape(own, shape))):
            break
        operands.append((layout, each.dtype, one if own else (0,) * len(sizes)))
    else:  # mostly, all of an array and numbers
        low.run_ufunc(node.operation, sizes, operands)
        return
    views = [(broadcast(layout, each.shape, node.shape), each.dtype) for each, layout in inputs]
    low.run_elementwise(node.operation, node.dtype, node.shape, made, views)


@lowers(*REDUCTIONS)
def _reduce(low: Entries, number: int, node: Node) -> None:
    source = low.value(node.inputs[0])
    over = node.attributes["axes"]
    made = low.layouts[number] = low.fresh(node.shape, node.dtype)
    layout = low.layout(source)
    kept = [axis for axis in range(source.ndim) if axis not in over]
    first, of_first = merged(
        [source.shape[axis] for axis in kept],
        [[made.strides[axis] for axis in kept], [layout.strides[axis] for axis in kept]],
    )
    then, (of_then,) = merged([source.shape[a] for a in over], [[layout.strides[a] for a in over]])
    if not then:
        then, of_then = [1], [0]
    attributes = {"operation": node.operation, "kept": len(first)}
    views = [
        (made, node.dtype, [*of_first[0], *([0] * len(then))]),
        (layout, source.dtype, [*of_first[1], *of_then]),
    ]
    low.run("reduce", attributes, [*first, *then], [], views)


@lowers("concatenate")
def _(low: Entries, number: int, node: Node) -> None:
    made = low.layouts[number] = low.fresh(node.shape, node.dtype)
    axis, start = node.attributes["axis"], 0
    for each in map(low.value, node.inputs):
        stop = op.added([start, each.shape[axis]])
        slices = [(start, stop, 1) if n == axis else (None, None, 1) for n in range(each.ndim)]
        part = cut(made, node.shape, slices)
        low.run_elementwise("cast", node.dtype, each.shape, part, [(low.layout(each), each.dtype)])
        start = stop


@lowers("put")
def _(low: Entries, number: int, node: Node) -> None:
    source = low.value(node.inputs[0])
    made = _zeros(low, number, node)
    part = cut(made, node.shape, node.attributes["slices"])
    low.run_elementwise("cast", node.dtype, source.shape, part, [(low.layout(source), source.dtype)])


def _zeros(low: Entries, number: int, node: Node) -> Layout:
    made = low.layouts[number] = low.fresh(node.shape, node.dtype)
    dtype = np.dtype(np.uint8) if node.dtype.kind == "b" else node.dtype
    zero = dense(low.outside(np.zeros((), dtype), ("zero", dtype.kind)), ())
    low.run_elementwise("cast", node.dtype, node.shape, made, [(broadcast(zero, (), node.shape), node.dtype)])
    return made


@lowers("matmul")
def _(low: Entries, number: int, node: Node) -> None:
    made = low.layouts[number] = low.fresh(node.shape, node.dtype)
    a, b = (low.value(each) for each in node.inputs)
    lead = node.shape[:-2]
    views = []
    for each in (a, b):
        layout = low.layout(each)
        repeated = any(same(s, 0) and not same(n, 1) for s, n in zip(layout.strides[-2:], each.shape[-2:], strict=True))
        layout = low.dense(each) if repeated else layout
        views.append(broadcast(layout, each.shape, (*lead, *each.shape[-2:])))
    batch, strides = merged(lead, [made.strides[:-2], *(view.strides[:-2] for view in views)])
    (m, k), n = a.shape[-2:], b.shape[-1]
    operands = [
        (made, node.dtype, [*strides[0], *made.strides[-2:], 0]),
        (views[0], a.dtype, [*strides[1], views[0].strides[-2], 0, views[0].strides[-1]]),
        (views[1], b.dtype, [*strides[2], 0, views[1].strides[-1], views[1].strides[-2]]),
    ]
    low.work += low.count(node.shape) * low.count((k,)) // max(1, low.graph.capacity)
    low.run("matmul", {}, [*batch, m, n, k], [], operands)


@lowers("cumsum", "argsort")
def _(low: Entries, number: int, node: Node) -> None:
    """A kernel that goes along one axis, which comes last."""
    source = low.value(node.inputs[0])
    made = low.layouts[number] = low.fresh(node.shape, node.dtype)
    layout, axis = low.layout(source), node.attributes["axis"] % source.ndim
    others = [n for n in range(source.ndim) if n != axis]
    sizes, strides = merged(
        [source.shape[n] for n in others],
        [[made.strides[n] for n in others], [layout.strides[n] for n in others]],
    )
    views = [
        (made, node.dtype, [*strides[0], made.strides[axis]]),
        (layout, source.dtype, [*strides[1], layout.strides[axis]]),
    ]
    low.run(node.operation, {}, [*sizes, source.shape[axis]], [], views)


@lowers("take_along")
def _(low: Entries, number: int, node: Node) -> None:
    x, index = (low.value(each) for each in node.inputs)
    axis = node.attributes["axis"]
    made = low.layouts[number] = low.fresh(node.shape, node.dtype)
    table, stride = _table(low, x, axis, 1, node.shape)
    where = broadcast(low.layout(index), index.shape, node.shape)
    _gather(low, "gather", node.shape, made, node.dtype, table, x.dtype, where, x.shape[axis], stride)


@lowers("take")
def _(low: Entries, number: int, node: Node) -> None:
    x, index = (low.value(each) for each in node.inputs)
    axis = node.attributes["axis"]
    made = low.layouts[number] = low.fresh(node.shape, node.dtype)
    table, stride = _table(low, x, axis, index.ndim, node.shape)
    where = _index_along(low, index, axis, x.ndim)
    _gather(low, "gather", node.shape, made, node.dtype, table, x.dtype, where, x.shape[axis], stride)


@lowers("put_along")
def _(low: Entries, number: int, node: Node) -> None:
    x, index = (low.value(each) for each in node.inputs)
    axis = node.attributes["axis"]
    made = _zeros(low, number, node)
    shape = tuple(
        index.shape[n] if n == axis else one if same(other, 1) else other
        for n, (one, other) in enumerate(zip(x.shape, index.shape, strict=True))
    )
    where = broadcast(low.layout(index), index.shape, shape)
    given = broadcast(low.layout(x), x.shape, shape)
    table = made._replace(strides=tuple(0 if n == axis else s for n, s in enumerate(made.strides)))
    _gather(low, "scatter_add", shape, table, node.dtype, given, x.dtype, where, node.shape[axis], made.strides[axis])


@lowers("put_taken")
def _(low: Entries, number: int, node: Node) -> None:
    x, index = (low.value(each) for each in node.inputs)
    axis = node.attributes["axis"]
    made = _zeros(low, number, node)
    strides = (*made.strides[:axis], *([0] * index.ndim), *made.strides[axis + 1 :])
    where = _index_along(low, index, axis, len(node.shape))
    _gather(
        low,
        "scatter_add",
        x.shape,
        made._replace(strides=strides),
        node.dtype,
        low.layout(x),
        x.dtype,
        where,
        node.shape[axis],
        made.strides[axis],
    )


def _table(low: Entries, x: Value, axis: int, axes: int, shape: Shape) -> tuple[Layout, Dimension]:
    """The layout of an indexed value along the result's axes, of which `axes` are the index's; and its stride there."""
    layout = low.layout(x)
    own = (*x.shape[:axis], *([1] * axes), *x.shape[axis + 1 :])
    strides = (*layout.strides[:axis], *([0] * axes), *layout.strides[axis + 1 :])
    return broadcast(layout._replace(strides=strides), own, shape), layout.strides[axis]


def _index_along(low: Entries, index: Value, axis: int, ndim: int) -> Layout:
    layout = low.layout(index)
    return layout._replace(strides=(*([0] * axis), *layout.strides, *([0] * (ndim - axis - 1))))


def _gather(
    low: Entries,
    name: str,
    shape: Shape,
    to: Layout,
    dtype: np.dtype[Any],
    x: Layout,
    of_x: np.dtype[Any],
    index: Layout,
    size: Dimension,
    stride: Dimension,
) -> None:
    sizes, strides = merged(shape, [to.strides, x.strides, index.strides])
    views = [(to, dtype, strides[0]), (x, of_x, strides[1]), (index, np.dtype(np.int64), strides[2])]
    low.run(name, {}, sizes, [size, stride], views)
