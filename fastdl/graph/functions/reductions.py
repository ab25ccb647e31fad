"""Sums, means and other reductions of traced values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastdl.graph import operations as op
from fastdl.graph.functions.elements import astype
from fastdl.graph.functions.entering import axes_of, axis_of, implements, nothing_else
from fastdl.graph.operations import elementwise as e
from fastdl.graph.size import total
from fastdl.graph.value import FUNCTIONS, REDUCTIONS, Value, refused


def _reduction(name: str) -> Callable[..., Value]:
    def reduce(
        a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, **rest: Any
    ) -> Value:
        _nothing_else(name, out, rest)
        value = a if dtype is None else astype(a, dtype)
        value = op.reduce(name, value, axes_of(a, axis), keepdims is True)
        return value if dtype is None else astype(value, dtype)

    return reduce


def _nothing_else(name: str, out: Any, rest: dict[str, Any]) -> None:
    nothing_else(name, {"out": out, **{option: given for option, given in rest.items() if given is not np._NoValue}})


for _function, _ufunc, _name in (
    (np.sum, np.add, "sum"),
    (np.prod, np.multiply, "prod"),
    (np.max, np.maximum, "max"),
    (np.min, np.minimum, "min"),
    (np.any, np.logical_or, "any"),
    (np.all, np.logical_and, "all"),
):
    FUNCTIONS[_function] = _reduce = _reduction(_name)
    REDUCTIONS[_ufunc] = lambda a, axis=0, dtype=None, out=None, keepdims=False, f=_reduce, **rest: f(
        a, axis, dtype, out, keepdims, **rest
    )
FUNCTIONS[np.amax], FUNCTIONS[np.amin] = FUNCTIONS[np.max], FUNCTIONS[np.min]


@implements(np.mean)
def mean(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, **rest: Any) -> Value:
    """The sum by the number of elements."""
    _nothing_else("mean", out, rest)
    total = FUNCTIONS[np.sum](op.cast(a, a.graph.dtype), axis, None, None, keepdims)
    found = e("divide", total, count(a, axes_of(a, axis)))
    return found if dtype is None else astype(found, dtype)


def count(value: Value, axes: Sequence[int], less: Any = 0) -> Any:
    """The number of elements along axes, less some, but 0 at least: a value of the graph where it is symbolic."""
    found = total(tuple(value.shape[axis] for axis in axes))
    if isinstance(less, (int, float)) and not less:
        return found
    return e("maximum", e("subtract", op.as_value(value.graph, found), less), 0)


@implements(np.var)
def var(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, keepdims: Any = False, **rest: Any
) -> Value:
    """The mean of squared deviations."""
    return _variance("var", a, axis, dtype, out, ddof, keepdims, rest)


def _variance(name: str, a: Any, axis: Any, dtype: Any, out: Any, ddof: Any, keepdims: Any, rest: Any) -> Value:
    correction = rest.pop("correction", np._NoValue)
    less = ddof if correction is np._NoValue else correction
    _nothing_else(name, out, rest)
    deviations = e("subtract", op.cast(a, a.graph.dtype), mean(a, axis, keepdims=True))
    squares = FUNCTIONS[np.sum](e("square", deviations), axis, None, None, keepdims)
    found = e("divide", squares, count(a, axes_of(a, axis), less))
    return found if dtype is None else astype(found, dtype)


@implements(np.std)
def std(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, keepdims: Any = False, **rest: Any
) -> Value:
    """The root of the variance; the gradient at 0 is 0, as in torch."""
    variance = _variance("std", a, axis, dtype, out, ddof, keepdims, rest)
    return _root(variance, 2)


def _root(value: Value, degree: float) -> Value:
    """The root, whose gradient at 0 is 0."""
    still = e("equal", value, 0.0)
    above = op.where_of(still, 1.0, value)
    return op.where_of(still, 0.0, e("sqrt", above) if degree == 2 else e("power", above, 1 / degree))


@implements(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: Any = False) -> Value:
    """Norms of vectors, or Frobenius' of matrices; the gradient at 0 is 0, as in torch."""
    axes = axes_of(x, axis)
    of_vectors = len(axes) == 1 or (axis is None and ord is None)
    if not of_vectors and not (len(axes) == 2 and ord in (None, "fro")):
        raise refused("np.linalg.norm", f"with ord={ord!r} over {len(axes)} axes", "write axis=, or ord=None")
    if of_vectors and isinstance(ord, str):
        raise refused("np.linalg.norm", f"with ord={ord!r} of vectors", "write a number")
    value, kept = op.cast(x, x.graph.dtype), keepdims is True
    if ord in (None, "fro", 2):
        return _root(op.reduce("sum", e("square", value), axes, kept), 2)
    size = e("absolute", value)
    if ord in (np.inf, -np.inf):
        return op.reduce("max" if ord > 0 else "min", size, axes, kept)
    if ord == 0:
        return op.cast(op.reduce("sum", e("not_equal", value, 0.0), axes, kept), x.graph.dtype)
    if ord == 1:
        return op.reduce("sum", size, axes, kept)
    return _root(op.reduce("sum", e("power", size, ord), axes, kept), ord)


def _position(name: str) -> Callable[..., Value]:
    def find(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = False) -> Value:
        nothing_else(name, {"out": out})
        if axis is None:
            return find(op.reshape(a, (-1,)), 0)
        return op.reduce(name, a, (axis_of(a, axis),), keepdims is True)

    return find


FUNCTIONS[np.argmax], FUNCTIONS[np.argmin] = _position("argmax"), _position("argmin")


@implements(np.cumsum)
def cumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Value:
    """Sums up to each element."""
    nothing_else("cumsum", {"out": out, "dtype": dtype})
    return op.cumsum(op.reshape(a, (-1,)), 0) if axis is None else op.cumsum(a, axis_of(a, axis))
