"""Copying: what copies and pickles of a module hold, and how they are made while other threads train it."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, TypeVar

from fastdl._kernels.access import Access
from fastdl.nn.parameter import writable
from fastdl.nn.walk import TRANSIENT, Parts, slots

if TYPE_CHECKING:
    from fastdl.nn.module import Module

_Self = TypeVar("_Self", bound="Copying")


class Copying(Parts):
    """Copies of modules; all attributes travel but those that only calls in this process need."""

    def _attributes(self) -> dict[str, Any]:
        """All attributes that travel."""
        # Another thread may let the module run, which adds attributes, and change the layers.
        own = {name: value for name, value in vars(self).copy().items() if name not in TRANSIENT}
        if "_layers" in own:
            own["_layers"] = own["_layers"].copy()
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
        with Access(reads=[*parameters, *model.modules()], reads_gradients=parameters):
            twin.__setstate__(deepcopy(self.__getstate__(), memo))
        return twin
