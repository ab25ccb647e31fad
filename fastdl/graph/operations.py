"""The graph's operations, each a function of values that infers shape and dtype and adds a node.

Elementwise ones broadcast; what else NumPy knows is composed of these in functions/.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from fastdl._kernels.quiet import Quiet
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph.graph import Graph
from fastdl.graph.size import Dimension, Shape, Size, divided, is_zero, same, same_shape, sized, spelled, total
from fastdl.graph.ufuncs import EXTREMES, SPECIAL, resolved
from fastdl.graph.value import Value, where
from fastdl.messages import shown

_WHOLE, _TRUTH = np.dtype(np.int64), np.dtype(np.bool_)


def graph_of(*values: Any) -> Graph:
    """The graph of the values among these."""
    for value in values:
        if isinstance(value, Value):
            return value.graph
    raise TypeError("graph_of: expected a traced value, got none")


def as_value(graph: Graph, value: Any) -> Value:
    """A value of this graph: itself, a parameter's, or a constant."""
    if isinstance(value, Value):
        if value.graph is not graph:
            raise InvalidTypeError(
                where(), "values of one trace", "one that an earlier trace has left", "store no values"
            )
        return value
    if isinstance(value, Size):
        return graph.add("size", (), (), np.int64, of=value)
    if type(value) in (float, int):
        return graph.constant(value)
    if hasattr(value, "_requires_grad"):
        return graph.parameter(value)
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise InvalidTypeError(where(), "numbers in traced code", f"dtype {array.dtype}")
    return graph.constant(value)


def elementwise(name: str, *inputs: Any) -> Value:
    """A ufunc of broadcast values."""
    graph = graph_of(*inputs)
    values = [each if type(each) is Value and each.graph is graph else as_value(graph, each) for each in inputs]
    found = resolved(name, tuple([value.dtype.kind for value in values]))
    if found is None:
        return values[0].copy()
    name, taken, kind = found
    if taken == "b":
        values = [truth(value) for value in values]
    else:
        given = graph.dtype if taken == "f" else _WHOLE
        values = [value if value.dtype is given else cast(value, given) for value in values]
    dtype = graph.dtype if kind == "f" else _WHOLE if kind == "i" else _TRUTH
    shape, deliberate = broadcast(values, name)
    simpler = _simpler(name, values, shape, dtype)
    return graph.add(name, tuple(values), shape, dtype, deliberate) if simpler is None else simpler


def number_of(value: Value) -> Any:
    """The number that a value is in each of its elements, where the trace knows it; else None."""
    nodes = value.graph.nodes
    node = nodes[value.number]
    while node.operation == "broadcast_to":
        node = nodes[node.inputs[0]]
    return node.attributes["array"][()] if node.operation == "constant" and node.shape == () else None


# The operations whose values may be one number in each element.
_NUMBERS = {"constant", "broadcast_to"}
_NO_AXES = frozenset[int]()


def _simpler(name: str, values: Sequence[Value], shape: Shape, dtype: np.dtype[Any]) -> Value | None:
    """What a ufunc of numbers is, or one with a number that changes nothing; None where it is what it is."""
    nodes = values[0].graph.nodes
    for value in values:
        if nodes[value.number].operation in _NUMBERS:
            break
    else:
        return None
    known = [number_of(value) for value in values]
    if not [number for number in known if number is not None]:
        return None
    if name == "power" and dtype.kind == "i" and known[1] is not None and known[1] < 0:
        hint = "write x.astype(float)"
        raise InvalidValueError(f"{where()}: np.power", "exponents of 0 or more of whole numbers", known[1], hint)
    if all(value.shape == () for value in values) and None not in known and name not in SPECIAL:
        with Quiet(all="ignore"):
            found = np.asarray(getattr(np, name)(*known))
        return values[0].graph.constant(found) if found.dtype.kind == dtype.kind else None
    if name == "power" and known[1] == 2:
        return elementwise("square", values[0])
    if name in ("multiply", "divide", "power") and known[-1] == 1 and same_shape(values[0].shape, shape):
        return values[0].copy()
    if name == "multiply" and known[0] == 1 and same_shape(values[1].shape, shape):
        return values[1].copy()
    return None


