"""Modules that define forward alone: calls, which trace once and run native programs, and backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl.data.nested import leaves, mapped
from fastdl.errors import InvalidStateError
from fastdl.graph.operations import as_value
from fastdl.graph.value import NotTraceableError, Value, apart, traced_into, warn_of_constant, where
from fastdl.messages import shown
from fastdl.nn import eager
from fastdl.nn.grad_mode import mode
from fastdl.nn.programs import Programs, dtype_of
from fastdl.nn.python_call import NotTracedError, call_in_python
from fastdl.nn.traced_operators import traced
from fastdl.nn.walk import in_python
from fastdl.validation import true_or_false

if TYPE_CHECKING:
    from fastdl.nn.module import Module


def called(module: Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """What a module's call returns: for traced values others, for arrays the output of its program."""
    alone = type(inputs[0]) if len(inputs) == 1 and not named else None
    if alone is Value:
        return _apply(module, inputs, named, inputs)
    if alone is not np.ndarray:
        inputs, named = mapped((inputs, named), traced)
        if values := [each for _, each in leaves((*inputs, named)) if type(each) is Value]:
            return _apply(module, inputs, named, values)
    if mode.traces and (graph := traced_into(module)) is not None and next(module._entries(), None) is not None:
        inputs, named = mapped((inputs, named), lambda each: as_value(graph, each))
        return _apply(module, inputs, named, [each for _, each in leaves((*inputs, named)) if type(each) is Value])
    if not module._forward_only:
        return apart(module.forward, *inputs, **named)
    if mode.traces:
        warn_of_constant(module)
    keeps = mode.enabled
    output, record = recorded(module, inputs, named, keeps)
    if keeps:
        vars(module)["_kept"] = record
    return output


def recorded(module: Module, inputs: tuple[Any, ...], named: dict[str, Any], keeps: bool) -> tuple[Any, Any]:
    """The output, and the record whose `pull` gives gradients if `keeps`.

    It is the output of the module's program, or, where it is not to be traced or cannot be, of a run node by node. Where that
    cannot follow either, forward runs as it is written, and the record is the error of whoever asks for a gradient.
    """
    if not module.traced or mode.eager:
        programs = None
    elif found := _like_the_latest(module, inputs, named, keeps):
        return found
    else:
        programs = Programs.of(module)
    if programs is not None and not programs.refused and (keeps or not programs.untraceable):
        try:
            found = programs.forward(module, inputs, named, keeps)
            return (found.output, found) if keeps else (found, None)
        except NotTracedError:
            programs.refused = True
        except NotTraceableError:
            if keeps:
                raise
            programs.untraceable = True  # only gradients want what a trace can follow
    try:
        record = eager.run(module, inputs, named, dtype_of(module, (inputs, named)))
    except NotTraceableError as error:
        return apart(module.forward, *inputs, **named), error if keeps else None
    return record.output, record if keeps else None


def _like_the_latest(
    module: Module, inputs: tuple[Any, ...], named: dict[str, Any], keeps: bool
) -> tuple[Any, Any] | None:
    """What `recorded` returns where one of the latest calls was like this one; else None."""
    programs = vars(module).get("_flat")
    found = programs.result(inputs, named, keeps) if isinstance(programs, Programs) else None
    return None if found is None else (found.output, found) if keeps else (found, None)


def _apply(module: Module, inputs: tuple[Any, ...], named: dict[str, Any], values: Sequence[Value]) -> Any:
    """The output for inputs among which these are values."""
    at_once = values[0].graph.array_of(values[0]) is not None
    if not in_python(module) or (at_once and module._forward_only):
        return module._apply(*inputs, **named)
    if named:
        bound = signature(module.forward).bind(*inputs, **named)
        inputs, named = bound.args, bound.kwargs
    if named or any(type(each) is not Value for each in inputs):
        name, hint = type(module).__name__, "let what is no value be an attribute of the module"
        raise NotTracedError(f"{where()}: expected traced values for {name}, which runs in Python, got others; {hint}")
    return call_in_python(module, inputs)


def backward(module: Module, grad_output: Any) -> Any:
    """What Module.backward does for a module that defines forward alone: it uses up the latest forward's record."""
    record = vars(module).get("_kept")
    if isinstance(record, NotTraceableError):
        raise record
    if record is None or not hasattr(record, "pull"):
        raise InvalidStateError(
            shown(module),
            "a forward before each backward",
            "none since the latest backward",
            "call the model on a batch first, outside no_grad(), or use vjp",
        )
    gradients = record.pull(module, grad_output)
    if vars(module).get("_kept") is record:  # no other thread's
        vars(module)["_kept"] = None
    return gradients


def vjp(module: Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Callable[..., Any]]:
    """See Module.vjp."""
    output, record = recorded(module, inputs, named, True)

    def pullback(grad_output: Any, parameters: bool = True) -> Any:
        """Return the gradient with respect to the inputs; add to the parameters' gradients if `parameters`."""
        if isinstance(record, NotTraceableError):
            raise record
        return record.pull(module, grad_output, true_or_false(parameters, "parameters", "pullback"))

    return output, pullback
