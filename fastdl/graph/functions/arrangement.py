"""Other shapes and orders of traced values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastdl.errors import InvalidValueError
from fastdl.graph import operations as op
from fastdl.graph.functions.entering import axes_among, axes_of, axis_of, implements, nothing_else, whole_number
from fastdl.graph.operations import elementwise as e
from fastdl.graph.size import Dimension, same_shape
from fastdl.graph.value import FUNCTIONS, Value, refused, where

FUNCTIONS[np.shape] = lambda a: a.shape
FUNCTIONS[np.ndim] = lambda a: a.ndim
FUNCTIONS[np.size] = lambda a, axis=None: a.size if axis is None else a.shape[axis]


@implements(np.reshape)
def reshape(a: Any, /, shape: Any = None, order: Any = "C", *, newshape: Any = None, copy: Any = None) -> Value:
    """The elements in another shape."""
    if order != "C":
        raise refused("np.reshape", f"with order={order!r}", "leave it out")
    wanted = newshape if shape is None else shape
    return op.reshape(a, wanted if isinstance(wanted, (tuple, list)) else (wanted,))


FUNCTIONS[np.ravel] = lambda a, order="C": op.reshape(a, (-1,))


@implements(np.transpose)
def transpose(a: Any, axes: Any = None) -> Value:
    """The axes in another order, the reverse where None."""
    if axes is None:
        return op.transpose(a, tuple(range(a.ndim))[::-1])
    order = axes_of(a, tuple(axes))
    if len(order) != a.ndim:
        raise InvalidValueError(f"{where()}: np.transpose", f"each of {a.ndim} axes once", str(tuple(axes)))
    return op.transpose(a, order)


@implements(np.swapaxes)
def swapaxes(a: Any, axis1: int, axis2: int) -> Value:
    """Two axes in each other's place."""
    order = list(range(a.ndim))
    one, other = axis_of(a, axis1), axis_of(a, axis2)
    order[one], order[other] = order[other], order[one]
    return op.transpose(a, order)


@implements(np.moveaxis)
def moveaxis(a: Any, source: Any, destination: Any) -> Value:
    """Axes at other places."""
    sources, places = axes_of(a, source), axes_of(a, destination)
    if len(sources) != len(places):
        raise InvalidValueError(f"{where()}: np.moveaxis", f"{len(sources)} places for as many axes", str(len(places)))
    order = [axis for axis in range(a.ndim) if axis not in sources]
    for place, axis in sorted(zip(places, sources, strict=True)):
        order.insert(place, axis)
    return op.transpose(a, order)


@implements(np.expand_dims)
def expand_dims(a: Any, axis: Any) -> Value:
    """New axes of size 1."""
    for each in sorted(axes_among(a.ndim + (len(axis) if isinstance(axis, (tuple, list)) else 1), axis)):
        a = op.expand(a, each)
    return a


@implements(np.squeeze)
def squeeze(a: Any, axis: Any = None) -> Value:
    """Without axes of size 1."""
    ones = [n for n, size in enumerate(a.shape) if isinstance(size, int) and size == 1]
    gone = ones if axis is None else axes_of(a, axis)
    if any(each not in ones for each in gone):
        raise InvalidValueError(f"{where()}: np.squeeze", "axes of size 1", f"axis {axis} of {a}")
    return op.reshape(a, [size for n, size in enumerate(a.shape) if n not in gone])


@implements(np.broadcast_to)
def broadcast_to(array: Any, shape: Any, subok: Any = False) -> Value:
    """Axes of size 1 repeated."""
    return op.broadcast_to(array, tuple(shape) if isinstance(shape, (tuple, list)) else (shape,))


@implements(np.concatenate)
def concatenate(arrays: Sequence[Any], axis: Any = 0, out: Any = None, **rest: Any) -> Value:
    """Arrays one behind the other."""
    nothing_else("concatenate", {"out": out, **rest})
    graph = op.graph_of(*arrays)
    values = [op.as_value(graph, each) for each in arrays]
    if axis is None:
        return op.concatenate([op.reshape(each, (-1,)) for each in values], 0)
    return op.concatenate(values, axis_of(values[0], axis))


@implements(np.stack)
def stack(arrays: Sequence[Any], axis: int = 0, out: Any = None, **rest: Any) -> Value:
    """Arrays one behind the other along a new axis."""
    graph = op.graph_of(*arrays)
    values = [op.as_value(graph, each) for each in arrays]
    (place,) = axes_among(values[0].ndim + 1, whole_number(axis, "axis"))
    if any(not same_shape(each.shape, values[0].shape) for each in values):
        raise InvalidValueError(f"{where()}: np.stack", "arrays of one shape", " and ".join(map(str, values)))
    return concatenate([op.expand(each, place) for each in values], place, out, **rest)


