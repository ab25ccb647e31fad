"""Records of forwards: what a backward checks, however the forward has run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from threading import RLock
from typing import Any

import numpy as np

from fastdl._kernels.access import has_turn
from fastdl.data.nested import leaves
from fastdl.errors import InvalidStateError, InvalidTypeError, InvalidValueError
from fastdl.messages import shown
from fastdl.nn.parameter import Parameter


class ThreadLock:
    """Lets one thread at a time into a block, also amid its own; a forked child finds it free.

    A signal handler that has come amid a turn does not wait, for the other thread may wait for the turn's end.
    """

    def __init__(self) -> None:
        self._of = os.getpid(), RLock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait for the other threads of this process, and hold the lock inside the block."""
        process, lock = self._of
        if process != os.getpid():
            process, lock = self._of = os.getpid(), RLock()
        if not has_turn():
            with lock:
                yield
            return
        if not lock.acquire(blocking=False):
            raise InvalidStateError(
                "pullback",
                "a call that may wait for another thread's",
                "one in a signal handler, amid a change of parameters",
                "call it again when the handler has returned",
            )
        try:
            yield
        finally:
            lock.release()


def not_computed(module: Any, output: Any) -> InvalidTypeError:
    """The error of an output that is no result of traced functions, such as a number or an array of forward's own."""
    kind = type(output).__name__
    return InvalidTypeError(f"{type(module).__name__}.forward", "to return what is computed of its inputs", kind)


def check_versions(module: Any, parameters: Sequence[Parameter], versions: Sequence[int]) -> None:
    """An error where parameters have other values than in the forward."""
    for parameter, version in zip(parameters, versions, strict=True):
        if parameter.version != version:
            raise changed_since(module)


def changed_since(module: Any) -> InvalidStateError:
    """The error where parameters have other values than in the forward."""
    expected, got = "the parameters' values of the forward", "others: they were changed since"
    return InvalidStateError(shown(module), expected, got, "call again")


def in_form(module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Gradients with respect to inputs by place and by name as backward returns them; where there are both, all by name."""
    if not named:
        return inputs[0] if len(inputs) == 1 else inputs
    return dict(zip(signature(module.forward).parameters, inputs, strict=False)) | named


def gradients_of_outputs(
    module: Any, grad_output: Any, shapes: dict[str, tuple[int, ...] | None], dtype: np.dtype[Any]
) -> list[Any]:
    """The gradients with respect to outputs as arrays of these shapes, by the outputs' places; None where one has none."""
    given = dict(leaves(grad_output))
    if len(given) != len(shapes):
        raise InvalidValueError(shown(module), f"a gradient for each of {len(shapes)} outputs", len(given))
    if len(shapes) == 1 and not isinstance(grad_output, dict):
        given = dict(zip(shapes, given.values(), strict=True))
    if given.keys() != shapes.keys():
        raise InvalidValueError(
            shown(module), f"a gradient for each of the outputs {', '.join(shapes)}", f"some for {', '.join(given)}"
        )
    found: list[Any] = []
    for place, shape in shapes.items():
        array = None if shape is None else np.asarray(given[place], dtype, order="C")
        if array is not None and array.shape != shape:
            raise InvalidValueError(shown(module), f"a gradient of shape {shape}", array.shape)
        found.append(array)
    return found
