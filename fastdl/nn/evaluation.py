"""The model that is evaluated: a copy that shares parameters and buffers, so that nothing of the model itself is changed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from copy import copy as shallow_copy
from typing import Any

import numpy as np

from fastdl._kernels.access import Access
from fastdl.nn.flat import is_own, watch
from fastdl.nn.module import Module
from fastdl.nn.walk import MAPPINGS, PLAIN, TRANSIENT, held, slots


def evaluated(model: Module) -> tuple[Module, AbstractContextManager[None]]:
    """A copy of a model in evaluation mode that shares its parameters and buffers, and a turn to read them.

    So a model may be evaluated while it is trained, in a callback, a signal handler or another thread: its modes stay, and what
    modules written in Python store in a forward goes to the copy. The copy of a model of fastdl's own layers is made once, and
    again when the model has changed.
    """
    kept = vars(model).get("_evaluation")
    if kept is not None and kept[0].stands():
        return kept[1:]
    modules = list(model.modules())
    copy = copy_of(model, False)
    if not all(map(is_own, modules)):
        return copy, nullcontext()
    vars(model)["_evaluation"] = None  # what is watched has this entry
    access = Access(reads=[*model.parameters(), *modules])
    vars(model)["_evaluation"] = watch(model, passing={"training"}), copy, access
    return copy, access


def copy_of(model: Module, training: bool | None, buffers: bool = False) -> Module:
    """A copy of a model with the same parameters.

    Args:
        model: any Module.
        training: the mode of all parts; None for the model's own.
        buffers: whether the copy has buffers of its own.
    """
    copies: dict[int, Any] = {}

    def copied(module: Module) -> Module:
        if id(module) in copies:
            return copies[id(module)]
        copies[id(module)] = copy = object.__new__(type(module))
        for name in slots(type(module)):
            if hasattr(module, name):
                setattr(copy, name, part(getattr(module, name)))
        attributes = vars(module).copy()
        vars(copy).update({name: part(value) for name, value in attributes.items() if name not in TRANSIENT})
        if buffers:
            vars(copy).update({name: attributes[name].copy() for name in module._buffer_names})
        if training is not None:
            vars(copy)["training"] = training
        return copy

    def part(value: Any) -> Any:
        """What the copy of a module has in the place of this: modules are held in plain containers too."""
        if isinstance(value, Module):
            return copied(value)
        if not isinstance(value, PLAIN) or not any(isinstance(each, Module) for _, each in held(value)):
            return value
        if id(value) in copies:
            return copies[id(value)]
        if isinstance(value, (dict, list, np.ndarray)):
            before: Any = value
            copies[id(value)] = twin = shallow_copy(before)
            if isinstance(value, dict):
                twin.clear()
                twin.update({part(key): part(each) for key, each in value.copy().items()})
            else:
                for place in np.ndindex(value.shape) if isinstance(value, np.ndarray) else range(len(value)):
                    twin[place] = part(before[place])
            return twin
        if isinstance(value, MAPPINGS):
            return type(value)({part(key): part(each) for key, each in value.items()})
        parts: Any = [part(each) for each in value]
        make: Any = getattr(value, "_make", type(value))  # a named tuple's
        return make(parts)

    return copied(model)
