"""Modules in the papers' form, in which forward stores in attributes what backward reads: run for several places at once.

What a forward has stored is taken out of the module and of its parts for whoever runs it, and put back for that forward's
backward. Whole numbers that forward or backward changes are taken for counts, and go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fastdl.graph.value import apart
from fastdl.nn.buffer import Buffer
from fastdl.nn.grad_mode import mode
from fastdl.nn.parameter import Parameter
from fastdl.nn.walk import TRANSIENT, Parts

if TYPE_CHECKING:
    from fastdl.nn.module import Module


# What is no work of a forward.
PASSING = {"training", "_buffer_names", *TRANSIENT} - {"_kept"}


class Left(list[tuple[Any, dict[str, Any]]]):
    """What a forward has left: a module and those inside it, each with what it has stored."""

    def is_there(self) -> bool:
        """Whether the modules hold it still."""
        for part, stored in self:
            own = vars(part)
            for name, value in stored.items():
                if own.get(name, self) is not value:
                    return False
        return True


def run_forward(module: Module, *inputs: Any) -> tuple[Any, Left | None]:
    """The output, and what the forward has left."""
    y = apart(module.forward, *inputs)
    return y, left_in(module) if mode.enabled else None


def run_backward(module: Module, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
    """`backward`, or `backward_parameters`, of the forward that left this."""
    if not isinstance(saved, Left):  # a layer's own, whose backward alone was replaced
        saved = Left([(module, {"_kept": saved})])
    backward = module.backward if with_input else module.backward_parameters
    if saved.is_there():  # no other forward has come since
        return backward(grad_output)
    before = left_in(module)
    for part, stored in saved:
        vars(part).update(stored)
    try:
        return backward(grad_output)
    finally:
        _go_on(before, saved)


def left_in(module: Module) -> Left:
    """What a module and those inside it have stored; of fastdl's own layers what their forward keeps."""
    left, waiting, seen = Left(), [module], {id(module)}
    while waiting:
        part = waiting.pop()
        if not part._stateful:
            left.append((part, {"_kept": getattr(part, "_kept", None)}))
            continue
        stored, children = _stored(part)
        left.append((part, stored))
        for child in children:
            if id(child) not in seen:
                seen.add(id(child))
                waiting.append(child)
    return left


def _stored(part: Any) -> tuple[dict[str, Any], list[Any]]:
    """What a module has stored in a forward, and the modules directly inside."""
    stored, children, buffers = {}, [], part._buffer_names
    for name, value in dict(vars(part)).items():
        if isinstance(value, Parts):
            children.append(value)
        elif name not in PASSING and name not in buffers and not isinstance(value, (Parameter, Buffer)):
            stored[name] = value
    return stored, children if type(part).named_children is Parts.named_children else list(part.children())


def _go_on(before: Left, saved: Left) -> None:
    """Put back what the modules held before a backward was for a place, and let counts go on from it."""
    places = {id(part): stored for part, stored in saved}
    for part, earlier in before:
        now, stored = vars(part), places.get(id(part), {})
        for name, value in earlier.items():
            left = stored.get(name, value)
            if name in now and now[name] is left:
                now[name] = value
            elif all(type(each) is int for each in (value, left, now.get(name))):
                now[name] += value - left


class Twins:
    """The modules of a model beside those of a copy that runs in its place, in pairs."""

    def __init__(self, pairs: list[tuple[Module, Module]]) -> None:
        self._pairs = [(one, other, dict(vars(other))) for one, other in pairs if one._stateful]

    def hand_back(self) -> None:
        """Let the model's counts, buffers and parts follow those of the copy, which has run."""
        for module, copy, before in self._pairs:
            own = vars(module)
            for name, value in dict(vars(copy)).items():
                earlier = before.get(name)
                if value is earlier:
                    continue
                if type(value) is int and type(earlier) is int:
                    own[name] += value - earlier
                elif name in {"_buffer_names", *copy._buffer_names} or isinstance(value, (Parameter, Parts)):
                    own[name] = value


@contextmanager
def gradients_aside(model: Module) -> Iterator[None]:
    """Let the modules of a copy have parameters with the same values and other gradients inside the block."""
    asides: dict[int, Parameter] = {}
    held = []
    for module in model.modules():
        own = vars(module)
        for name, value in dict(own).items():
            if isinstance(value, Parameter):
                held.append((own, name, value))
                own[name] = asides.setdefault(id(value), value._aside())
    try:
        yield
    finally:
        for own, name, value in held:
            own[name] = value
