"""The model that is evaluated: a copy that shares parameters and buffers, so that nothing of the model itself is changed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from fastdl._kernels.access import Access
from fastdl._kernels.watch import Watch
from fastdl.nn.copying import TRANSIENT, slots_of
from fastdl.nn.flat import PASSING
from fastdl.nn.module import Layer, Module
from fastdl.nn.parameter import Parameter


def evaluated(model: Module) -> tuple[Module, AbstractContextManager[None]]:
    """A copy of a model in evaluation mode that shares its parameters and buffers, and a turn to read them.

    A model may so be evaluated while it is trained, in a callback, a signal handler or another thread: no mode of it changes, and
    what its own modules in Python store in a forward goes to the copy. That of a model of fastdl's own layers is made once, and anew
    when the model has changed.
    """
    kept = vars(model).get("_evaluation")
    if kept is not None and kept[0].stands():
        return kept[1:]
    modules = list(model.modules())
    copy = copy_of(model, False)
    if not all(map(_is_own, modules)):
        return copy, nullcontext()
    vars(model)["_evaluation"] = None  # what is watched has this entry
    dictionaries = [vars(each) for each in modules] + [
        vars(each)["_layers"] for each in modules if "_layers" in vars(each)
    ]
    watch = Watch(dictionaries, PASSING | {"training"}, [], Parameter)
    access = Access(reads=[*model.parameters(), *modules])
    vars(model)["_evaluation"] = watch, copy, access
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
        for name in slots_of(module):
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
        if type(value) not in (dict, list) and not isinstance(value, tuple):
            return value
        before = list(value.values() if type(value) is dict else value)
        parts = [part(each) for each in before]
        if all(one is other for one, other in zip(before, parts, strict=True)):
            return value
        if type(value) is dict:
            return dict(zip(value, parts, strict=True))
        return value._make(parts) if hasattr(value, "_make") else type(value)(parts)

    return copied(model)


def _is_own(module: Module) -> bool:
    """Whether a module is one of fastdl's layers as they are."""
    return isinstance(module, Layer) and type(module).__module__.startswith("fastdl.") and "forward" not in vars(module)
