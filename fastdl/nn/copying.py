"""Copying: what copies and pickles of a module hold, and how they are made while other threads train it."""

from __future__ import annotations

from copy import copy as shallow_copy
from copy import deepcopy
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fastdl._kernels.access import Access
from fastdl.graph.registered import describe_registered
from fastdl.nn.buffer import Buffer
from fastdl.nn.parameter import writable
from fastdl.nn.walk import MAPPINGS, PLAIN, TRANSIENT, Parts, held, slots

if TYPE_CHECKING:
    from fastdl.nn.module import Module

_Self = TypeVar("_Self", bound="Copying")


class Copying(Parts):
    """Copies of modules; all attributes travel but those that only calls in this process need."""

    def _attributes(self) -> dict[str, Any]:
        """All attributes that travel."""
        # Another thread may let the module run, which adds attributes, and change the layers.
        own = {name: value for name, value in dict(vars(self)).items() if name not in TRANSIENT}
        if "_layers" in own:
            own["_layers"] = dict(own["_layers"])
        return own | {name: getattr(self, name) for name in slots(type(self)) if hasattr(self, name)}

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle holds; with copies of the buffers, which a fit in another thread may write."""
        own = self._attributes()
        with Access(reads=[self]):
            return own | {name: own[name].copy() for name in self._buffer_names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            if name in slots(type(self)):
                setattr(self, name, value)
            else:
                vars(self)[name] = value
        for name in self._buffer_names:
            describe_registered(type(self), name)
            vars(self)[name] = writable(vars(self)[name])

    def __copy__(self: _Self) -> _Self:
        """Another module with the same parameters, buffers and modules inside; a container has a list of its own."""
        twin = object.__new__(type(self))
        twin.__setstate__(self._attributes())
        return twin

    def __deepcopy__(self: _Self, memo: dict[int, Any]) -> _Self:
        """A module that shares nothing with this one, of one whole set of weights also while another thread trains it."""
        model: Module = self  # pyright: ignore[reportAssignmentType]
        parameters = list(model.parameters())
        twin = memo[id(self)] = object.__new__(type(self))
        reads = [*parameters, *model.modules(), *model._buffer_objects()]
        with Access(reads=reads, reads_gradients=parameters):
            twin.__setstate__(deepcopy(self.__getstate__(), memo))
        return twin


def copy_of(model: Module, training: bool | None, buffers: bool = False) -> Module:
    """A copy of a model with the same parameters.

    Args:
        model: any Module.
        training: the mode of all parts; None for the model's own.
        buffers: whether the copy has buffers of its own.
    """
    return copies_of(model, training, buffers)[0]


def copies_of(
    model: Module, training: bool | None, buffers: bool = False
) -> tuple[Module, list[tuple[Module, Module]]]:
    """What `copy_of` returns, and each module that has been copied with its copy."""
    copies: dict[int, Any] = {}
    pairs: list[tuple[Module, Module]] = []

    def copied(module: Module) -> Module:
        if id(module) in copies:
            return copies[id(module)]
        copies[id(module)] = copy = object.__new__(type(module))
        pairs.append((module, copy))
        for name in slots(type(module)):
            if hasattr(module, name):
                setattr(copy, name, part(getattr(module, name)))
        attributes = dict(vars(module))
        vars(copy).update({name: part(value) for name, value in attributes.items() if name not in TRANSIENT})
        if buffers:
            vars(copy).update({name: attributes[name].copy() for name in module._buffer_names})
        elif module._buffer_names:
            vars(copy)["_origin"] = attributes.get("_origin", (module,))
        if training is not None:
            vars(copy)["training"] = training
        return copy

    def part(value: Any) -> Any:
        """What the copy of a module has in the place of this: modules are held in plain containers too."""
        if isinstance(value, Parts):
            return copied(value)  # pyright: ignore[reportArgumentType]
        if buffers and isinstance(value, Buffer):
            return copies.setdefault(id(value), value._copy())
        if not isinstance(value, PLAIN) or not any(isinstance(each, Parts) for _, each in held(value)):
            return value
        if id(value) in copies:
            return copies[id(value)]
        if isinstance(value, (dict, list, np.ndarray)):
            before: Any = value
            copies[id(value)] = twin = {} if type(value) is dict else shallow_copy(before)
            if isinstance(value, dict):
                twin.clear()
                twin.update({part(key): part(each) for key, each in dict(value).items()})
            else:
                for place in np.ndindex(value.shape) if isinstance(value, np.ndarray) else range(len(value)):
                    twin[place] = part(before[place])
            return twin
        if isinstance(value, MAPPINGS):
            return type(value)({part(key): part(each) for key, each in value.items()})
        parts: Any = [part(each) for each in value]
        make: Any = getattr(value, "_make", type(value))  # a named tuple's
        return make(parts)

    return copied(model), pairs
