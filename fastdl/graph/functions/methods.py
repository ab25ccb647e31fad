"""The operators and methods of an array on traced values."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastdl.graph.functions.reductions  # noqa: F401 - enters its functions
from fastdl.graph import operations as op
from fastdl.graph.functions.arrangement import reshape, transpose
from fastdl.graph.functions.elements import clip
from fastdl.graph.functions.indexing import getitem
from fastdl.graph.functions.products import matmul
from fastdl.graph.operations import elementwise as e
from fastdl.graph.value import FUNCTIONS, OF_FUNCTIONS, Value

for _name, _operation in {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide", "mod": "remainder",
    "pow": "power",
}.items():  # fmt: skip
    setattr(Value, f"__{_name}__", lambda self, other, o=_operation: e(o, self, other))
    setattr(Value, f"__r{_name}__", lambda self, other, o=_operation: e(o, other, self))
for _name, _operation in {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
    "and": "logical_and", "or": "logical_or", "xor": "logical_xor",
}.items():  # fmt: skip
    setattr(Value, f"__{_name}__", lambda self, other, o=_operation: e(o, self, other))
for _name in ("and", "or", "xor"):
    setattr(Value, f"__r{_name}__", getattr(Value, f"__{_name}__"))
_METHODS: dict[str, Any] = {
    "__neg__": lambda self: e("negative", self),
    "__pos__": lambda self: self,
    "__abs__": lambda self: e("absolute", self),
    "__invert__": lambda self: e("logical_not", self),
    "__matmul__": lambda self, other: matmul(self, other),
    "__rmatmul__": lambda self, other: matmul(other, self),
    "__getitem__": getitem,
    "astype": lambda self, dtype, *_, **__: op.cast(self, dtype),
    "reshape": lambda self, *shape: reshape(self, shape[0] if len(shape) == 1 else shape),
    "transpose": lambda self, *axes: transpose(self, axes[0] if len(axes) == 1 else axes or None),
    "flatten": lambda self: op.reshape(self, (-1,)),
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
