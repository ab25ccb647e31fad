"""Functions of single elements of traced values: all ufuncs, and what NumPy has beside them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdl.graph import operations as op
from fastdl.graph.functions.entering import implements, nothing_else
from fastdl.graph.operations import elementwise as e
from fastdl.graph.value import FUNCTIONS, UFUNCS, Value, refused

for _name in (*op.FLOATING, *op.NUMERIC, *op.COMPARING, *op.LOGICAL, *op.TESTING):
    UFUNCS[getattr(np, _name)] = lambda *inputs, name=_name: e(name, *inputs)


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
        return x
    if isinstance(low, Value) or isinstance(high, Value):
        return y
    return op.where_of(inside, x, y)


@implements(np.nan_to_num)
def nan_to_num(x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Value:
    """Numbers for NaN and infinities."""
    largest = float(np.finfo(x.graph.dtype).max)
    high, low = largest if posinf is None else posinf, -largest if neginf is None else neginf
    y = op.where_of(e("isnan", x), nan, x)
    infinite = e("isinf", x)
    return op.where_of(e("logical_and", infinite, e("greater", x, 0.0)), high,
                       op.where_of(e("logical_and", infinite, e("less", x, 0.0)), low, y))  # fmt: skip


FUNCTIONS[np.round] = lambda a, decimals=0, out=None: (
    e("rint", a) if decimals == 0 else e("divide", e("rint", e("multiply", a, 10.0**decimals)), 10.0**decimals)
)
FUNCTIONS[np.zeros_like] = lambda a, dtype=None, order="K", subok=True, shape=None, **_: full_like(
    a, 0, dtype, shape=shape
)
FUNCTIONS[np.ones_like] = lambda a, dtype=None, order="K", subok=True, shape=None, **_: full_like(
    a, 1, dtype, shape=shape
)


@implements(np.full_like)
def full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: Any = "K", subok: Any = True, shape: Any = None, **_: Any
) -> Value:
    """One number in the shape of another value, or in a shape that may have symbolic sizes."""
    kind = a.dtype if dtype is None else np.dtype(dtype)
    value = op.cast(op.as_value(a.graph, fill_value), kind)
    sizes = a.shape if shape is None else tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    return op.broadcast_to(value, sizes)
