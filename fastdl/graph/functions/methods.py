"""The operators and methods of an array on traced values."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastdl.graph.functions.reductions  # noqa: F401 - enters its functions
from fastdl.graph.functions.arrangement import ravel, reshape, transpose
from fastdl.graph.functions.elements import astype, clip, round_
from fastdl.graph.functions.in_place import in_place
from fastdl.graph.functions.indexing import getitem
from fastdl.graph.functions.products import matmul
from fastdl.graph.operations import elementwise as e
from fastdl.graph.value import FUNCTIONS, OF_FUNCTIONS, UFUNCS, Value

for _name, _operation in {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide", "mod": "remainder",
    "pow": "power", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor", "lshift": "left_shift",
    "rshift": "right_shift",
}.items():  # fmt: skip
    setattr(Value, f"__{_name}__", lambda self, other, o=_operation: e(o, self, other))
    setattr(Value, f"__r{_name}__", lambda self, other, o=_operation: e(o, other, self))
for _name, _symbol in {
    "add": "+=", "sub": "-=", "mul": "*=", "truediv": "/=", "floordiv": "//=", "mod": "%=", "pow": "**=", "matmul": "@=",
    "and": "&=", "or": "|=", "xor": "^=", "lshift": "<<=", "rshift": ">>=",
}.items():  # fmt: skip
    setattr(
        Value,
        f"__i{_name}__",
        lambda self, other, n=f"__{_name}__", s=_symbol: in_place(self, s, lambda x: getattr(x, n)(other)),
    )
for _name, _operation in {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
}.items():  # fmt: skip
    setattr(Value, f"__{_name}__", lambda self, other, o=_operation: e(o, self, other))
_METHODS: dict[str, Any] = {
    "__neg__": lambda self: e("negative", self),
    "__pos__": lambda self: self.copy(),
    "__abs__": lambda self: e("absolute", self),
    "__invert__": lambda self: e("invert", self),
    "__divmod__": lambda self, other: UFUNCS[np.divmod](self, other),
    "__rdivmod__": lambda self, other: UFUNCS[np.divmod](other, self),
    "__round__": lambda self, decimals=0: round_(self, decimals),
    "__matmul__": lambda self, other: matmul(self, other),
    "__rmatmul__": lambda self, other: matmul(other, self),
    "__getitem__": getitem,
    "astype": lambda self, dtype, order="K", casting="unsafe", subok=True, copy=True: astype(self, dtype, copy),
    "reshape": lambda self, *shape, order="C", copy=None: reshape(
        self, shape[0] if len(shape) == 1 else shape, order, copy=copy
    ),
    "transpose": lambda self, *axes: transpose(self, axes[0] if len(axes) == 1 else axes or None),
    "flatten": lambda self, order="C": ravel(self, order).copy(),
    "clip": lambda self, min=None, max=None: clip(self, min, max),
}


def _method_of(name: str) -> Any:
    """The method that NumPy's function of this name is."""
    function = FUNCTIONS[getattr(np, name)]
    return lambda self, *args, **options: function(self, *args, **options)


for _name in OF_FUNCTIONS:
    _METHODS[_name] = _method_of(_name)
for _name, _method in _METHODS.items():
    setattr(Value, _name, _method)
