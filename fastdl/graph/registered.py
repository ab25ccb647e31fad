"""Arrays that modules have registered as buffers, as values of a graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastdl.graph.value import mode, traced_into


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


class RegisteredAttribute:
    """The attribute of arrays that modules of a class have registered: in traced code a value, which each run reads anew."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, module: Any, _: Any = None) -> Any:
        if module is None:
            return self
        try:
            array = vars(module)[self._name]
        except KeyError:
            raise AttributeError(f"{type(module).__name__!r} object has no attribute {self._name!r}") from None
        if mode.traces and type(array) is np.ndarray and (graph := traced_into(module)) is not None:
            value = graph.registered(array)
            return array if value is None else value
        return array

    def __set__(self, module: Any, array: Any) -> None:
        vars(module)[self._name] = array

    def __delete__(self, module: Any) -> None:
        self.__get__(module)
        del vars(module)[self._name]


def describe_registered(kind: type, name: str) -> None:
    """Let the attribute of this name be one, in a class that has none of it."""
    if not hasattr(kind, name):
        setattr(kind, name, RegisteredAttribute(name))


def registered_arrays(modules: Iterable[Any]) -> dict[int, Registered]:
    """The arrays that modules have registered, by their ids."""
    return {
        id(array): Registered(module, name)
        for module in modules
        for name in module._buffer_names
        if type(array := vars(module).get(name)) is np.ndarray and array.flags.c_contiguous and array.flags.aligned
    }


def is_moved(leaf: Any) -> bool:
    """Whether a run may find another value in a graph's leaf after it has read it."""
    return getattr(leaf, "moves", False)
