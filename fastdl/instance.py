"""The base of objects that threads share and whose attributes fastdl looks through."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fastdl._kernels.instance import with_dictionary

if TYPE_CHECKING:
    from inspect import Signature


class _NoArguments:
    """The signature of a class without `__init__`, which inspect does not find behind a `__new__` that is built in."""

    def __get__(self, instance: object, owner: type[Any]) -> Signature | None:
        if instance is not None or owner.__init__ is not object.__init__:
            return None
        from inspect import Signature

        return Signature()


class WithDictionary:
    """Instances have their dictionary of attributes from the beginning; `with_dictionary` says why."""

    if not TYPE_CHECKING:
        __new__ = staticmethod(with_dictionary)
        __signature__ = _NoArguments()


def as_defined(value: object, name: str, methods: Iterable[str]) -> bool:
    """Whether these methods are those of the class that defines `name`, not a subclass' or the instance's own."""
    kind = type(value)
    owner = next((base for base in kind.__mro__ if name in vars(base)), None)
    own = vars(value)
    return owner is not None and all(getattr(kind, m) is getattr(owner, m) and m not in own for m in methods)
