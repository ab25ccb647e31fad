"""Which engine a task is run by."""

from __future__ import annotations

from typing import Any

from fastdl.data.nested import Nested
from fastdl.graph.layers import LayerRefusedError
from fastdl.graph.value import NotTraceableError, mode
from fastdl.instance import as_defined
from fastdl.nn.loss import Loss, has_backward
from fastdl.nn.walk import first_parameter, in_python
from fastdl.training.engine import Engine, NothingLearnsError, NotPlannedError, PlainEngine, Task
from fastdl.training.native_engine import NativeEngine

# The methods of a loss that are called.
CALLED = ("__call__", "forward", "backward")


def engine_for(task: Task, x: Any, y: Any, batch_size: int) -> Engine:
    """The native engine where forward and loss can be traced, else the plain one, which also is that of fastdl.eager.

    A model that needs no trace, with modules in Python that have a backward of their own, is run as it is written.
    """
    if mode.eager:
        return PlainEngine(task, "of fastdl.eager()")
    why = "" if _needs_a_trace(task, x, y) else _reason_against(task, x)
    if why:
        return PlainEngine(task, why)
    try:
        return NativeEngine(task, x, y, batch_size)
    except NotPlannedError as error:
        return PlainEngine(task, str(error))
    except (LayerRefusedError, NotTraceableError, NothingLearnsError) as error:
        if _needs_a_trace(task, x, y):
            raise
        if isinstance(error, NotTraceableError):
            return PlainEngine(task, _loss_in_python(task))
        learns = "the loss depends on no parameter"
        return PlainEngine(task, learns if isinstance(error, NothingLearnsError) else str(error.got))


def _needs_a_trace(task: Task, x: Any, y: Any) -> bool:
    """Whether only a trace has gradients: of modules or a criterion without a backward, or several inputs, outputs or targets."""
    return (
        isinstance(x, Nested)
        or isinstance(y, Nested)
        or not has_backward(task.criterion)
        or task.model._forward_only
        or any(module._forward_only for module in task.model.modules())
    )


def _reason_against(task: Task, x: Any) -> str:
    """Why a task that needs no trace is run as it is written; empty where it need not be."""
    model, criterion = task.model, task.criterion
    if in_python(model):
        return f"{type(model).__name__} is a module in Python"
    if not _is_of_a_function(criterion):
        if not isinstance(criterion, Loss) or not as_defined(criterion, "_objective", CALLED):
            return _loss_in_python(task)
        if criterion.reduction == "none":
            return "the loss is not reduced to one number"
    parameter = first_parameter(model)
    if parameter is not None and parameter.dtype != x.dtype:
        return f"the model holds {parameter.dtype} where the input is of {x.dtype}"
    return ""


def _loss_in_python(task: Task) -> str:
    return f"{type(task.criterion).__name__} is a loss in Python"


def _is_of_a_function(criterion: Any) -> bool:
    """Whether a loss is its function, and perhaps its derivative, and nothing else of its own."""
    if not isinstance(criterion, Loss) or hasattr(criterion, "_objective"):
        return False
    kind, own = type(criterion), vars(criterion)
    return all(getattr(kind, name) is getattr(Loss, name) and name not in own for name in CALLED)
