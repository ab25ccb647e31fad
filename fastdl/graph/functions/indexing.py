"""Picking and sorting elements of traced values."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph import operations as op
from fastdl.graph.functions.entering import axis_of, implements
from fastdl.graph.operations import elementwise as e
from fastdl.graph.size import Size, same
from fastdl.graph.value import Value, refused, where


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
    return op.take(value, _index(op.as_value(graph, indices)), axis_of(value, axis))


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
    parts = list(index) if isinstance(index, tuple) else [index]
    named = sum(each is not None and each is not Ellipsis for each in parts)
    if named > value.ndim:
        raise InvalidValueError(f"{where()}: x[...]", f"at most {value.ndim} indices of axes", str(named))
    if Ellipsis in [each for each in parts if not isinstance(each, (Value, np.ndarray))]:
        place = next(n for n, each in enumerate(parts) if each is Ellipsis)
        parts[place : place + 1] = [slice(None)] * (value.ndim - named)
    else:
        parts += [slice(None)] * (value.ndim - named)
    arrays = [n for n, each in enumerate(parts) if isinstance(each, (Value, np.ndarray, list))]
    if len(arrays) == 2 and arrays == [0, 1] and len(parts) == 2 and value.ndim == 2:
        return _pairs(value, parts)
    if len(arrays) > 1:
        raise refused("an index", "by several arrays", "write np.take_along_axis or np.take")
    if any(np.asarray(each).dtype.kind == "b" for each in parts if isinstance(each, (np.ndarray, list))):
        raise refused("x[mask]", "whose result has no fixed size", "write np.where")
    slices, axis, gone, new = [], 0, [], []
    for each in parts:
        if each is None:
            new.append(axis - len(gone) + len(new))
        elif isinstance(each, slice):
            slices.append(_slice(value, axis, each))
            axis += 1
        elif isinstance(each, (Value, np.ndarray, list)):
            slices.append((None, None, 1))
            axis += 1
        else:
            number = each.__index__()
            size = value.shape[axis]
            if isinstance(size, int) and not -size <= number < size:
                raise InvalidValueError(f"{where()}: x[...]", f"an index below {size}", str(number))
            start = number if number >= 0 else number + size.__index__()
            slices.append((start, start + 1, 1))
            gone.append(axis)
            axis += 1
    found = op.cut(value, slices)
    for n in arrays:
        along = sum(each is not None for each in parts[:n])
        found = op.take(
            found,
            _index(op.as_value(value.graph, np.asarray(parts[n]) if isinstance(parts[n], list) else parts[n])),
            along,
        )
    if gone:
        extra = found.ndim - value.ndim
        shifted = [each if not arrays or each < arrays[0] else each + extra for each in gone]
        found = op.reshape(found, [size for n, size in enumerate(found.shape) if n not in shifted])
    for each in new:
        found = op.expand(found, each)
    return found


def _pairs(value: Value, parts: list[Any]) -> Value:
    """x[rows, columns]."""
    rows, columns = (_index(op.as_value(value.graph, each)) for each in parts)
    flat = op.reshape(value, (-1,))
    return op.take(flat, e("add", e("multiply", rows, value.shape[1].__index__()), columns), 0)


def _slice(value: Value, axis: int, given: slice) -> tuple[Any, Any, int]:
    step = 1 if given.step is None else given.step.__index__()
    size = value.shape[axis]
    ends = [
        end if end is None or (isinstance(end, Size) and same(end, size)) else end.__index__()
        for end in (given.start, given.stop)
    ]
    start, stop = ends
    if isinstance(stop, Size) and same(stop, size):
        stop = None
    if start == 0 and step > 0:
        start = None
    if isinstance(size, int) and (start, stop) != (None, None):
        found = range(*slice(start, stop, step).indices(size))
        return (found.start, found.stop if found.stop >= 0 else None, step) if len(found) else (0, 0, 1)
    return start, stop, step
