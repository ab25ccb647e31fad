"""Collections: modules or parameters in a list or a dictionary, which are parts of the module that holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, MutableSequence
from typing import Any, NoReturn, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import shown
from fastdl.nn.module import Module
from fastdl.nn.parameter import Parameter

_Item = TypeVar("_Item")
_Self = TypeVar("_Self", bound="_List[Any]")


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
        yield from dict(self._layers).items()
        yield from super().named_children()

    def __len__(self) -> int:
        return len(self._layers)

    def _checked(self, item: Any) -> Module:
        if isinstance(item, Module):
            return item
        hint = "write the class with parentheses" if isinstance(item, type) and issubclass(item, Module) else None
        raise InvalidTypeError(type(self).__name__, "a Module", type(item).__name__, hint)


class _List(MutableSequence[_Item]):
    """The methods of a list, for a module that holds its items elsewhere."""

    def _items(self) -> list[_Item]:
        """The items as a list."""
        raise NotImplementedError

    def _hold(self, items: list[_Item]) -> None:
        """Let these be the items."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self._items())

    @overload
    def __getitem__(self, index: int) -> _Item: ...
    @overload
    def __getitem__(self: _Self, index: slice) -> _Self: ...
    def __getitem__(self, index: int | slice) -> Any:
        """The item at a place; for a slice a list of the same kind with the same items."""
        items = self._items()
        return type(self)(items[index]) if isinstance(index, slice) else items[self._place(index)]  # pyright: ignore[reportCallIssue]

    @overload
    def __setitem__(self, index: int, value: _Item) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[_Item]) -> None: ...
    def __setitem__(self, index: int | slice, value: Any) -> None:
        """Put an item in the place of another, or several in those of a slice."""
        items = self._items()
        if isinstance(index, slice):
            items[index] = [self._checked(item) for item in value]
        else:
            items[self._place(index)] = self._checked(value)
        self._hold(items)

    def __delitem__(self, index: int | slice) -> None:
        """Leave an item out, or those of a slice; the places behind it move."""
        items = self._items()
        del items[index if isinstance(index, slice) else self._place(index)]
        self._hold(items)

    def __iter__(self) -> Iterator[_Item]:
        return iter(self._items())

    def __add__(self: _Self, other: Iterable[_Item]) -> _Self:
        """A list of the items of both."""
        return type(self)([*self, *other])  # pyright: ignore[reportCallIssue]

    def append(self: _Self, value: _Item) -> _Self:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Put an item at the end; returns self. Make a new optimizer afterwards."""
        return self.extend([value])

    def extend(self: _Self, values: Iterable[_Item]) -> _Self:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Put items at the end; returns self."""
        self._hold([*self, *[self._checked(item) for item in values]])
        return self

    def insert(self, index: int, value: _Item) -> None:
        """Put an item before a place."""
        items = self._items()
        items.insert(index, self._checked(value))
        self._hold(items)

    def _place(self, index: Any) -> int:
        """A place as a number from 0."""
        try:
            return range(len(self))[index]
        except IndexError:
            raise IndexError(
                f"{type(self).__name__}: expected the number of one of {len(self)} {self._kind}, got {index}"
            ) from None
        except TypeError:
            raise InvalidTypeError(type(self).__name__, "an integer or a slice", type(index).__name__) from None

    # What the items are, for messages; and what returns an item, or raises the error of what is none.
    _kind: str
    _checked: Callable[[Any], Any]


class ModuleList(_List[Module], Collection):
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

    _kind = "modules"

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self._layers = {}
        if not isinstance(modules, Iterable):
            raise InvalidTypeError("ModuleList", "a list of modules", type(modules).__name__, "write ModuleList([...])")
        self._hold([self._checked(module) for module in modules])

    def spec(self) -> str:
        """Spell the list with its modules."""
        return f"{type(self).__name__}([{', '.join(module.spec() for module in self)}])"

    def _items(self) -> list[Module]:
        return [*self._layers.values()]

    def _hold(self, items: list[Module]) -> None:
        self._layers.clear()
        self._layers.update((str(place), module) for place, module in enumerate(items))


class ParameterList(_List[Parameter], Module):
    """A list of parameters that are those of the module that holds it.

    It has the methods of a list. Names in the state_dict are the places, as in "weights.0".

    Args:
        parameters: any number of Parameters; arrays of float32 or float64 become some.

    Raises:
        TypeError: for anything else in it.

    Example:
        >>> import numpy as np
        >>> from fastdl import nn
        >>> class Polynomial(nn.Module):
        ...     def __init__(self):
        ...         self.weights = nn.ParameterList(np.ones(1) for _ in range(3))
        ...     def forward(self, x):
        ...         return sum(weight * x**power for power, weight in enumerate(self.weights))
        >>> Polynomial()(np.array([[2.0]])), list(Polynomial().state_dict())
        (array([[7.]]), ['weights.0', 'weights.1', 'weights.2'])

    Source: torch.nn.ParameterList.
    """

    _kind = "parameters"
    _is_called = False
    __eq__, __hash__ = object.__eq__, object.__hash__

    def __init__(self, parameters: Iterable[Parameter | NDArray[Any]] = ()) -> None:
        if not isinstance(parameters, Iterable):
            kind = type(parameters).__name__
            raise InvalidTypeError("ParameterList", "a list of parameters", kind, "write ParameterList([...])")
        self._hold([self._checked(parameter) for parameter in parameters])

    def forward(self, *inputs: Any) -> NoReturn:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Raise a TypeError: the module that holds the list uses what is in it."""
        raise TypeError("ParameterList has no forward: use the parameters in it, as in self.weights[0] * x")

    def spec(self) -> str:
        """Tell how many parameters there are."""
        return f"{type(self).__name__}({self.extra_repr()})"

    def extra_repr(self) -> str:
        """Tell how many parameters there are."""
        return f"{len(self)} parameters"

    def _items(self) -> list[Parameter]:
        own = vars(self)
        return [own[name] for name in map(str, range(len(own))) if name in own]

    def _hold(self, items: list[Parameter]) -> None:
        own = vars(self)
        for place in range(len(items), len(self)):
            del own[str(place)]
        own.update((str(place), parameter) for place, parameter in enumerate(items))

    def _checked(self, item: Any) -> Parameter:
        if isinstance(item, Parameter):
            return item
        if isinstance(item, np.ndarray):
            return Parameter(item)
        raise InvalidTypeError(type(self).__name__, "a Parameter, or an array to make one of", type(item).__name__)


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
