"""Collections: modules in a list or a dictionary, which are parts of the module that holds it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, MutableSequence
from typing import Any, NoReturn, overload

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import shown
from fastdl.nn.module import Module


class Collection(Module):
    """Modules under names, for a module that calls them itself."""

    _layers: dict[str, Module]
    _is_called = False
    __eq__, __hash__ = object.__eq__, object.__hash__

    def forward(self, *inputs: Any) -> NoReturn:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Raise a TypeError: the module that holds the collection calls what is in it."""
        raise TypeError(
            f"{type(self).__name__} has no forward: call the modules in it, or write nn.Sequential for layers one after another"
        )

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules with their names; those in attributes of a subclass follow."""
        yield from self._layers.items()
        yield from super().named_children()

    def __len__(self) -> int:
        return len(self._layers)

    def _checked(self, module: Any) -> Module:
        if isinstance(module, Module):
            return module
        hint = "write the class with parentheses" if isinstance(module, type) and issubclass(module, Module) else None
        raise InvalidTypeError(type(self).__name__, "a Module", type(module).__name__, hint)


class ModuleList(Collection, MutableSequence[Module]):
    """A list of modules that are parts of the module that holds it.

    It has the methods of a list. Names in the state_dict are the places, as in "layers.0.weight".

    Args:
        modules: any number of modules.

    Raises:
        TypeError: for anything else in it.

    Example:
        >>> from fastdl import nn
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         self.layers = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(2))
        ...     def forward(self, x):
        ...         for layer in self.layers:
        ...             x = layer.forward(x)
        ...         return x
        ...     def backward(self, grad_output):
        ...         for layer in reversed(self.layers):
        ...             grad_output = layer.backward(grad_output)
        ...         return grad_output
        >>> list(Net().state_dict())
        ['layers.0.weight', 'layers.1.weight']

    Source: torch.nn.ModuleList.
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self._layers = {}
        if not isinstance(modules, Iterable):
            raise InvalidTypeError("ModuleList", "a list of modules", type(modules).__name__, "write ModuleList([...])")
        self._hold([self._checked(module) for module in modules])

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...
    def __getitem__(self, index: int | slice) -> Module | ModuleList:
        """The module at a place; for a slice a ModuleList of the same modules."""
        if isinstance(index, slice):
            return type(self)([*self._layers.values()][index])
        return self._layers[str(self._place(index))]

    @overload
    def __setitem__(self, index: int, value: Module) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[Module]) -> None: ...
    def __setitem__(self, index: int | slice, value: Any) -> None:
        """Put a module in the place of another, or several in those of a slice."""
        if not isinstance(index, slice):
            self._layers[str(self._place(index))] = self._checked(value)
            return
        modules = [*self._layers.values()]
        modules[index] = [self._checked(module) for module in value]
        self._hold(modules)

    def __delitem__(self, index: int | slice) -> None:
        """Leave a module out, or those of a slice; the places behind it move."""
        modules = [*self._layers.values()]
        del modules[index if isinstance(index, slice) else self._place(index)]
        self._hold(modules)

    def __iter__(self) -> Iterator[Module]:
        return iter([*self._layers.values()])

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        """A ModuleList of the modules of both."""
        return type(self)([*self, *other])

    def append(self, value: Module) -> ModuleList:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Put a module at the end; returns self. Make a new optimizer afterwards."""
        self._layers[str(len(self))] = self._checked(value)
        return self

    def extend(self, values: Iterable[Module]) -> ModuleList:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Put modules at the end; returns self."""
        self._hold([*self, *[self._checked(module) for module in values]])
        return self

    def insert(self, index: int, value: Module) -> None:
        """Put a module before a place."""
        modules = [*self._layers.values()]
        modules.insert(index, self._checked(value))
        self._hold(modules)

    def spec(self) -> str:
        """Spell the list with its modules."""
        return f"{type(self).__name__}([{', '.join(module.spec() for module in self)}])"

    def _hold(self, modules: list[Module]) -> None:
        self._layers.clear()
        self._layers.update((str(place), module) for place, module in enumerate(modules))

    def _place(self, index: Any) -> int:
        """A place as a number from 0."""
        try:
            return range(len(self))[index]
        except IndexError:
            raise IndexError(
                f"{type(self).__name__}: expected the number of one of {len(self)} modules, got {index}"
            ) from None
        except TypeError:
            raise InvalidTypeError(type(self).__name__, "an integer or a slice", type(index).__name__) from None


class ModuleDict(Collection, MutableMapping[str, Module]):
    """A dictionary of modules that are parts of the module that holds it.

    It has the methods of a dictionary. Names in the state_dict are the keys, as in "heads.left.weight".

    Args:
        modules: a mapping, or pairs, of names to modules.

    Raises:
        TypeError: for anything else than a Module, or a key that is no string.
        ValueError: for a key that is empty or has a dot.

    Example:
        >>> import numpy as np
        >>> from fastdl import nn
        >>> heads = nn.ModuleDict({"left": nn.Linear(4, 2), "right": nn.Linear(4, 3)})
        >>> heads["left"](np.zeros((1, 4), np.float32)).shape, list(heads)
        ((1, 2), ['left', 'right'])

    Source: torch.nn.ModuleDict.
    """

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()) -> None:
        self._layers = {}
        if not isinstance(modules, Iterable) or (isinstance(modules, Module) and not isinstance(modules, Mapping)):
            raise InvalidTypeError("ModuleDict", "a mapping of names to modules", type(modules).__name__)
        self.update(modules)

    def __getitem__(self, key: str) -> Module:
        return self._layers[key]

    def __setitem__(self, key: str, module: Module) -> None:
        """Put a module under a name, in the place of one that is there."""
        if not isinstance(key, str):
            raise InvalidTypeError(type(self).__name__, "a string as the name of a module", type(key).__name__)
        if not key or "." in key:
            raise InvalidValueError(type(self).__name__, "a name without dots for a module", shown(key))
        self._layers[key] = self._checked(module)

    def __delitem__(self, key: str) -> None:
        del self._layers[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def spec(self) -> str:
        """Spell the dictionary with its modules."""
        return f"{type(self).__name__}({{{', '.join(f'{key!r}: {module.spec()}' for key, module in self.items())}}})"
