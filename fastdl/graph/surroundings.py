"""What traced functions read beside their arguments: globals, closures, attributes of their classes and of methods' objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from inspect import getattr_static
from types import CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np

from fastdl._kernels.watch import ABSENT, Read, attributes_of, content_of_slot

# Kinds whose objects are compared by value: a number that is computed anew may be the same.
NUMBERS = (float, complex, np.floating, np.complexfloating)
PLAIN = (int, str, bytes, bool, type(None), np.generic, *NUMBERS)
# What is read of these is no user's.
LIBRARIES = ("fastdl", "numpy", "scipy", "builtins")
# The most functions that are looked into, one called by another.
MOST_FUNCTIONS = 1000
# What runs a function when it is called, or is read.
CALLED = FunctionType, MethodType, partial, property, staticmethod, classmethod
# The methods of modules and criteria that are called.
METHODS = "__call__", "forward", "function", "derivative"


class Surroundings(Read):
    """What modules and criteria, and the user's functions that they call, read: numbers by value, others by identity.

    Args:
        called: functions, methods, modules, and other objects that are called.

    Attributes:
        modules: those that they read, which may be others than the traced model's.
    """

    def __init__(self, called: Iterable[Any]) -> None:
        super().__init__()
        self._entries: dict[tuple[int, str], tuple[dict[str, Any], str, Any]] = {}
        self._sizes: dict[int, tuple[dict[str, Any], int]] = {}
        self._contents: dict[int, tuple[Any, Any]] = {}
        self._slots: dict[tuple[int, int], tuple[Any, Any, Any]] = {}
        self._functions: list[tuple[Any, ...]] = []
        self._objects: dict[int, Any] = {}
        self.modules: list[Any] = []
        self._waiting: list[tuple[Any, Any]] = []
        for each in called:
            self._enter_called(each)
        seen = set[tuple[int, int]]()
        while self._waiting and len(seen) < MOST_FUNCTIONS:
            function, owner = self._function_of(*self._waiting.pop())
            if function is not None and (id(function), id(owner)) not in seen:
                seen.add((id(function), id(owner)))
                self._look_into(function, owner)
        self._read = [
            [*self._entries.values()],
            [*self._sizes.values()],
            [*self._contents.values()],
            self._functions,
            [*self._slots.values()],
        ]
        self.remember(*self._read)

    @property
    def empty(self) -> bool:
        """Whether they read nothing."""
        return not any(self._read)

    def stand(self) -> bool:
        """Whether all is as it was."""
        if self.as_read():
            return True
        entries, sizes, cells, functions, slots = self._read
        return (
            all(f.__code__ is c and f.__defaults__ is d and f.__kwdefaults__ is k for f, c, d, k in functions)
            and all(len(place) == size for place, size in sizes)
            and all(unchanged(value, place.get(name, ABSENT)) for place, name, value in entries)
            and all(unchanged(value, _content(cell)) for cell, value in cells)
            and all(unchanged(value, content_of_slot(slot, one)) for slot, one, value in slots)
        )

    def _enter_called(self, called: Any) -> None:
        """Enter a function, or a module or criterion: its methods, and what it holds that is called or in no dictionary."""
        if isinstance(called, CALLED):
            self._waiting.append((called, None))
            return
        kind, own = type(called), getattr(called, "__dict__", {})
        if not _is_library(kind.__module__):
            for name in METHODS:
                self._follow(getattr_static(kind, name, None), kind)
                self._enter_attribute(kind, name)
        if not hasattr(called, "_contents"):
            self._enter_slots(called)
        for value in dict(own).values():
            if isinstance(value, CALLED) or _is_called_object(value):
                self._waiting.append((value, None))
        losses = own.get("losses")
        for each in [*(dict(losses).values() if isinstance(losses, dict) else ()), own.get("criterion")]:
            if each is not None:  # a criterion that a criterion of fastdl's holds
                self._follow(each)
                self._enter_called(each)

    def _look_into(self, function: FunctionType, owner: Any) -> None:
        """Enter what a function reads; `owner` is the class or the object that it is a method of, or None."""
        defaults, named = function.__defaults__, function.__kwdefaults__
        self._functions.append((function, function.__code__, defaults, named))
        if _is_called_object(owner):
            self._enter_object(owner)
        self._enter_all(named or {})
        self._enter_all(vars(function))
        for value in defaults or ():
            self._follow(value)
        names = [*dict.fromkeys(name for code in _codes(function.__code__) for name in code.co_names)]
        for name in names:
            self._enter(function.__globals__, name, names)
            if owner is not None:
                self._enter_attribute(owner, name)
        for cell in function.__closure__ or ():
            value = _content(cell)
            self._contents[id(cell)] = cell, value
            self._follow(value)

    def _enter(self, place: dict[str, Any], name: str, names: list[str]) -> None:
        """Enter what a name stands for, and where that is a module of the user's, what the other names stand for in it."""
        if name not in place:
            return
        value = place[name]
        self._entries[id(place), name] = place, name, value
        if isinstance(value, ModuleType) and not _is_library(value.__name__):
            for inside in names:
                self._enter(vars(value), inside, [])
        elif isinstance(value, type):
            for inside in names:
                self._enter_attribute(value, inside)
        else:
            self._follow(value)

    def _enter_all(self, place: dict[str, Any]) -> None:
        """Enter what a dictionary of arguments or of a function's attributes holds."""
        for name, value in dict(place).items():
            self._entries[id(place), name] = place, name, value
            self._follow(value)

    def _enter_slots(self, one: Any) -> None:
        """Enter the attributes of an object that are in slots."""
        for base in type(one).__mro__:
            if not _is_library(base.__module__):
                for entry in [*vars(base).values()]:
                    self._enter_slot(entry, one)

    def _enter_slot(self, entry: Any, one: Any) -> None:
        """Enter what an object holds in a slot, if the entry of its class is one."""
        if isinstance(entry, MemberDescriptorType):
            value = content_of_slot(entry, one)
            self._slots[id(entry), id(one)] = entry, one, value
            self._follow(value)

    def _function_of(self, called: Any, owner: Any) -> tuple[FunctionType | None, Any]:
        """The user's function that a call of something runs, None where that is not known, and what it is a method of."""
        while not isinstance(called, FunctionType):
            if isinstance(called, MethodType):
                called, owner = called.__func__, called.__self__
            elif isinstance(called, partial):
                self._enter_partial(called)
                called, owner = called.func, None
            elif isinstance(called, property):
                called = called.fget
            elif isinstance(called, (staticmethod, classmethod)):
                called = called.__func__
            else:
                if _is_called_object(called):
                    self._enter_object(called)
                return None, None
        return (None, None) if _is_library(called.__module__) else (called, owner)

    def _enter_partial(self, called: Any) -> None:
        """Enter a partial's function and arguments."""
        for name in ("func", "args", "keywords"):
            self._enter_slot(vars(partial)[name], called)
        self._sizes[id(called.keywords)] = called.keywords, len(called.keywords)
        self._enter_all(called.keywords)
        for value in called.args:
            self._follow(value)

    def _enter_object(self, one: Any) -> None:
        """Enter the methods that a call of an object runs, and what these read of it."""
        if id(one) not in self._objects:
            self._objects[id(one)] = one
            for name in METHODS:
                self._enter_attribute(one, name)

    def _enter_attribute(self, owner: Any, name: str) -> None:
        """Enter an attribute that a method may read of its class, and of its object where that is no module."""
        kind = owner if isinstance(owner, type) else type(owner)
        own: dict[str, Any] | None = None if kind is owner else getattr(owner, "__dict__", None)
        if own is not None and name in own:
            self._entries[id(own), name] = own, name, own[name]
            self._follow(own[name])
            return
        bases = [base for base in kind.__mro__ if not _is_library(base.__module__)]
        if not any(name in vars(base) for base in bases):
            return
        if own is not None:  # where it may come to stand before the class's
            self._entries[id(own), name] = own, name, ABSENT
        for base in bases:  # also those behind the first, which super() reads, and those that do not have it yet
            place = attributes_of(base)
            value = place.get(name, ABSENT)
            self._entries[id(place), name] = place, name, value
            self._follow(value, owner)
            if kind is not owner:
                self._enter_slot(value, owner)

    def _follow(self, value: Any, owner: Any = None) -> None:
        """Look into what is called, later, and remember a module."""
        if isinstance(value, CALLED) or _is_called_object(value):
            self._waiting.append((value, owner))
        elif hasattr(value, "_contents") and not isinstance(value, type):
            self.modules.append(value)


