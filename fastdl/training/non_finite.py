"""Where the first value that is not finite came from, in words."""

from __future__ import annotations

from typing import Any

import numpy as np

# What graphs are given, not what they compute.
GIVEN = ("input", "parameter", "constant")


def place_of(node: Any, model: Any) -> str:
    """Words for the layer or the line of a node that has yielded it; none for a loss, which says so itself."""
    if node.operation == "loss":
        return ""
    if node.operation == "layer":
        names = {id(module): name for name, module in model.named_modules()}
        record = node.attributes["record"]
        return f", first in the output of layer {names.get(id(record.module), '')} {record.name}"
    if node.operation == "python":
        return f", first in {type(node.attributes['call'].module).__name__}, in Python, at {node.line}"
    return f", first in {node.operation} at {node.line}"


def place_in(graph: Any, model: Any) -> str:
    """Words for the first such node of a graph that was computed node by node; none where there is none."""
    for number, node in enumerate(graph.nodes):
        if node.operation not in GIVEN and node.dtype.kind == "f" and not np.isfinite(graph.computed(number)).all():
            return place_of(node, model)
    return ""
