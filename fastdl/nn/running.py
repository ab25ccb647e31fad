"""Running: a module's forward and backward for whoever holds it, such as a container; the module itself keeps nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastdl.nn import stateful

if TYPE_CHECKING:
    from fastdl.nn.module import Module


def run_forward(module: Module, *inputs: Any) -> tuple[Any, Any]:
    """A module's output and what `run_backward` needs."""
    if module._stateful or "forward" in module.__dict__:
        return stateful.run_forward(module, *inputs)
    forward = module._run_forward  # pyright: ignore[reportAttributeAccessIssue]
    return forward(inputs[0]) if len(inputs) == 1 else forward(*inputs)


def run_backward(module: Module, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
    """The gradient with respect to the input of the forward that saved this; see Layer."""
    own = module.__dict__
    if module._stateful or isinstance(saved, stateful.Left) or "backward" in own or "backward_parameters" in own:
        return stateful.run_backward(module, saved, grad_output, with_input, with_parameters)
    return module._run_backward(saved, grad_output, with_input, with_parameters)  # pyright: ignore[reportAttributeAccessIssue]
