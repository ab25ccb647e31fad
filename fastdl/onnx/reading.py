"""Reading: a checked file's nodes, turned into modules one after another."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from fastdl._kernels.quiet import Quiet
from fastdl.errors import InvalidValueError
from fastdl.nn.container import Sequential
from fastdl.nn.module import Module
from fastdl.nn.parameter import Parameter
from fastdl.nn.walk import DEEPEST
from fastdl.onnx import expression
from fastdl.onnx.checking import FLOATS, Inferred, as_array, checked, inferred, parsed, shortened, spelled
from fastdl.onnx.external import take_in
from fastdl.onnx.folding import Constants
from fastdl.onnx.graph import Constant, Graph, Step, Weight
from fastdl.onnx.sizes import Sizes
from fastdl.onnx.table import OPERATORS, fill

Array = NDArray[Any]


class Node:
    """One node of a file: its operator, the names of what it reads and yields, its attributes."""

    def __init__(self, proto: onnx.NodeProto, version: int) -> None:
        self.operator, self.version = proto.op_type, version
        self.inputs, self.outputs = list(proto.input), list(proto.output)
        self.name = proto.name or (proto.output[0] if proto.output else "")
        self._attributes = {each.name: each for each in proto.attribute}

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value: an integer, a number, a string, a tuple of those, or a tensor."""
        if name not in self._attributes:
            return default
        value = helper.get_attribute_value(self._attributes[name])
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        return tuple(value) if isinstance(value, Sequence) else value

    def number(self, name: str, default: float) -> float:
        """An attribute's number, a float32 in the file, as the shortest decimal that it may have been."""
        return float(str(np.float32(self.attribute(name, default))))

    def tensor(self, name: str) -> Array:
        """An attribute's tensor as an array."""
        tensor = self.attribute(name)
        if not isinstance(tensor, TensorProto):
            raise self.refusal(f"a tensor as {name}", "none")
        return as_array(tensor, self.name)

    def between(self, what: str) -> str:
        """A name for a value on the way to the node's output."""
        return f"{self.outputs[0]} {what}"

    def input(self, number: int) -> str | None:
        """The name of an input; None for one that was left out."""
        return (self.inputs[number] or None) if number < len(self.inputs) else None

    def refusal(self, wanted: str, got: Any) -> ValueError:
        """The error by which an import says what it wants of this node."""
        return InvalidValueError(
            "onnx.load", f"{wanted} for {self.operator} {shortened(self.name)}", shortened(str(got))
        )