def where_of(condition: Any, x: Any, y: Any) -> Value:
    """x where the condition holds, else y."""
    graph = graph_of(condition, x, y)
    chosen, one, other = truth(as_value(graph, condition)), as_value(graph, x), as_value(graph, y)
    if one.dtype != other.dtype:
        dtype = graph.dtype if "f" in (one.dtype.kind, other.dtype.kind) else np.dtype(np.int64)
        one, other = cast(one, dtype), cast(other, dtype)
    shape, deliberate = broadcast([chosen, one, other], "where")
    return graph.add("where", (chosen, one, other), shape, one.dtype, deliberate)


def cast(value: Value, dtype: Any) -> Value:
    """The elements in the graph's dtype of this kind."""
    if value.dtype is dtype:
        return value
    dtype = value.graph.own(dtype)
    if value.dtype == dtype:
        return value
    node = value.graph.nodes[value.number]
    if node.operation == "constant":
        with Quiet(all="ignore"):
            return value.graph.constant(node.attributes["array"].astype(dtype))
    return value.graph.add("cast", (value,), value.shape, dtype, value.deliberate, to=dtype.str)


def truth(value: Value) -> Value:
    """Whether each element is not 0."""
    return value if value.dtype.kind == "b" else elementwise("not_equal", value, 0)


def update(graph: Any, buffer: Any, given: Any) -> None:
    """Let a buffer have another value, which later lines read, and which a run in training writes at the end of its forward."""
    before, value = graph.parameter(buffer), as_value(graph, given)
    owner, kinds = f"{where()}: Buffer.update", "biuf"
    if not same_shape(value.shape, before.shape):
        raise InvalidValueError(owner, f"a value of shape {before.shape}", str(value))
    if kinds.index(value.dtype.kind) > kinds.index(before.dtype.kind):
        raise InvalidTypeError(owner, f"a value of {before.dtype}", str(value))
    graph.update(buffer, cast(value, before.dtype))


def stop_gradient(value: Value) -> Value:
    """The value, which no gradient goes through."""
    return value.graph.add("stop_gradient", (value,), value.shape, value.dtype, value.deliberate)


def alias(value: Value) -> Value:
    """The same value as a node of its own, with respect to which what is made of it can be differentiated alone."""
    return value.graph.add("alias", (value,), value.shape, value.dtype, value.deliberate)


def given_slope(
    x: Value, y: Value, slope: Value, target: Value | None = None, stands_for: Value | None = None
) -> Value:
    """y, a function of x, whose gradient is that of y times this slope.

    y has the shape of x, or that of its first axes: then each element of y is a function of all those of x behind it. Where it is
    one of a target too, y was computed of a value that stands for the target, and has a derivative with respect to that.
    """
    if target is None or stands_for is None:
        return y.graph.add("given_slope", (y, x), y.shape, y.dtype, y.deliberate, slope=slope.number)
    found: dict[str, Any] = {"slope": slope.number, "stands_for": stands_for.number}
    return y.graph.add("given_slope", (y, x, target), y.shape, y.dtype, y.deliberate, **found)


def broadcast(values: Sequence[Value], name: str) -> tuple[Shape, frozenset[int]]:
    """The shape that these broadcast to, and its axes of size 1 that are deliberate."""
    widest, axes = values[0].shape, _NO_AXES
    for value in values:
        if len(value.shape) > len(widest):
            widest = value.shape
    for value in values:
        shape = value.shape
        if not shape:
            continue
        if shape is not widest and not same_shape(shape, widest):
            break
        if value.deliberate:
            axes |= value.deliberate
    else:  # all of one shape, and numbers
        if axes:
            axes = frozenset([n for n, size in enumerate(widest) if n in axes and type(size) is int and size == 1])
        return widest, axes
    ndim = len(widest)
    found: list[Dimension] = []
    ones = set()
    for axis in range(-ndim, 0):
        size: Dimension = 1
        deliberate = False
        for value in values:
            if -axis > value.ndim:
                continue
            own = value.shape[axis]
            if isinstance(own, int) and own == 1:
                deliberate = deliberate or value.ndim + axis in value.deliberate
            elif isinstance(size, int) and size == 1:
                size = own
            elif not same(size, own):
                shapes = " and ".join(spelled(each.shape) for each in values)
                raise InvalidValueError(f"{where()}: np.{name}", "shapes that broadcast", shapes)
        if isinstance(size, int) and size == 1 and deliberate:
            ones.add(ndim + axis)
        found.append(size)
    _refuse_outer(values, name)
    return tuple(found), frozenset(ones)


