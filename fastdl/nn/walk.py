"""Walk: how the modules, parameters and buffers of a model are found; nothing else knows."""

from __future__ import annotations

import reprlib
from collections import UserDict, UserList, deque
from collections.abc import Iterable, Iterator
from functools import cache
from types import MappingProxyType, MemberDescriptorType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.instance import WithDictionary
from fastdl.nn.buffer import Buffer
from fastdl.nn.parameter import Parameter

if TYPE_CHECKING:
    from fastdl.nn.module import Module

# Calls, copies and pickles of a model go down its levels one in another, which Python bounds.
DEEPEST = 100
# Attributes of layers that calls leave, and that make the next one faster: no part of a model's state.
TRANSIENT = frozenset({"_kept", "_flat", "_fitting", "_seen", "_evaluation", "_known", "_turns", "_origin"})
# What holds values without being a part of a model.
MAPPINGS = (dict, UserDict, MappingProxyType)
PLAIN = (*MAPPINGS, list, tuple, set, frozenset, deque, UserList, np.ndarray)


class Contents(NamedTuple):
    """What is in a model: modules, parameters and buffers that are objects, each once, in the order in which they are found."""

    modules: list[Any]
    parameters: list[Parameter]
    buffers: list[Buffer]


class Parts(WithDictionary):
    """What a model is made of: the modules, parameters and buffers in attributes, and those in the modules' own."""

    _buffer_names: tuple[str, ...] = ()

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules directly inside with their names: those assigned to attributes.

        A module that holds others elsewhere yields them here.
        """
        for name, value in dict(vars(self)).items():
            if isinstance(value, Parts):
                yield name, value  # pyright: ignore[reportReturnType]

    def children(self) -> Iterator[Module]:
        """Yield the modules directly inside, each once."""
        yield from {id(child): child for _, child in self.named_children()}.values()

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield this module and all inside it, each once, under its first dotted name.

        Raises:
            TypeError: if a module or parameter is in a plain list, tuple, set or dictionary alone.
            ValueError: if modules are more than 100 levels deep, or one holds itself.
        """
        yield from walked(self, prefix, once=True)

    def modules(self) -> Iterator[Module]:
        """Yield this module and all inside it, each once; errors as named_modules."""
        for _, module in walked(self, once=True):
            yield module

    def _traced_modules(self) -> list[Any]:
        """The modules, this one among them, that a trace goes through: those that run in Python are not, nor those inside."""
        found = list[Any]()
        waiting, seen = list[Any]([self]), {id(self)}
        while waiting:
            module = waiting.pop()
            if in_python(module):
                continue
            found.append(module)
            for child in module.children():
                if id(child) not in seen:
                    seen.add(id(child))
                    waiting.append(child)
        return found

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield the parameters with dotted names; a tied one once, under its first name. Errors as named_modules."""
        seen: set[int] = set()
        for name, part in self._entries(once=True):
            if isinstance(part, Parameter) and id(part) not in seen:
                seen.add(id(part))
                yield name, part

    def parameters(self) -> Iterator[Parameter]:
        """Yield the parameters, each once; errors as named_modules."""
        for _, parameter in self.named_parameters():
            yield parameter

    def named_buffers(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield the buffers with dotted names, each array once; errors as named_modules."""
        seen: set[int] = set()
        for name, part in self._entries(once=True):
            if not isinstance(part, Parameter) and id(part) not in seen:
                seen.add(id(part))
                yield name, part if isinstance(part, np.ndarray) else part._data

    def buffers(self) -> Iterator[NDArray[Any]]:
        """Yield the buffers, each once; errors as named_modules."""
        for _, array in self.named_buffers():
            yield array

    def _contents(self) -> Contents:
        """All that is in the model, found in one walk; errors as named_modules."""
        modules: list[Any] = [module for _, module in walked(self, once=True)]
        inside = [each for module in modules for each in dict(vars(module)).values()]
        parameters = {id(each): each for each in inside if isinstance(each, Parameter)}
        buffers = {id(each): each for each in inside if isinstance(each, Buffer)}
        return Contents(modules, [*parameters.values()], [*buffers.values()])

    def _buffer_objects(self) -> list[Buffer]:
        """The buffers that are objects, each once."""
        return self._contents().buffers

    def _entries(self, once: bool = False) -> Iterator[tuple[str, Parameter | Buffer | NDArray[Any]]]:
        """Yield every entry of the state_dict: parameters and buffers under each of their names, or the first (`once`)."""
        yield from entries(walked(self, once=once))


