"""Picking and sorting elements of traced values."""

from __future__ import annotations

from operator import index as index_of
from typing import Any

import numpy as np

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph import operations as op
from fastdl.graph.functions.entering import axis_of, implements, nothing_else
from fastdl.graph.operations import elementwise as e
from fastdl.graph.size import Size, same
from fastdl.graph.value import Value, refused, where
from fastdl.messages import shown


@implements(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Value:
    """The elements that an index names along an axis."""
    graph = op.graph_of(arr, indices)
    value, index = op.as_value(graph, arr), op.as_value(graph, indices)
    if axis is None:
        value, axis = op.reshape(value, (-1,)), 0
    return op.take_along(value, _index(index), axis_of(value, axis))


@implements(np.take)
def take(a: Any, indices: Any, axis: int | None = None, out: Any = None, mode: str = "raise") -> Value:
    """The slices that an index names along an axis."""
    graph = op.graph_of(a, indices)
    value = op.as_value(graph, a)
    if axis is None:
        value, axis = op.reshape(value, (-1,)), 0
    nothing_else("take", {"out": out})
    along, index = axis_of(value, axis), _index(op.as_value(graph, indices))
    size = value.shape[along]
    if mode == "clip":
        index = e("maximum", e("minimum", index, e("subtract", op.as_value(graph, size), 1)), 0)
    elif mode == "wrap":
        index = e("remainder", index, size)
    elif mode != "raise":
        raise refused("np.take", f"with mode={mode!r}", 'write "raise", "clip" or "wrap"')
    return op.take(value, index, along)


def _index(value: Value) -> Value:
    if value.dtype.kind == "b":
        raise InvalidTypeError(where(), "integers as an index", "truth values", "write np.where(mask, x, 0)")
    if value.dtype.kind != "i":
        raise InvalidTypeError(where(), "integers as an index", str(value.dtype), "write .astype(int)")
    return value


@implements(np.argsort)
def argsort(a: Any, axis: Any = -1, *_: Any, **__: Any) -> Value:
    """The order of the elements along an axis."""
    return op.argsort(op.reshape(a, (-1,)), 0) if axis is None else op.argsort(a, axis_of(a, axis))


@implements(np.sort)
def sort(a: Any, axis: Any = -1, *_: Any, **__: Any) -> Value:
    """The elements in ascending order; the gradient goes through the order."""
    value = op.reshape(a, (-1,)) if axis is None else a
    along = axis_of(value, 0 if axis is None else axis)
    return op.take_along(value, op.argsort(value, along), along)


def getitem(value: Value, index: Any) -> Value:
    """x[index]: integers, slices, None and an Ellipsis, and at most one integer array or value among them."""
    parts = [_array_of_list(each) for each in (index if isinstance(index, tuple) else (index,))]
    named = sum(each is not None and each is not Ellipsis for each in parts)
    if named > value.ndim:
        raise InvalidValueError(f"{where()}: x[...]", f"at most {value.ndim} indices of axes", str(named))
    rest = [slice(None)] * (value.ndim - named)
    ellipses = [n for n, each in enumerate(parts) if each is Ellipsis]
    if len(ellipses) > 1:
        raise InvalidValueError(f"{where()}: x[...]", "at most one Ellipsis", str(len(ellipses)))
    place = ellipses[0] if ellipses else len(parts)
    parts[place : place + 1] = rest
    arrays = [n for n, each in enumerate(parts) if isinstance(each, (Value, np.ndarray))]
    if any(
        isinstance(each, (bool, np.bool_)) or (isinstance(each, np.ndarray) and each.dtype == bool) for each in parts
    ):
        raise refused("x[mask]", "whose result has no fixed size", "write np.where(mask, x, 0)")
    if len(arrays) == 2 and arrays == [0, 1] and len(parts) == 2 and value.ndim == 2:
        return _pairs(value, parts)
    if len(arrays) > 1:
        raise refused("an index", "by several arrays", "write np.take_along_axis or np.take")
    # The axis of the value, and the one of the result, that each part comes to.
    slices, gone, new, axis, place = [], [], [], 0, 0
    first, ndim = 0, 0
    for each in parts:
        if each is None:
            new.append(place)
            place += 1
            continue
        if isinstance(each, slice):
            slices.append(_slice(value, axis, each))
            place += 1
        elif isinstance(each, (Value, np.ndarray)):
            slices.append((None, None, 1))
            first, ndim = place, each.ndim
            place += ndim
        else:
            slices.append(_one(value, axis, each))
            gone.append(axis)
        axis += 1
    found = op.cut(value, slices)
    for n in arrays:
        along = sum(each is not None for each in parts[:n])
        found = op.take(found, _index(op.as_value(value.graph, parts[n])), along)
        gone = [each if each < along else each + ndim - 1 for each in gone]
    if gone:
        found = op.reshape(found, [size for n, size in enumerate(found.shape) if n not in gone])
    for each in new:
        found = op.expand(found, each)
    if ndim and _stand_apart(parts):
        found = op.transpose(found, [*range(first, first + ndim), *range(first), *range(first + ndim, found.ndim)])
    return found


def _array_of_list(part: Any) -> Any:
    if not isinstance(part, list):
        return part
    return np.asarray(part, None if part else np.int64)


def _stand_apart(parts: list[Any]) -> bool:
    """Whether a slice or None is between integers and an array: then NumPy has the array's axes first."""
    named = [n for n, each in enumerate(parts) if each is not None and not isinstance(each, slice)]
    return named != list(range(named[0], named[0] + len(named)))


def _one(value: Value, axis: int, given: Any) -> tuple[int, int, int]:
    """The slice of one element of an axis."""
    try:
        number = index_of(given)
    except TypeError:
        expected = "integers, slices, None, an Ellipsis or an array of integers as an index"
        raise InvalidTypeError(f"{where()}: x[...]", expected, shown(given)) from None
    size = value.shape[axis]
    if isinstance(size, int) and not -size <= number < size:
        raise InvalidValueError(f"{where()}: x[...]", f"an index below {size}", str(number))
    start = number if number >= 0 else number + size.__index__()
    return start, start + 1, 1


def _pairs(value: Value, parts: list[Any]) -> Value:
    """x[rows, columns]."""
    graph = value.graph
    size, width = (op.as_value(graph, each) for each in value.shape)
    indices = [_index(op.as_value(graph, each)) for each in parts]
    for axis, each in enumerate(indices):
        op.refuse_outside("x[...]", value, each, axis)
    rows, columns = (_from_the_front(each, of) for each, of in zip(indices, (size, width), strict=True))
    # What is outside of its axis names the place behind the last one, which taking refuses.
    row_is_there = e("logical_and", e("greater_equal", rows, 0), e("less", rows, size))
    column_is_there = e("logical_and", e("greater_equal", columns, 0), e("less", columns, width))
    place = e("add", e("multiply", rows, width), columns)
    place = op.where_of(e("logical_and", row_is_there, column_is_there), place, e("multiply", size, width))
    return op.take(op.reshape(value, (-1,)), place, 0)


def _from_the_front(index: Value, size: Value) -> Value:
    """Numbers of elements, where negative ones count from the end."""
    return op.where_of(e("less", index, 0), e("add", index, size), index)


def _slice(value: Value, axis: int, given: slice) -> tuple[Any, Any, int]:
    size = value.shape[axis]
    try:
        step = 1 if given.step is None else index_of(given.step)
        ends = [
            end if end is None or (isinstance(end, Size) and same(end, size)) else index_of(end)
            for end in (given.start, given.stop)
        ]
    except TypeError as error:
        if isinstance(error, InvalidTypeError):
            raise
        raise InvalidTypeError(f"{where()}: x[...]", "whole numbers in a slice", str(given)) from None
    if not step:
        raise InvalidValueError(f"{where()}: x[...]", "a step that is not 0", str(given))
    start, stop = ends
    if isinstance(stop, Size) and same(stop, size):
        stop = None
    if start == 0 and step > 0:
        start = None
    if isinstance(size, int) and (start, stop) != (None, None):
        found = range(*slice(start, stop, step).indices(size))
        return (found.start, found.stop if found.stop >= 0 else None, step) if len(found) else (0, 0, 1)
    return start, stop, step