def _refuse_outer(values: Sequence[Value], name: str) -> None:
    """(N,) with (N, 1) would make (N, N), which is hardly meant unless the 1 was written."""
    for one in values:
        for other in values:
            if other.ndim <= one.ndim:
                continue
            for axis in range(-one.ndim, 0):
                size, beside = one.shape[axis], other.shape[axis]
                accidental = isinstance(beside, int) and beside == 1 and other.ndim + axis not in other.deliberate
                earlier = other.shape[: other.ndim + axis]
                if accidental and isinstance(size, Size) and any(same(size, each) for each in earlier):
                    raise InvalidValueError(
                        f"{where()}: np.{name}",
                        "one shape of both",
                        f"{spelled(one.shape)} and {spelled(other.shape)}",
                        "write x[:, 0] for the second, or x[:, None] for the first where the outer product is meant",
                    )


def broadcast_to(value: Value, shape: Shape) -> Value:
    """The value with its axes of size 1, and axes before, repeated."""
    if same_shape(value.shape, shape):
        return value
    for own, wanted in zip(value.shape[::-1], tuple(shape)[::-1], strict=False):
        if not (same(own, wanted) or same(own, 1)):
            raise InvalidValueError(
                f"{where()}: np.broadcast_to", f"a shape that {spelled(value.shape)} fits", spelled(shape)
            )
    return value.graph.add("broadcast_to", (value,), tuple(shape), value.dtype, to=tuple(shape))


def reshape(value: Value, shape: Sequence[Any]) -> Value:
    """The elements, in their order, in another shape; one size may be -1."""
    sizes = [each if isinstance(each, Size) else _size(each) for each in shape]
    if sum(same(each, -1) for each in sizes) > 1:
        raise InvalidValueError(f"{where()}: reshape", "at most one -1", str(tuple(sizes)))
    if any(same(each, -1) for each in sizes):
        rest = total(tuple(each for each in sizes if not same(each, -1)))
        missing = divided(total(value.shape), rest)
        sizes = [missing if same(each, -1) else each for each in sizes] if missing is not None else sizes
    if not same(total(tuple(sizes)), total(value.shape)):
        raise InvalidValueError(
            f"{where()}: reshape", f"a shape of as many elements as {spelled(value.shape)}", str(tuple(shape))
        )
    made = tuple(sizes)
    return value if same_shape(value.shape, made) else value.graph.add("reshape", (value,), made, value.dtype, to=made)


def _size(given: Any) -> int:
    try:
        return index(given)
    except TypeError:
        raise InvalidTypeError(f"{where()}: reshape", "whole numbers as sizes", shown(given)) from None


def expand(value: Value, axis: int) -> Value:
    """A new axis of size 1, which broadcasts."""
    shape = (*value.shape[:axis], 1, *value.shape[axis:])
    ones = frozenset({axis} | {each + (each >= axis) for each in value.deliberate})
    return value.graph.add("reshape", (value,), shape, value.dtype, ones, to=shape)


def transpose(value: Value, axes: Sequence[int]) -> Value:
    """The axes in this order."""
    order = tuple(axes)
    if order == tuple(range(value.ndim)):
        return value
    shape = tuple(value.shape[axis] for axis in order)
    ones = frozenset(new for new, old in enumerate(order) if old in value.deliberate)
    return value.graph.add("transpose", (value,), shape, value.dtype, ones, axes=order)