def entries(found: Iterable[tuple[str, Parts]]) -> Iterator[tuple[str, Parameter | Buffer | NDArray[Any]]]:
    """Yield the parameters and buffers of modules that `walked` has found."""
    for prefix, module in found:
        own = dict(vars(module))  # another thread may let the module run, which adds attributes
        for name, value in own.items():
            if isinstance(value, (Parameter, Buffer)):
                yield (f"{prefix}.{name}" if prefix else name), value
        for name in module._buffer_names:
            yield (f"{prefix}.{name}" if prefix else name), own[name]


def first_parameter(root: Parts) -> Parameter | None:
    """The first parameter of a model, found without a look at all the others; None where it has none."""
    for value in dict(vars(root)).values():
        if isinstance(value, Parameter):
            return value
    found = map(first_parameter, (child for _, child in root.named_children()))
    return next((each for each in found if each is not None), None)


def weights_dtype(model: Parts) -> np.dtype[Any]:
    """The dtype that a model computes in: that of its first parameter, float32 where it has none."""
    first = first_parameter(model)
    return np.dtype(np.float32) if first is None else first.dtype


def walked(root: Parts, prefix: str = "", once: bool = False) -> list[tuple[str, Module]]:
    """A module and all inside it with dotted names, each before what it holds, in each of its places or in the first (`once`).

    Raises:
        TypeError: if a module or parameter is in a plain container alone, where an optimizer would not find it.
        ValueError: if modules are too deep, or one holds itself.
    """
    found = tree(root, prefix, once)
    _refuse_unreached(root, [module for _, module in found])
    return found


def tree(root: Parts, prefix: str = "", once: bool = False, deepest: int = DEEPEST) -> list[tuple[str, Any]]:
    """What `walked` returns; modules in plain containers are passed over."""
    found, seen = [(prefix, root)], {id(root)}
    above = [(prefix, root, root.named_children())]
    while above:
        holder, _, children = above[-1]
        for name, module in children:
            if any(module is each for _, each, _ in above):
                raise InvalidValueError(type(root).__name__, "modules inside each other", "one that holds itself")
            if once and id(module) in seen:
                continue
            if len(above) == deepest:
                raise InvalidValueError(
                    type(root).__name__, f"modules in at most {DEEPEST} levels, one in another", "more"
                )
            seen.add(id(module))
            name = f"{holder}.{name}" if holder else name
            found.append((name, module))
            above.append((name, module, module.named_children()))
            break
        else:
            above.pop()
    return found


def in_python(module: Any) -> bool:
    """Whether a trace does not go through a module: it has a backward in Python, or is not to be traced."""
    if module._forward_only:
        return not module.traced
    if not module._is_called or "forward" in vars(module):
        return module._is_called
    return module._stateful or not module._has_trace


def held(container: Any) -> Iterator[tuple[str, Parts | Parameter | Buffer]]:
    """Yield the modules and parameters in a plain container and those inside it, with their places, such as "[0]['a']"."""
    left, seen = [("", container)], set[int]()
    while left:
        place, value = left.pop()
        if isinstance(value, (Parts, Parameter, Buffer)):
            yield place, value
            continue
        if id(value) in seen:
            continue
        seen.add(id(value))
        within: list[tuple[str, Any]] = []
        if isinstance(value, MAPPINGS):
            within += [(f"{place}[{reprlib.repr(key)}]", each) for key, each in _of_interest([*value.items()], 1)]
            within += [(f"{place}, a key", key) for key, _ in _of_interest([*value.items()], 0)]
        elif isinstance(value, (set, frozenset)):
            within += [(f"{place}, an element", each) for _, each in _of_interest([*enumerate(value)], 1)]
        elif not isinstance(value, np.ndarray) or value.dtype.hasobject:
            values = value.ravel().tolist() if isinstance(value, np.ndarray) else value
            within += [(f"{place}[{number}]", each) for number, each in _of_interest([*enumerate(values)], 1)]
        left += reversed(within)


