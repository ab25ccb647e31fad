"""Arrays that modules have registered as buffers, as values of a graph."""

from __future__ import annotations

from inspect import getattr_static
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastdl.graph.value import mode, traced_into

_ABSENT: Any = object()


class Registered:
    """An array that a module has registered, as a graph's leaf: each run reads what it holds then.

    The module's own layers may move it amid a run, as a batch norm does its running statistics, so what a run reads is a copy.
    """

    # What a graph asks of its leaves, as of parameters.
    _requires_grad: ClassVar[bool] = False
    _grad: ClassVar[None] = None
    version: ClassVar[int] = 0
    moves: ClassVar[bool] = True

    def __init__(self, module: Any, name: str) -> None:
        self.module, self._name = module, name

    @property
    def _data(self) -> NDArray[Any]:
        return vars(self.module)[self._name]


def is_moved(leaf: Any) -> bool:
    """Whether a run may find another value in a graph's leaf after it has read it."""
    return getattr(leaf, "moves", False)


class RegisteredAttribute:
    """The attribute of arrays that modules of a class have registered: in traced code a value, which each run reads anew.

    Args:
        name: the attribute's.
        default: what modules have that have registered none, as the class says.
    """

    def __init__(self, name: str, default: Any = _ABSENT) -> None:
        self._name, self._default = name, default

    def __get__(self, module: Any, kind: Any = None) -> Any:
        own = {} if module is None else vars(module)
        if self._name not in own:
            if self._default is _ABSENT:
                name = getattr(kind, "__name__", type(module).__name__)
                raise AttributeError(f"{name!r} object has no attribute {self._name!r}")
            bound = getattr(type(self._default), "__get__", None)
            return self._default if bound is None else bound(self._default, module, kind)
        array = own[self._name]
        if mode.traces and type(array) is np.ndarray and (graph := traced_into(module)) is not None:
            value = graph.registered(Registered(module, self._name))
            return array if value is None else value
        return array

    def __set__(self, module: Any, array: Any) -> None:
        vars(module)[self._name] = array

    def __delete__(self, module: Any) -> None:
        if vars(module).pop(self._name, _ABSENT) is _ABSENT:
            raise AttributeError(self._name)


def describe_registered(kind: type, name: str) -> None:
    """Let a class have such an attribute, unless it has one already, or a property, which says itself what it takes."""
    default = getattr_static(kind, name, _ABSENT)
    if not hasattr(type(default), "__set__"):
        setattr(kind, name, RegisteredAttribute(name, default))
