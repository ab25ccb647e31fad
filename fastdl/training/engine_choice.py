"""Which engine a task is run by."""

from __future__ import annotations

from typing import Any

from fastdl.graph.value import NotTraceableError, current
from fastdl.nn.walk import in_python
from fastdl.plan import InPythonError, NotPlannedError
from fastdl.training.engine import Engine, PlainEngine, Task
from fastdl.training.graph_engine import GraphEngine, is_for_a_graph
from fastdl.training.native_engine import NativeEngine


def engine_for(task: Task, x: Any, y: Any, batch_size: int) -> Engine:
    """A native engine where fastdl knows what all parts compute, else the plain one.

    Layers in a row with a loss of fastdl's own are planned as they are; else forward and loss are traced. Inside fastdl.eager it
    is the plain one.
    """
    if current.eager:
        return PlainEngine(task, "of fastdl.eager()")
    try:
        if is_for_a_graph(task, x, y):
            return GraphEngine(task, x, y, batch_size)
        try:
            return NativeEngine(task, x, y, batch_size)
        except InPythonError as error:
            if in_python(task.model):
                raise
            try:
                return GraphEngine(task, x, y, batch_size)
            except NotTraceableError:
                raise error from None
    except NotPlannedError as error:
        return PlainEngine(task, str(error))
