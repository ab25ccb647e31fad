"""What traced functions read beside their arguments: globals, closures, attributes of their classes and of methods' objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from inspect import getattr_static
from types import CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np

from fastdl._kernels.watch import ABSENT, as_read, attributes_of

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


class Surroundings:
    """What modules and criteria, and the user's functions that they call, read: numbers by value, others by identity.

    Args:
        called: functions, methods, modules, and other objects that are called.

    Attributes:
        modules: those that they read, which may be others than the traced model's.
    """

    def __init__(self, called: Iterable[Any]) -> None:
        self._entries: dict[tuple[int, str], tuple[dict[str, Any], str, Any]] = {}
        self._contents: dict[int, tuple[Any, Any]] = {}
        # Functions with their code and defaults, and attributes that are in no dictionary.
        self._functions: list[tuple[Any, ...]] = []
        self._attributes: list[tuple[Any, str, Any]] = []
        self.modules: list[Any] = []
        called = list(called)
        for each in called:
            if not hasattr(each, "_contents"):
                self._enter_slots(each)
        self._waiting = [pair for each in called for pair in _functions_of(each)]
        for kind in {kind for _, kind in self._waiting if kind is not None}:
            for name in METHODS:
                self._enter_attribute(kind, name)
        seen = set[tuple[int, int]]()
        while self._waiting and len(seen) < MOST_FUNCTIONS:
            called, owner = self._waiting.pop()
            function, owner = self._function_of(called, owner)
            if function is not None and (id(function), id(owner)) not in seen:
                seen.add((id(function), id(owner)))
                self._look_into(function, owner)
        self._read, self._cells = [*self._entries.values()], [*self._contents.values()]

    @property
    def empty(self) -> bool:
        """Whether they read nothing."""
        return not (self._read or self._cells or self._functions or self._attributes)

    def stand(self) -> bool:
        """Whether all is as it was."""
        if self._attributes and not all(unchanged(v, getattr(one, n, ABSENT)) for one, n, v in self._attributes):
            return False
        if as_read(self._read, self._cells, self._functions):
            return True
        for place, name, value in self._read:
            now = place.get(name, ABSENT)
            if now is not value and not unchanged(value, now):
                return False
        if not as_read([], [], self._functions):
            return False
        return not self._cells or all(unchanged(value, _content(cell)) for cell, value in self._cells)

    def _look_into(self, function: FunctionType, owner: Any) -> None:
        """Enter what a function reads; `owner` is the class or the object that it is a method of, or None."""
        defaults, named = function.__defaults__, function.__kwdefaults__
        self._functions.append((function, function.__code__, defaults, named))
        self._enter_all(named or {})
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
        """Enter what a dictionary of arguments holds."""
        for name, value in dict(place).items():
            self._entries[id(place), name] = place, name, value
            self._follow(value)

    def _enter_slots(self, one: Any) -> None:
        """Enter the attributes of an object that are in slots."""
        for base in type(one).__mro__:
            for name, entry in vars(base).items():
                if isinstance(entry, MemberDescriptorType) and not _is_library(base.__module__):
                    self._attributes.append((one, name, getattr(one, name, ABSENT)))

    def _function_of(self, called: Any, owner: Any) -> tuple[FunctionType | None, Any]:
        """The user's function that a call of something runs, None where that is not known, and what it is a method of."""
        while not isinstance(called, FunctionType):
            if isinstance(called, MethodType):
                called, owner = called.__func__, called.__self__
            elif isinstance(called, partial):
                self._attributes += [(called, name, getattr(called, name)) for name in ("func", "args", "keywords")]
                self._enter_all(called.keywords)
                for value in called.args:
                    self._follow(value)
                called, owner = called.func, None
            elif isinstance(called, property):
                called = called.fget
            elif isinstance(called, (staticmethod, classmethod)):
                called = called.__func__
            else:
                return None, None
        return (None, None) if _is_library(called.__module__) else (called, owner)

    def _enter_attribute(self, owner: Any, name: str) -> None:
        """Enter an attribute that a method may read of its class, and of its object where that is no module."""
        kind = owner if isinstance(owner, type) else type(owner)
        own: dict[str, Any] = {} if kind is owner else getattr(owner, "__dict__", {})
        if name in own:
            self._entries[id(own), name] = own, name, own[name]
            self._follow(own[name])
            return
        bases = [base for base in kind.__mro__ if not _is_library(base.__module__)]
        if not any(name in vars(base) for base in bases):
            return
        for base in bases:  # also those behind the first, which super() reads, and those that do not have it yet
            place = attributes_of(base)
            value = place.get(name, ABSENT)
            self._entries[id(place), name] = place, name, value
            self._follow(value, owner)

    def _follow(self, value: Any, owner: Any = None) -> None:
        """Look into a function that is called, later, and remember a module."""
        if isinstance(value, CALLED):
            self._waiting.append((value, owner))
        elif hasattr(value, "_contents") and not isinstance(value, type):
            self.modules.append(value)


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


def _functions_of(called: Any) -> Iterator[tuple[Any, Any]]:
    """The functions that a call of something runs, each with the class that it is a method of, or None."""
    if isinstance(called, CALLED):
        yield called, None
        return
    kind, own = type(called), getattr(called, "__dict__", {})
    if not _is_library(kind.__module__):
        for name in METHODS:
            yield getattr_static(kind, name, None), kind
    for value in dict(own).values():
        if isinstance(value, CALLED):
            yield value, None
    if isinstance(losses := own.get("losses"), dict):
        for each in losses.values():
            yield from _functions_of(each)


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
