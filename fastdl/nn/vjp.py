"""vjp: a forward with a function for its gradients, which may be called in any order and again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from itertools import product
from typing import TYPE_CHECKING, Any

from fastdl._kernels.access import Access
from fastdl.errors import InvalidStateError, InvalidTypeError
from fastdl.messages import listed, shown
from fastdl.nn import stateful
from fastdl.nn.copying import copies_of
from fastdl.nn.grad_mode import mode
from fastdl.nn.records import ThreadLock
from fastdl.nn.running import run_backward, run_forward_of
from fastdl.nn.watching import is_own
from fastdl.validation import true_or_false

if TYPE_CHECKING:
    from fastdl.nn.module import Module


def vjp(module: Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Callable[..., Any]]:
    """See Module.vjp. A copy that shares parameters and buffers runs, so that the module itself keeps what it had."""
    if module._forward_only:
        from fastdl.nn import forward_only

        return forward_only.vjp(module, *((), _by_name(module, inputs, named)) if named else (inputs, {}))
    if named:
        raise InvalidTypeError(f"{shown(module)}.vjp", "inputs by place", listed(named), "write vjp(x)")
    twin, pairs = copies_of(module, None)
    modules = [one for one, _ in pairs]
    for part, name in product(modules, ("forward", "backward", "backward_parameters")):
        if name in vars(part):  # it would call the part, not its copy
            raise InvalidTypeError(
                shown(module), f"a class to define {name}", f"one assigned to {shown(part)}", "write a subclass"
            )
    own = all(map(is_own, modules))
    held = list(twin.named_parameters())
    versions = [parameter.version for _, parameter in held]
    parameters = [parameter for _, parameter in held]
    backward_turn: Callable[[], AbstractContextManager[Any]]
    if own:
        buffered = [each for each in modules if each._buffer_names]
        forward_turn, before = Access(reads=parameters, writes=buffered), None
        turn = Access(reads=parameters, writes_gradients=parameters)
        backward_turn = lambda: turn  # noqa: E731
    else:  # modules in Python have no turn, for their code may wait for other threads
        forward_turn, backward_turn, before = nullcontext(), ThreadLock().held, stateful.Twins(pairs)
    with forward_turn:
        y, saved = _recorded(twin, inputs)
    if before is not None:
        before.hand_back()

    def pullback(grad_output: Any, parameters: bool = True) -> Any:
        """Return the gradient with respect to the inputs; add to the parameters' gradients if `parameters`."""
        adds = true_or_false(parameters, "parameters", "pullback")
        with backward_turn(), nullcontext() if own or adds else stateful.gradients_aside(twin):
            for (name, parameter), version in zip(held, versions, strict=True):
                if parameter.version != version:
                    raise InvalidStateError(
                        shown(module),
                        f"the values that {name} had in vjp",
                        "others: it was changed since",
                        "call vjp again",
                    )
            return run_backward(twin, saved, grad_output, True, adds)

    return y, pullback


def _by_name(module: Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """All inputs by the names of forward's arguments."""
    if not inputs:
        return named
    arguments = [*signature(module.forward).parameters.values()][: len(inputs)]
    if len(arguments) < len(inputs) or any(each.kind is not each.POSITIONAL_OR_KEYWORD for each in arguments):
        expected = "inputs that have names, or all by place"
        raise InvalidTypeError(
            f"{type(module).__name__}.vjp", expected, f"{len(inputs)} by place beside {listed(named)}"
        )
    places = {each.name: value for each, value in zip(arguments, inputs, strict=True)}
    if both := places.keys() & named.keys():
        raise InvalidTypeError(f"{type(module).__name__}.vjp", "each input once", f"{listed(both)} twice")
    return places | named


def _recorded(module: Module, inputs: tuple[Any, ...]) -> tuple[Any, Any]:
    """The output, and what serves any number of backwards, whether or not gradients are enabled."""
    enabled, repeats = mode.enabled, mode.repeats
    mode.enabled = mode.repeats = True
    try:
        return run_forward_of(module, inputs)
    finally:
        mode.enabled, mode.repeats = enabled, repeats
