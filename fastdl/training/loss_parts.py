"""What a loss is made of beside the model, which a program that is planned with it depends on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastdl.nn.walk import slots


def beside(criterion: Any, read: Iterable[Any], modules: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    """What a loss is made of beside the model: its objects and modules, those that functions read, and all their parameters."""
    parts = [*losses_in(criterion), *read]
    found = {id(each): each for each in parts if hasattr(each, "__dict__")}
    contents = [each._contents() for each in parts if hasattr(each, "_contents") and not isinstance(each, type)]
    found |= {id(module): module for each in contents for module in each.modules}
    for module in modules:
        found.pop(id(module), None)
    return list(found.values()), [leaf for each in contents for leaf in (*each.parameters, *each.buffers)]


def losses_in(criterion: Any) -> list[Any]:
    """A criterion, and the losses that it is a dictionary of."""
    inside = getattr(criterion, "__dict__", {}).get("losses")
    return [criterion, *(inside.values() if isinstance(inside, dict) else ())]


def arrays_of(criterion: Any) -> list[bytes]:
    """Losses' arrays, such as the weights of classes, to be compared: a program reads copies of them."""
    return [
        value.tobytes()
        for each in losses_in(criterion)
        for name, value in _held_by(each)
        if name != "_kept" and isinstance(value, np.ndarray)
    ]


def _held_by(loss: Any) -> list[tuple[str, Any]]:
    """The attributes of a loss with their names; another thread's call may write them meanwhile."""
    inside = [(name, getattr(loss, name, None)) for name in slots(type(loss))]
    return [*dict(getattr(loss, "__dict__", {})).items(), *inside]