class Reader:
    """Steps as they are added. What imports call are `add`, `array`, `weight`, `number`, `integers` and `match`."""

    def __init__(self, graph: onnx.GraphProto, nodes: list[Node], inferred: Inferred) -> None:
        initializers = {tensor.name for tensor in graph.initializer}
        self.inputs = [value.name for value in graph.input if value.name not in initializers]
        self._shapes, self._kinds = inferred
        self._constants = Constants(graph, [name for node in nodes for name in node.inputs])
        self._nodes = {output: node for node in nodes for output in node.outputs if output}
        self._parameters: dict[tuple[str, bool], Parameter] = {}
        self._steps: list[Step] = []
        self._known = set(self.inputs)
        self._names: set[str] = set()
        self.dtype: np.dtype[Any] = np.dtype(np.float32)
        # Vectors of sizes that are not all known.
        self.sizes: dict[str, Sizes] = {}

    # --- what imports call

    def add(self, node: Node, module: Module, *inputs: str, output: str | None = None, name: str | None = None) -> str:
        """Let a module read these values and yield a node's output, or a value in between of this name."""
        output = output or node.outputs[0]
        if self._constants.fold(module, inputs, output):
            return output
        for each in inputs:
            self._provide(each, node)
        self._steps.append(Step(self._unused(name or node.name), module, inputs, output))
        self._known.add(output)
        return output

    def array(self, value: str | None, node: Node, what: str) -> Array:
        """A weight or constant of the file; an error where the value is computed or given."""
        found = None if value is None else self._constants.array(value)
        if found is None:
            raise node.refusal(
                f"{what} in the file, as an initializer or Constant,", "a value that is computed or given"
            )
        return found

    def weight(self, value: str, array: Array, turned: bool = False) -> Parameter:
        """A value's array as a Parameter, the same one wherever the value stands as a weight (turned or not)."""
        origin, turns = self._constants.origin(value)
        key = origin, turned != turns
        if key not in self._parameters or not np.array_equal(self._parameters[key].data, array):
            self._parameters[key] = Parameter(array)
        return self._parameters[key]

    def learns(self, value: str) -> bool:
        """Whether a value is a weight: an initializer of floats with an axis at least, or one in another form."""
        return self._constants.learns(value)

    def check_dtype(self, value: str, array: Array) -> None:
        """Refuse a weight of another dtype than the input's."""
        if array.dtype != self.dtype:
            raise InvalidValueError(
                "onnx.load", f"weights of {self.dtype}, as the input", f"{shortened(value)} of {array.dtype}"
            )

    def constant(self, name: str, array: Array) -> str:
        """Let an array be a constant of this name."""
        self._constants.put(name, array)
        return name

    def layer_name(self, weight: str, node: Node) -> str:
        """What a layer is called: as its weight, where that is called as in a state_dict, else as its node."""
        head, dot, tail = self._constants.origin(weight)[0].rpartition(".")
        return head if dot and tail == "weight" else node.name

    def number(self, value: str | None) -> float | None:
        """A constant of one element as a number; None for anything else."""
        found = None if value is None else self._constants.array(value)
        return float(found.reshape(())) if found is not None and found.size == 1 else None

    def integers(self, value: str | None, node: Node, what: str) -> tuple[int, ...]:
        """A constant of integers as a tuple."""
        found = self.array(value, node, what)
        if found.dtype != np.int64 or found.ndim > 1:
            raise node.refusal(f"integers as {what}", f"{found.dtype} of shape {found.shape}")
        return tuple(int(n) for n in found.ravel())

    def match(self, formula: expression.Formula, value: str) -> dict[str, str] | None:
        """What a formula's variables are where it computes a value; see expression.py."""
        return expression.match(formula, value, self._made, self.number)

    def maker(self, value: str) -> Node:
        """The node that computes a value."""
        return self._nodes[value]

    def node_of(self, value: str, operator: str) -> Node | None:
        """The node that computes a value, where it is of this operator."""
        node = self._nodes.get(value)
        return node if node is not None and node.operator == operator else None

    def is_constant(self, value: str) -> bool:
        """Whether a value is a weight or constant of the file."""
        return self._constants.array(value) is not None

    def shape(self, value: str) -> tuple[int | None, ...] | None:
        """A value's shape as far as it is known."""
        found = self._constants.array(value)
        return self._shapes.get(value) if found is None else found.shape

    def kind(self, value: str) -> np.dtype[Any] | None:
        """A value's dtype, where it is known to be float32 or float64."""
        return FLOATS.get(self._kinds.get(value, 0))

    # --- reading

    def read(self, node: Node) -> None:
        """Add what a node becomes."""
        operator = OPERATORS[node.operator]
        if node.version not in operator.versions:
            versions = ", ".join(map(str, operator.versions))
            raise node.refusal(
                f"version {versions} of the operator (write onnx.version_converter.convert_version)", node.version
            )
        extra = [name for name in node.outputs[1:] if name]
        if extra:
            raise node.refusal("one output", f"{1 + len(extra)}")
        operator.read(self, node)

    def model(self, output: str) -> Module:
        """The steps that the output needs: a Sequential where they stand in a row, else a Graph."""
        self._provide(output, None)
        needed, steps = {output}, []
        for step in reversed(self._steps):
            if step.output in needed:
                needed.update(step.inputs)
                steps.append(step)
        steps.reverse()
        before = self.inputs[:1] + [step.output for step in steps]
        row = len(self.inputs) == 1 and all(step.inputs == (value,) for step, value in zip(steps, before, strict=False))
        if row and before[-1] == output:
            return _nested([(step.name, step.module) for step in steps]) or Sequential(*(step.module for step in steps))
        return Graph(self.inputs, steps, output)

    def _made(self, value: str) -> tuple[str, list[str]] | None:
        node = self._nodes.get(value)
        return None if node is None or node.operator == "Constant" else (node.operator, node.inputs)

    def _provide(self, value: str, node: Node | None) -> None:
        """Add a weight or a constant as a step of its own, where a module reads it as a value."""
        if value in self._known:
            return
        array = self._constants.array(value)
        if array is None:
            raise InvalidValueError("onnx.load", f"{shortened(value)} to be computed before it is read")
        if array.dtype.kind == "f":
            self.check_dtype(value, array)
        module = Weight(self.weight(value, array)) if self.learns(value) else Constant(np.array(array))
        self._steps.append(Step(self._unused(value), module, (), value))
        self._known.add(value)

    def _unused(self, name: str) -> str:
        number, unused = 1, name
        while unused in self._names:
            number += 1
            unused = f"{name}:{number}"
        self._names.add(unused)
        return unused


def read(source: str | os.PathLike[str] | onnx.ModelProto) -> Module:
    """See fastdl.onnx.load."""
    fill()
    if isinstance(source, onnx.ModelProto):
        model = source
    else:
        model = parsed(source)
        take_in(model, Path(source))
    graph = model.graph
    opset = checked(model)
    nodes = [Node(node, onnx.defs.get_schema(node.op_type, opset, "").since_version) for node in graph.node]
    reader = Reader(graph, nodes, inferred(model))
    if not reader.inputs or len(graph.output) != 1:
        raise InvalidValueError(
            "onnx.load", "a model of at least one input and one output", f"{len(reader.inputs)} and {len(graph.output)}"
        )
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    for name in reader.inputs:
        if kinds[name] not in FLOATS:
            raise InvalidValueError(
                "onnx.load", "inputs of float32 or float64", f"{shortened(name)} of {spelled(kinds[name])}"
            )
    reader.dtype = FLOATS[kinds[reader.inputs[0]]]
    with Quiet(all="ignore"):  # weights of a file may be anything
        for node in nodes:
            reader.read(node)
    return reader.model(graph.output[0].name)


def _nested(layers: list[tuple[str, Module]], levels: int = DEEPEST - 1) -> Sequential | None:
    """Layers of dotted names in Sequentials in each other; None where that would change their order, or for too many levels."""
    if not levels:
        return None
    groups: dict[str, list[tuple[str, Module]]] = {}
    latest = None
    for name, layer in layers:
        head, _, tail = name.partition(".")
        if not head or (head != latest and head in groups) or (head in groups and not tail):
            return None
        groups.setdefault(head, []).append((tail, layer))
        latest = head
    found: dict[str, Module] = {}
    for head, inside in groups.items():
        if len(inside) == 1 and not inside[0][0]:
            found[head] = inside[0][1]
            continue
        nested = _nested(inside, levels - 1)
        if nested is None:
            return None
        found[head] = nested
    return Sequential(found)