@implements(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Value]:
    """Parts along an axis: so many equal ones, or cut at these numbers."""
    along = axis_of(ary, axis)
    size = ary.shape[along].__index__()
    if not isinstance(indices_or_sections, (tuple, list, np.ndarray)):
        indices_or_sections = whole_number(indices_or_sections, "indices_or_sections", low=1)
        if size % indices_or_sections:
            raise InvalidValueError(
                f"{where()}: np.split", f"a number of equal parts of {size}", str(indices_or_sections)
            )
        width = size // indices_or_sections
        cuts = list(range(width, size, width))
    else:
        cuts = [whole_number(each, "indices_or_sections") for each in indices_or_sections]
    bounds = [0, *cuts, size]
    return [
        op.cut(ary, [(start, stop, 1) if n == along else (None, None, 1) for n in range(ary.ndim)])
        for start, stop in pairwise(bounds)
    ]


@implements(np.flip)
def flip(m: Any, axis: Any = None) -> Value:
    """The elements in reverse order along axes."""
    turned = axes_of(m, axis)
    return op.cut(m, [(None, None, -1 if n in turned else 1) for n in range(m.ndim)])


@implements(np.roll)
def roll(a: Any, shift: int, axis: Any = None) -> Value:
    """The elements moved along an axis, those that leave it coming in at the other end."""
    if axis is None:
        return op.reshape(roll(op.reshape(a, (-1,)), shift, 0), a.shape)
    along = axis_of(a, axis)
    size = a.shape[along].__index__()
    by = whole_number(shift, "shift")
    by = by % size if size else 0
    if not by:
        return a
    first, second = ([(start, stop, 1) if n == along else (None, None, 1) for n in range(a.ndim)]
                     for start, stop in ((size - by, size), (0, size - by)))  # fmt: skip
    return op.concatenate([op.cut(a, first), op.cut(a, second)], along)


@implements(np.repeat)
def repeat(a: Any, repeats: int, axis: Any = None) -> Value:
    """Each element, or slice along an axis, so many times."""
    if axis is None:
        return repeat(op.reshape(a, (-1,)), repeats, 0)
    along, times = axis_of(a, axis), whole_number(repeats, "repeats", low=0)
    wide = op.expand(a, along + 1)
    shape = (*a.shape[: along + 1], times, *a.shape[along + 1 :])
    size: Dimension = a.shape[along] * times
    return op.reshape(op.broadcast_to(wide, shape), (*a.shape[:along], size, *a.shape[along + 1 :]))


@implements(np.tile)
def tile(A: Any, reps: Any) -> Value:
    """The whole array so many times along each axis."""
    times = tuple(whole_number(each, "reps", low=0) for each in (reps if isinstance(reps, (tuple, list)) else (reps,)))
    value = A
    while value.ndim < len(times):
        value = op.expand(value, 0)
    for axis, number in enumerate((1,) * (value.ndim - len(times)) + times):
        if number != 1:
            wide = op.expand(value, axis)
            shape = (*value.shape[:axis], number, *value.shape[axis:])
            size = value.shape[axis] * number
            value = op.reshape(op.broadcast_to(wide, shape), (*value.shape[:axis], size, *value.shape[axis + 1 :]))
    return value


@implements(np.pad)
def pad(array: Any, pad_width: Any, mode: str = "constant", **rest: Any) -> Value:
    """Zeros, or another number, around an array."""
    if mode != "constant" or rest.keys() - {"constant_values"}:
        raise refused("np.pad", f"with mode={mode!r}", 'use mode="constant"')
    widths = np.broadcast_to(np.asarray(pad_width), (array.ndim, 2)).tolist()
    fill = float(rest.get("constant_values", 0))
    shape, slices = [], []
    for size, (before, after) in zip(array.shape, widths, strict=True):
        whole = before == after == 0
        shape.append(size if whole else size.__index__() + before + after)
        slices.append((None, None, 1) if whole else (before, before + size.__index__(), 1))
    found = op.put(op.cast(array, array.graph.dtype), tuple(shape), slices)
    if not fill:
        return found
    ones = op.put(
        op.broadcast_to(array.graph.constant(np.ones((), array.graph.dtype)), array.shape), tuple(shape), slices
    )
    return op.where_of(e("greater", ones, 0.0), found, fill)


def _triangle(name: str) -> Callable[..., Value]:
    def take(m: Any, k: int = 0) -> Value:
        rows, columns = (size.__index__() for size in m.shape[-2:])
        inside = getattr(np, name)(np.ones((rows, columns), bool), k)
        return op.where_of(inside, m, 0.0 if m.dtype.kind == "f" else 0)

    return take


FUNCTIONS[np.tril], FUNCTIONS[np.triu] = _triangle("tril"), _triangle("triu")
