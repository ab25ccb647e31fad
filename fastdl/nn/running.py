"""Running: a module's forward and backward for whoever holds it, such as a container; the module itself keeps nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastdl.nn import stateful
from fastdl.nn.grad_mode import mode

if TYPE_CHECKING:
    from fastdl.nn.module import Module


def run_forward(module: Module, x: Any) -> tuple[Any, Any]:
    """A module's output for x, and what `run_backward` needs."""
    if module._stateful or "forward" in module.__dict__:
        return _run_in_python(module, x)
    return module._forward(x)  # pyright: ignore[reportAttributeAccessIssue]


def run_forward_of(module: Module, inputs: Sequence[Any]) -> tuple[Any, Any]:
    """A module's output for any number of inputs, and what `run_backward` needs."""
    if len(inputs) == 1:
        return run_forward(module, inputs[0])
    if module._stateful or "forward" in module.__dict__:
        return _run_in_python(module, *inputs)
    return module._forward(*inputs)  # pyright: ignore[reportAttributeAccessIssue]


def _run_in_python(module: Module, *inputs: Any) -> tuple[Any, Any]:
    """A module's own forward, or what records it where that is all that it defines."""
    if not module._forward_only:
        return stateful.run_forward(module, *inputs)
    from fastdl.nn.forward_only import recorded

    return recorded(module, inputs, {}, mode.enabled)


def run_backward(module: Module, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
    """The gradient with respect to the input of the forward that saved this; see Layer."""
    own = module.__dict__
    if isinstance(saved, Exception):
        raise saved
    if module._forward_only and hasattr(saved, "pull"):
        return saved.pull(module, grad_output, with_parameters, with_input)
    if module._stateful or isinstance(saved, stateful.Left) or "backward" in own or "backward_parameters" in own:
        return stateful.run_backward(module, saved, grad_output, with_input, with_parameters)
    return module._backward(saved, grad_output, with_input, with_parameters)  # pyright: ignore[reportAttributeAccessIssue]
