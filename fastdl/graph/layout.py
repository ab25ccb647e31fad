"""Layouts: how the values of a graph lie in memory, so that what only rearranges elements computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from fastdl.graph.size import Dimension, ObservedSizeError, Shape, Size, factors, is_zero, same, sized


class Layout(NamedTuple):
    """Where a value's elements are: its memory, the first one, and elements from one to the next along each axis.

    Where they are known to lie one behind the other from the memory's beginning on, `whole` is True.
    """

    home: Any
    offset: Dimension
    constant: int
    strides: tuple[Dimension, ...]
    whole: bool = False


def dense(home: Any, shape: Shape) -> Layout:
    """All elements one behind the other."""
    return Layout(home, 0, 0, dense_strides(shape), True)


def arranged(layout: Layout, strides: Sequence[Dimension]) -> Layout:
    """The same first element and memory, and other strides."""
    return Layout(layout.home, layout.offset, layout.constant, tuple(strides))


def dense_strides(shape: Shape) -> tuple[Dimension, ...]:
    """The strides of elements that lie one behind the other."""
    strides: list[Dimension] = []
    step: Dimension = 1
    for size in reversed(shape):
        strides.append(step)
        step = times(step, size)
    return tuple(reversed(strides))


def times(one: Dimension, other: Dimension) -> Dimension:
    """The product of two sizes."""
    (count, symbols), (more, others) = factors(one), factors(other)
    return sized(count * more, (*symbols, *others))


def is_dense(layout: Layout, shape: Shape) -> bool:
    """Whether all elements lie one behind the other."""
    wanted = dense_strides(shape)
    return all(same(size, 1) or same(own, each) for size, own, each in zip(shape, layout.strides, wanted, strict=True))


def broadcast(layout: Layout, shape: Shape, to: Shape) -> Layout:
    """The layout of a value that is repeated along axes of size 1, and along new ones before."""
    new = len(to) - len(shape)
    strides = [
        0 if n < new or (same(shape[n - new], 1) and not same(size, 1)) else layout.strides[n - new]
        for n, size in enumerate(to)
    ]
    return arranged(layout, strides)


def transposed(layout: Layout, axes: Sequence[int]) -> Layout:
    """The layout of a value whose axes come in this order."""
    return arranged(layout, [layout.strides[axis] for axis in axes])


def reshaped(layout: Layout, shape: Shape, to: Shape) -> Layout | None:
    """The layout of the same elements in another shape; None where they have to be copied."""
    if is_dense(layout, shape):
        return layout._replace(strides=dense_strides(to))  # whole or not, as before
    # Axes of size 1 come and go.
    own = [(size, stride) for size, stride in zip(shape, layout.strides, strict=True) if not same(size, 1)]
    strides: list[Dimension] = []
    place = 0
    for size in to:
        if same(size, 1):
            strides.append(0)
        elif place < len(own) and same(size, own[place][0]):
            strides.append(own[place][1])
            place += 1
        else:
            return None
    return arranged(layout, strides) if place == len(own) else None


def cut(layout: Layout, shape: Shape, slices: Sequence[tuple[Any, Any, int]]) -> Layout:
    """The layout of the elements that slices name along each axis."""
    strides: list[Dimension] = []
    for size, stride, (start, stop, step) in zip(shape, layout.strides, slices, strict=True):
        if start is None and step < 0:
            layout = _moved(_moved(layout, times(size, stride)), times(-1, stride))
        elif start is not None:
            first = start
            if not isinstance(size, Size) and not isinstance(start, Size):
                stop = None if isinstance(stop, Size) else stop
                first = slice(start, stop, step).indices(size)[0]
            layout = _moved(layout, times(first, stride))
        strides.append(times(step, stride))
    return arranged(layout, strides)


def _moved(layout: Layout, by: Dimension) -> Layout:
    if not isinstance(by, Size):
        return layout._replace(constant=layout.constant + by)
    if is_zero(layout.offset):
        return layout._replace(offset=by)
    count, symbols = factors(layout.offset)
    if symbols != by.symbols:
        raise ObservedSizeError(by.symbols)
    return layout._replace(offset=sized(count + by.count, symbols))


def merged(
    sizes: Sequence[Dimension], strides: Sequence[Sequence[Dimension]]
) -> tuple[list[Dimension], list[list[Dimension]]]:
    """Sizes and each operand's strides with fewer axes: those of size 1 left out, neighbours joined where all allow it."""
    kept = [n for n, size in enumerate(sizes) if not same(size, 1)]
    found, own = [sizes[n] for n in kept], [[each[n] for n in kept] for each in strides]
    n = len(found) - 2
    while n >= 0:
        if all(same(each[n], times(each[n + 1], found[n + 1])) for each in own):
            found[n : n + 2] = [times(found[n], found[n + 1])]
            for each in own:
                del each[n]
        n -= 1
    return found, own
