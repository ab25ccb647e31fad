"""Other shapes and orders of traced values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph import operations as op
from fastdl.graph.functions.elements import full_like
from fastdl.graph.functions.entering import axes_among, axes_of, axis_of, implements, nothing_else, whole_number
from fastdl.graph.operations import elementwise as e
from fastdl.graph.size import Dimension, is_zero, same_shape
from fastdl.graph.value import FUNCTIONS, Value, refused, where
from fastdl.messages import shown

FUNCTIONS[np.shape] = lambda a: a.shape
FUNCTIONS[np.ndim] = lambda a: a.ndim
FUNCTIONS[np.size] = lambda a, axis=None: a.size if axis is None else a.shape[axis]


@implements(np.reshape)
def reshape(a: Any, /, shape: Any = None, order: Any = "C", *, newshape: Any = None, copy: Any = None) -> Value:
    """The elements in another shape; with `copy` in-place operators on the result leave `a` as it is."""
    in_c_order("reshape", order)
    wanted = newshape if shape is None else shape
    found = op.reshape(a, wanted if isinstance(wanted, (tuple, list)) else (wanted,))
    return found.copy() if copy else found


@implements(np.ravel)
def ravel(a: Any, order: Any = "C") -> Value:
    """The elements in one axis."""
    in_c_order("ravel", order)
    return op.reshape(a, (-1,))


def in_c_order(name: str, order: Any) -> None:
    """Refuse another order of elements than C's."""
    if order != "C":
        raise refused(f"np.{name}", f"with order={order!r}", "leave it out")


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


@implements(np.vstack)
def vstack(tup: Sequence[Any], **rest: Any) -> Value:
    """Arrays one below the other; those of one axis are rows."""
    graph = op.graph_of(*tup)
    values = [op.as_value(graph, each) for each in tup]
    rows = [op.reshape(each, (1, -1)) if each.ndim < 2 else each for each in values]
    return concatenate(rows, 0, **rest)


@implements(np.hstack)
def hstack(tup: Sequence[Any], **rest: Any) -> Value:
    """Arrays one beside the other."""
    graph = op.graph_of(*tup)
    values = [op.as_value(graph, each) for each in tup]
    values = [op.reshape(each, (1,)) if not each.ndim else each for each in values]
    return concatenate(values, min(1, values[0].ndim - 1), **rest)


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
        cuts = [width * number for number in range(1, indices_or_sections)]
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
def roll(a: Any, shift: Any, axis: Any = None) -> Value:
    """The elements moved along axes, those that leave one coming in at its other end."""
    if axis is None:
        return op.reshape(roll(op.reshape(a, (-1,)), shift, 0), a.shape)
    shifts, axes = ([*each] if isinstance(each, (tuple, list, np.ndarray)) else [each] for each in (shift, axis))
    count = max(len(shifts), len(axes))
    if {len(shifts), len(axes)} - {1, count}:
        raise InvalidValueError(f"{where()}: np.roll", f"a shift for each of {len(axes)} axes", str(tuple(shifts)))
    shifts, axes = (each * count if len(each) == 1 else each for each in (shifts, axes))
    for by, along in zip(shifts, axes, strict=True):
        a = _rolled(a, whole_number(by, "shift"), axis_of(a, along))
    return a


def _rolled(a: Value, by: int, along: int) -> Value:
    size = a.shape[along].__index__()
    by = by % size if size else 0
    if not by:
        return a.copy()
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
    return op.reshape(op.broadcast_to(wide, shape), (*a.shape[:along], size, *a.shape[along + 1 :])).copy()


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
    return value.copy()


@implements(np.pad)
def pad(array: Any, pad_width: Any, mode: str = "constant", **rest: Any) -> Value:
    """Zeros, or other numbers for each end of each axis, around an array."""
    if mode != "constant" or rest.keys() - {"constant_values"}:
        raise refused("np.pad", f"with mode={mode!r}", 'use mode="constant"')
    widths = _of_ends(array, pad_width, "pad_width")
    if any(each.dtype.kind not in "iu" for each in widths):
        raise InvalidTypeError(f"{where()}: np.pad", "whole numbers", shown(pad_width), argument="pad_width")
    if any((each < 0).any() for each in widths):
        raise InvalidValueError(f"{where()}: np.pad", "numbers of 0 or more", shown(pad_width), argument="pad_width")
    fills = _of_ends(array, rest.get("constant_values", 0), "constant_values")
    if not any(each.any() for each in fills):
        shape, slices = [], []
        for size, (before, after) in zip(array.shape, widths, strict=True):
            whole = before == after == 0
            shape.append(size if whole else size.__index__() + int(before + after))
            slices.append((None, None, 1) if whole else (int(before), int(before) + size.__index__(), 1))
        return op.put(array, tuple(shape), slices)
    found = array
    for axis, (width, fill) in enumerate(zip(widths, fills, strict=True)):
        before, after = (
            full_like(found, one, shape=(*found.shape[:axis], int(many), *found.shape[axis + 1 :]))
            for many, one in zip(width, fill, strict=True)
        )
        found = op.concatenate([part for part in (before, found, after) if not is_zero(part.shape[axis])], axis)
    return found.copy()


def _of_ends(array: Value, given: Any, name: str) -> list[Any]:
    """What np.pad is given for both ends of each axis."""
    try:
        if isinstance(given, dict):
            found = np.zeros((array.ndim, 2), int)
            for axis, ends in given.items():
                found[axis_of(array, axis)] = ends
            return list(found)
        return list(np.broadcast_to(np.asarray(given), (array.ndim, 2)))
    except ValueError:
        expected = f"a number, or two for each of {array.ndim} axes"
        raise InvalidValueError(f"{where()}: np.pad", expected, shown(given), argument=name) from None


def _triangle(name: str) -> Callable[..., Value]:
    def take(m: Any, k: int = 0) -> Value:
        if not m.ndim:
            raise InvalidValueError(f"{where()}: np.{name}", "an array with axes", "one without")
        below = np.tri(*(size.__index__() for size in m.shape[-2:]), k=k - (name == "triu"), dtype=bool)
        return op.where_of(below if name == "tril" else ~below, m, np.zeros((), m.dtype))

    return take


FUNCTIONS[np.tril], FUNCTIONS[np.triu] = _triangle("tril"), _triangle("triu")


@implements(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Value:
    """Each element less the one before along an axis, so many times."""
    nothing_else("diff", {each: None if given is np._NoValue else given
                          for each, given in (("prepend", prepend), ("append", append))})  # fmt: skip
    along = axis_of(a, axis)
    for _ in range(whole_number(n, "n", low=0)):
        later, earlier = ([ends if number == along else (None, None, 1) for number in range(a.ndim)]
                          for ends in ((1, None, 1), (0, -1, 1)))  # fmt: skip
        a = e("not_equal" if a.dtype.kind == "b" else "subtract", op.cut(a, later), op.cut(a, earlier))
    return a