def _is_called_object(value: Any) -> bool:
    """Whether an object of a class of the user's can be called, and is no module or loss."""
    kind = type(value)
    return callable(value) and not (
        _is_library(kind.__module__) or isinstance(value, type) or hasattr(value, "_contents")
    )


def alike(one: Any, other: Any) -> bool:
    """Whether two criteria compute the same, such as functions of one code and equal closures, made by a lambda in each step."""
    if one is other:
        return True
    if isinstance(one, MethodType) and isinstance(other, MethodType):
        return one.__func__ is other.__func__ and one.__self__ is other.__self__
    if not (isinstance(one, FunctionType) and isinstance(other, FunctionType) and one.__code__ is other.__code__):
        return False
    pairs = [(_held_by(each), each.__globals__) for each in (one, other)]
    (held, of_one), (now, of_other) = pairs
    return of_one is of_other and len(held) == len(now) and all(map(unchanged, held, now))


def _held_by(function: FunctionType) -> list[Any]:
    """What a function has of its own beside its code."""
    named = function.__kwdefaults__ or {}
    cells = [_content(cell) for cell in function.__closure__ or ()]
    own = [each for pair in sorted(vars(function).items()) for each in pair]
    return [*(function.__defaults__ or ()), *(named[name] for name in sorted(named)), *cells, *own]


def key_of(criterion: Any) -> Any:
    """What criteria have in common that may be alike."""
    if isinstance(criterion, MethodType):
        return id(criterion.__func__), id(criterion.__self__)
    return id(criterion.__code__ if isinstance(criterion, FunctionType) else criterion)


def _is_library(name: str | None) -> bool:
    return (name or "").partition(".")[0] in LIBRARIES


def unchanged(before: Any, now: Any) -> bool:
    if before is now:
        return True
    if type(before) is not type(now) or not isinstance(before, PLAIN):
        return False
    # NaN is one number, and 0.0 and -0.0 are two.
    return repr(before) == repr(now) if isinstance(before, NUMBERS) else before == now


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A function's code and that of functions in it."""
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _codes(each)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet set
        return ABSENT