def concatenate(values: Sequence[Value], axis: int) -> Value:
    """The values one behind the other along an axis; symbolic sizes there must be alike."""
    first = values[0]
    for each in values[1:]:
        if len(each.shape) != len(first.shape):
            shapes = " and ".join(spelled(value.shape) for value in values)
            raise InvalidValueError(f"{where()}: np.concatenate", "arrays with as many axes as the first", shapes)
        rest = [size for number, size in enumerate(each.shape) if number != axis]
        wanted = [size for number, size in enumerate(first.shape) if number != axis]
        if not same_shape(tuple(rest), tuple(wanted)):
            shapes = " and ".join(spelled(value.shape) for value in values)
            raise InvalidValueError(f"{where()}: np.concatenate", f"shapes that agree in every axis but {axis}", shapes)
    size = added([value.shape[axis] for value in values])
    shape = (*first.shape[:axis], size, *first.shape[axis + 1 :])
    kinds = {value.dtype.kind for value in values}
    dtype = first.graph.dtype if "f" in kinds else np.dtype(np.int64) if "i" in kinds else np.dtype(np.bool_)
    cast_values = tuple(cast(value, dtype) for value in values)
    return first.graph.add("concatenate", cast_values, shape, dtype, axis=axis)


def difference(size: Dimension, less: Dimension) -> Dimension:
    """A size without another: of numbers, or of multiples of the same symbols."""
    return added([size, -1 * less])


def added(sizes: Sequence[Dimension]) -> Dimension:
    """The sum of sizes, of numbers or of multiples of the same symbols; others need the numbers."""
    symbols = {each.symbols for each in sizes if isinstance(each, Size)}
    if len(symbols) == 1 and all(isinstance(each, Size) or each == 0 for each in sizes):
        return sized(sum(each.count for each in sizes if isinstance(each, Size)), symbols.pop())
    return sum(each.__index__() for each in sizes)


def reduce(name: str, value: Value, axes: Sequence[int], keepdims: bool) -> Value:
    """sum, prod, max, min, any, all, argmax or argmin over axes (one for the latter two)."""
    graph, over = value.graph, tuple(sorted(axes))
    if name in ("any", "all"):
        value, dtype = truth(value), np.dtype(np.bool_)
    elif name in ("argmax", "argmin"):
        dtype = np.dtype(np.int64)
    else:
        if value.dtype.kind == "b":
            if name in ("max", "min"):
                return reduce("any" if name == "max" else "all", value, axes, keepdims)
            value = cast(value, _WHOLE)
        dtype = value.dtype
    if name in EXTREMES and any(is_zero(value.shape[axis]) for axis in over):
        raise InvalidValueError(f"{where()}: np.{name}", "at least one element", "none")
    kept = tuple(1 if axis in over else size for axis, size in enumerate(value.shape))
    ones = frozenset(over) | value.deliberate
    found = graph.add(name, (value,), kept, dtype, ones, axes=over)
    if keepdims or not over:
        return found
    shape = tuple(size for axis, size in enumerate(value.shape) if axis not in over)
    return reshape(found, shape) if shape != kept else found


def cumsum(value: Value, axis: int) -> Value:
    """Sums of all elements up to each."""
    value = cast(value, np.int64) if value.dtype.kind == "b" else value
    return value.graph.add("cumsum", (value,), value.shape, value.dtype, axis=axis)


def matmul(one: Value, other: Value) -> Value:
    """The product of the last two axes, over broadcast axes before them."""
    graph, kinds = one.graph, {one.dtype.kind, other.dtype.kind}
    dtype = graph.dtype if "f" in kinds else _WHOLE
    one, other = cast(one, dtype), cast(other, dtype)
    if one.ndim < 2 or other.ndim < 2 or not same(one.shape[-1], other.shape[-2]):
        raise InvalidValueError(
            f"{where()}: np.matmul",
            "columns of the first as rows of the second",
            f"{spelled(one.shape)} and {spelled(other.shape)}",
        )
    lead: Shape = ()
    if one.ndim > 2 or other.ndim > 2:
        heads = [Value(graph, each.number, each.shape[:-2], each.dtype, each.deliberate) for each in (one, other)]
        lead, _ = broadcast(heads, "matmul")
    found = graph.add("matmul", (one, other), (*lead, one.shape[-2], other.shape[-1]), dtype)
    return truth(found) if kinds == {"b"} else found


