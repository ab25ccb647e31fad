"""The model that is evaluated: a copy that shares parameters and buffers, so that nothing of the model itself is changed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from fastdl._kernels.access import Access
from fastdl.nn.copying import copy_of
from fastdl.nn.module import Module
from fastdl.nn.watching import is_own, watch


def evaluated(model: Module) -> tuple[Module, AbstractContextManager[None]]:
    """A copy of a model in evaluation mode that shares its parameters and buffers, and a turn to read them.

    So a model may be evaluated while it is trained, in a callback, a signal handler or another thread: its modes stay, and what
    modules written in Python store in a forward goes to the copy. The copy of a model of fastdl's own layers is made once, and
    again when the model has changed.
    """
    kept = vars(model).get("_evaluation")
    if kept is not None and kept[0].stands():
        return kept[1:]
    unchanged = watch(model, passing={"training"})  # first: another thread may change the model while it is copied
    modules = list(model.modules())
    copy = copy_of(model, False)
    if not all(is_own(module) or (module._forward_only and module.traced) for module in modules):
        return copy, nullcontext()
    access = Access(reads=[*model.parameters(), *modules])
    vars(model)["_evaluation"] = unchanged, copy, access
    return copy, access
