"""Functions of single elements of traced values: all ufuncs, and what NumPy has beside them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph import operations as op
from fastdl.graph.functions.entering import implements, nothing_else, whole_number
from fastdl.graph.operations import elementwise as e
from fastdl.graph.ufuncs import ALL, SPECIAL
from fastdl.graph.value import FUNCTIONS, UFUNCS, Value, refused, where

for _name in ALL:
    if _name not in SPECIAL:
        UFUNCS[getattr(np, _name)] = lambda *inputs, name=_name: e(name, *inputs)
UFUNCS[np.divmod] = lambda a, b: (e("floor_divide", a, b), e("remainder", a, b))


def astype(value: Value, dtype: Any, copy: bool = True) -> Value:
    """The elements in another dtype: floating ones are the graph's, whole ones int64, with the last bits that the dtype has.

    Without `copy` a value of this dtype is given itself, as NumPy gives the array.
    """
    wanted = np.dtype(dtype)
    if wanted.kind not in "fiub" or wanted == np.uint64:
        expected = "a dtype of floating numbers, of whole ones that int64 holds, or of truth values"
        raise InvalidTypeError(f"{where()}: astype", expected, str(wanted))
    if not copy and wanted == value.dtype:
        return value
    found = op.cast(value, wanted)
    found = found.copy() if found is value else found
    if wanted.kind not in "iu" or wanted.itemsize == 8 or value.dtype.kind == "b":
        return found
    mask = 2 ** (8 * wanted.itemsize) - 1
    if wanted.kind == "u":
        return e("bitwise_and", found, mask)
    half = mask // 2 + 1
    return e("subtract", e("bitwise_and", e("add", found, half), mask), half)


@implements(np.where)
def where_(condition: Any, x: Any = None, y: Any = None) -> Value:
    """x where the condition holds, else y."""
    if x is None or y is None:
        raise refused("np.where(condition)", "whose result has no fixed size", "write np.where(condition, x, y)")
    return op.where_of(condition, x, y)


@implements(np.clip)
def clip(a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, **rest: Any) -> Value:
    """Held between two bounds; the gradient is 0 beyond them, and whole at them, as in torch."""
    low, high = rest.pop("min", a_min), rest.pop("max", a_max)
    nothing_else("clip", {"out": out, **rest})
    graph = op.graph_of(a, low, high)
    x = op.as_value(graph, a)
    y, inside = x, None
    for bound, beyond, bounded in ((low, "less", "maximum"), (high, "greater", "minimum")):
        if bound is not None:
            outside = e(beyond, x, bound)
            inside = (
                e("logical_not", outside) if inside is None else e("logical_and", inside, e("logical_not", outside))
            )
            y = e(bounded, op.stop_gradient(op.as_value(graph, y)) if not isinstance(bound, Value) else y, bound)
    if inside is None:
        return x.copy()
    if isinstance(low, Value) or isinstance(high, Value):
        return y
    return op.where_of(inside, x, y)


@implements(np.nan_to_num)
def nan_to_num(x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Value:
    """Numbers for NaN and infinities."""
    if not copy:
        raise refused("np.nan_to_num", "with copy=False", "write y = np.nan_to_num(x)")
    if x.dtype.kind != "f":
        return x.copy()
    largest = float(np.finfo(x.graph.dtype).max)
    high, low = largest if posinf is None else posinf, -largest if neginf is None else neginf
    y = op.where_of(e("isnan", x), nan, x)
    infinite = e("isinf", x)
    return op.where_of(e("logical_and", infinite, e("greater", x, 0.0)), high,
                       op.where_of(e("logical_and", infinite, e("less", x, 0.0)), low, y))  # fmt: skip


@implements(np.round, np.around)
def round_(a: Any, decimals: int = 0, out: Any = None) -> Value:
    """The nearest number of so many decimals, of two the even one; whole numbers stay as they are."""
    nothing_else("round", {"out": out})
    places = whole_number(decimals, "decimals")
    if a.dtype.kind == "i":
        if places < 0:
            raise InvalidValueError(f"{where()}: np.round", "decimals of 0 or more for whole numbers", places)
        return a.copy()
    if places < 0:
        return e("multiply", e("rint", e("divide", a, 10.0**-places)), 10.0**-places)
    return e("divide", e("rint", e("multiply", a, 10.0**places)), 10.0**places) if places else e("rint", a)


FUNCTIONS[np.zeros_like] = lambda a, dtype=None, order="K", subok=True, shape=None, **_: full_like(
    a, 0, dtype, shape=shape
)
FUNCTIONS[np.empty_like] = FUNCTIONS[np.zeros_like]
FUNCTIONS[np.ones_like] = lambda a, dtype=None, order="K", subok=True, shape=None, **_: full_like(
    a, 1, dtype, shape=shape
)


@implements(np.full_like)
def full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: Any = "K", subok: Any = True, shape: Any = None, **_: Any
) -> Value:
    """One number in the shape of another value, or in a shape that may have symbolic sizes."""
    value = astype(op.as_value(a.graph, fill_value), a.dtype if dtype is None else dtype)
    sizes = a.shape if shape is None else tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    return op.broadcast_to(value, sizes)
