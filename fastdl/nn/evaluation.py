"""The model that is evaluated: a copy that shares parameters and buffers, so that nothing of the model itself is changed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from fastdl._kernels.access import Access
from fastdl.nn.flat import is_own, watch
from fastdl.nn.module import TRANSIENT, Module


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
    copies: dict[int, Module] = {}

    def copied(module: Module) -> Module:
        if id(module) in copies:
            return copies[id(module)]
        copies[id(module)] = copy = object.__new__(type(module))
        names = [name for kind in type(module).__mro__ for name in vars(kind).get("__slots__", ())]
        for name in names:
            if name not in ("__dict__", "__weakref__") and hasattr(module, name):
                setattr(copy, name, part(getattr(module, name)))
        attributes = vars(module).copy()
        vars(copy).update({name: part(value) for name, value in attributes.items() if name not in TRANSIENT})
        if buffers:
            vars(copy).update({name: attributes[name].copy() for name in module._buffer_names})
        if training is not None:
            vars(copy)["training"] = training
        return copy

    def part(value: Any) -> Any:
        """What the copy of a module has in the place of this: containers hold modules in dictionaries, tuples and lists."""
        if isinstance(value, Module):
            return copied(value)
        if type(value) is dict:
            parts = {name: part(each) for name, each in value.copy().items()}
            return parts if any(parts[name] is not value.get(name) for name in parts) else value
        if type(value) is not list and not isinstance(value, tuple):
            return value
        each_part = [part(each) for each in value]
        if all(one is other for one, other in zip(value, each_part, strict=False)):
            return value
        named: Any = value  # a named tuple
        return named._make(each_part) if hasattr(value, "_make") else type(value)(each_part)

    return copied(model)