def dictionaries(modules: Iterable[Parts]) -> list[dict[str, Any]]:
    """The dictionaries that say what modules and losses are and hold."""
    own = [vars(each) for each in modules]
    inside = [each.get(name) for each in own for name in ("_layers", "losses", "weights")]
    return own + [each for each in inside if isinstance(each, dict)]


@cache
def slots(kind: type) -> tuple[str, ...]:
    """The attributes of a class that are not in its instances' dictionaries."""
    entries = [entry for base in kind.__mro__ for entry in vars(base).items()]
    return tuple(name for name, each in entries if isinstance(each, MemberDescriptorType))


@cache
def _may_hold(kind: type) -> bool:
    """Whether an object of this class may be, or hold, a part of a model."""
    return issubclass(kind, (*PLAIN, Parts, Parameter, Buffer))


def _of_interest(pairs: list[tuple[Any, Any]], which: int) -> list[tuple[Any, Any]]:
    """The pairs of which the first or second may be, or hold, a part of a model."""
    kinds = {kind for kind in {type(pair[which]) for pair in pairs} if _may_hold(kind)}
    return [pair for pair in pairs if type(pair[which]) in kinds] if kinds else []


def _holds_known_parts_alone(container: Any, known: dict[int, Any]) -> bool:
    """Whether a look at what is directly inside suffices: most attributes are no containers, or hold numbers or known modules."""
    kind = type(container)
    if kind is dict:
        inside = [*container, *dict(container).values()]
    elif kind is tuple or kind is list:
        inside = container
    else:
        return kind is np.ndarray and not container.dtype.hasobject
    return all(id(each) in known or not _may_hold(type(each)) for each in inside)


def _refuse_unreached(root: Parts, modules: list[Module]) -> None:
    """Refuse a model with a module or parameter that is in plain containers alone, or in a slot."""
    known = {id(module): module for module in modules}
    for holder in modules:
        own = dict(vars(holder))
        # Those in attributes are known; what is in a slot is none.
        known |= {id(value): value for value in own.values() if isinstance(value, (Parameter, Buffer))}
    for holder in {id(module): module for module in modules}.values():
        own = dict(vars(holder))
        if slotted := slots(type(holder)):
            own |= {name: getattr(holder, name) for name in slotted if hasattr(holder, name)}
        for name, value in own.items():
            if not _may_hold(type(value)) or id(value) in known or name in TRANSIENT:
                continue
            if _holds_known_parts_alone(value, known):
                continue
            for place, part in held(value):
                if id(part) not in known:
                    where = next(prefix for prefix, module in tree(root) if module is holder)
                    raise _unreached(root, f"{where}.{name}" if where else name, place, value, part)


def _unreached(root: Parts, name: str, place: str, container: Any, part: Parts | Parameter | Buffer) -> TypeError:
    what, attribute = type(part).__name__, name.rpartition(".")[2]
    kind = "slot" if part is container else type(container).__name__
    if isinstance(part, (Parameter, Buffer)):
        return InvalidTypeError(
            type(root).__name__,
            f"each {what} in an attribute of its own",
            f"one in the {kind} {name}{place}",
            f"write setattr(self, '{attribute}_0', {'parameter' if what == 'Parameter' else 'buffer'}) and so on",
        )
    collection = "ModuleDict" if isinstance(container, MAPPINGS) else "ModuleList"
    return InvalidTypeError(
        type(root).__name__,
        "modules in attributes, nn.ModuleList or nn.ModuleDict",
        f"a {what} in the {kind} {name}{place}",
        f"write self.{attribute} = nn.{collection}(...)",
    )
