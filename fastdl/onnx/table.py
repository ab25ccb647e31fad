"""The table: how each layer of fastdl is written in ONNX, and what each operator of ONNX becomes in fastdl."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from fastdl.nn.module import Module

if TYPE_CHECKING:
    from fastdl.onnx.reading import Node, Reader
    from fastdl.onnx.writing import Value, Writer

_Function = TypeVar("_Function", bound=Callable[..., Any])
# The modules that fill the table.
SUBJECTS = (
    *("activation", "arithmetic", "container", "conv", "dropout", "elementwise"),
    *("linear", "norm", "pool", "shape", "sizes", "softmax"),
)


class Operator(NamedTuple):
    """An operator of ONNX: the versions (opsets since which it is what it is) that are read here, and its import."""

    versions: tuple[int, ...]
    read: Callable[[Reader, Node], None]


# An export returns the name of the last node's output, a container's the value that it has from its parts.
LAYERS: dict[type[Module], Callable[[Any, Writer, Value], Any]] = {}
OPERATORS: dict[str, Operator] = {}


def exports(*layers: type[Module]) -> Callable[[_Function], _Function]:
    """Enter a function of (layer, writer, x) as the export of these layers."""

    def enter(function: _Function) -> _Function:
        LAYERS.update(dict.fromkeys(layers, function))
        return function

    return enter


def imports(name: str, *versions: int) -> Callable[[_Function], _Function]:
    """Enter a function of (reader, node) as the import of these versions of an operator."""

    def enter(function: _Function) -> _Function:
        OPERATORS[name] = Operator(versions, function)
        return function

    return enter


def fill() -> None:
    """Import the files that enter something."""
    for subject in SUBJECTS:
        importlib.import_module(f"fastdl.onnx.{subject}")