def _whole(size: Dimension, start: Any, stop: Any, step: int) -> tuple[Any, Any, int]:
    """A slice, in the form of one without ends where it is of all elements."""
    fixed = not any(isinstance(each, Size) for each in (size, start, stop))
    return (None, None, 1) if fixed and step == 1 and not start and stop == size else (start, stop, step)


def cut(value: Value, slices: Sequence[tuple[Any, Any, int]]) -> Value:
    """Elements from start to stop, which are sizes or None for an end, in steps, along each axis."""
    shape = []
    slices = [_whole(size, *each) for size, each in zip(value.shape, slices, strict=True)]
    for size, (start, stop, step) in zip(value.shape, slices, strict=True):
        if start is None and stop is None and abs(step) == 1:
            shape.append(size)
        elif step == 1 and (isinstance(start, Size) or isinstance(stop, Size)):
            shape.append(difference(size if stop is None else stop, 0 if start is None else start))
        else:
            shape.append(len(range(*slice(start, stop, step).indices(size.__index__()))))
    if all(start is None and stop is None and step == 1 for start, stop, step in slices):
        return value
    return value.graph.add("cut", (value,), tuple(shape), value.dtype, value.deliberate, slices=tuple(slices))


def put(value: Value, shape: Shape, slices: Sequence[tuple[Any, Any, int]]) -> Value:
    """Zeros of a shape with the value where `cut` would take it from."""
    return value.graph.add("put", (value,), shape, value.dtype, to=shape, slices=tuple(slices))


def refuse_outside(name: str, value: Value, index: Value, axis: int) -> None:
    """Refuse an index that is known where it is traced and names what is not there."""
    node, size = value.graph.nodes[index.number], value.shape[axis]
    if node.operation != "constant" or isinstance(size, Size):
        return
    given = node.attributes["array"]
    outside = given[(given < -size) | (given >= size)]
    if outside.size:
        raise InvalidValueError(f"{where()}: {name}", f"indices below {size} along axis {axis}", str(outside[0]))


def take_along(value: Value, index: Value, axis: int) -> Value:
    """The element of each row along an axis that the index names; np.take_along_axis."""
    if len(value.shape) != len(index.shape):
        raise InvalidValueError(
            f"{where()}: np.take_along_axis",
            "an index with as many axes as the array",
            f"{spelled(index.shape)} for {spelled(value.shape)}",
        )
    refuse_outside("np.take_along_axis", value, index, axis)
    shape, _ = broadcast(
        [
            Value(value.graph, each.number, (*each.shape[:axis], *each.shape[axis + 1 :]), each.dtype, frozenset())
            for each in (value, index)
        ],
        "take_along_axis",
    )
    full = (*shape[:axis], index.shape[axis], *shape[axis:])
    return value.graph.add("take_along", (value, index), full, value.dtype, axis=axis)


def put_along(value: Value, index: Value, axis: int, size: Dimension) -> Value:
    """Zeros with the value added where the index names; the transpose of `take_along`."""
    shape = (*value.shape[:axis], size, *value.shape[axis + 1 :])
    return value.graph.add("put_along", (value, index), shape, value.dtype, axis=axis, size=size)


def take(value: Value, index: Value, axis: int) -> Value:
    """The slices along an axis that an index of any shape names; np.take."""
    refuse_outside("np.take", value, index, axis)
    shape = (*value.shape[:axis], *index.shape, *value.shape[axis + 1 :])
    return value.graph.add("take", (value, index), shape, value.dtype, axis=axis)


def put_taken(value: Value, index: Value, axis: int, size: Dimension) -> Value:
    """Zeros with slices added where the index names; the transpose of `take`."""
    shape = (*value.shape[:axis], size, *value.shape[axis + index.ndim :])
    return value.graph.add("put_taken", (value, index), shape, value.dtype, axis=axis, size=size)


def argsort(value: Value, axis: int) -> Value:
    """The numbers of the elements along an axis in ascending order, equal ones in their order."""
    return value.graph.add("argsort", (value,), value.shape, np.int64, axis=axis)
