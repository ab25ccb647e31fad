"""Writing: a model walked through layer by layer, each of which adds its nodes."""

from __future__ import annotations

import copy
import os
from math import prod
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import helper, numpy_helper

from fastdl._kernels.quiet import Quiet
from fastdl.environment import __version__
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import shown
from fastdl.nn.grad_mode import no_grad
from fastdl.nn.module import Module
from fastdl.nn.parameter import Parameter
from fastdl.nn.walk import weights_dtype
from fastdl.onnx import expression
from fastdl.onnx.checking import LARGEST, accept, require_memory
from fastdl.onnx.table import LAYERS, fill
from fastdl.output_file import write_atomically
from fastdl.validation import as_float_dtype, sample_shape

OPSET, IR_VERSION = 17, 8
# What may come on top of the weights.
MARGIN = 2**20
# The walk's batch: two samples, as a batch norm without running statistics wants more than one.
SAMPLES = 2


class Value(NamedTuple):
    """A value of the graph: its name, and the array it is for a batch of zeros."""

    name: str
    array: NDArray[Any]


def write(
    model: Module, path: str | os.PathLike[str], input_shape: int | tuple[int, ...], dtype: DTypeLike | None
) -> None:
    """See fastdl.onnx.export."""
    if not isinstance(model, Module):
        raise InvalidTypeError("onnx.export", "a fastdl Module", type(model).__name__)
    shape = sample_shape(input_shape, "onnx.export")
    dtype = weights_dtype(model) if dtype is None else as_float_dtype(dtype, "onnx.export")
    if prod(shape) * SAMPLES * dtype.itemsize > 2**47:
        raise InvalidValueError("onnx.export", "an input_shape that memory can hold", shown(input_shape))
    fill()
    require_memory(
        sum(array.nbytes for array in (*model.buffers(), *(p.data for p in model.parameters()))), "onnx.export"
    )
    # What a walk leaves in layers, it leaves in the copy.
    writer = Writer(copy.deepcopy(model).eval(), dtype)
    with no_grad(), Quiet(all="ignore"):
        content = writer.content(shape)
    write_atomically(path, content, "onnx.export")


class Writer:
    """Nodes and weights as they are added. What layers call are `node`, `weight`, `constant`, `formula` and `through`."""

    def __init__(self, model: Module, dtype: np.dtype[Any]) -> None:
        self.model, self.dtype = model, dtype
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[int, onnx.TensorProto] = {}
        self._names = {
            id(part if isinstance(part, np.ndarray) else part._data): name
            for name, part in reversed([*model._entries()])
        }
        self._used = {"input", "output", *self._names.values()}
        self._path: list[str] = []
        self._bytes = 0

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; returns the name of its output. An attribute that is None is left out."""
        name = self._unused(f"{self._place()}/{operator}")
        given = {key: value for key, value in attributes.items() if value is not None}
        self._nodes.append(helper.make_node(operator, inputs, [name], name, **given))
        return name

    def weight(self, weight: Parameter | NDArray[Any]) -> str:
        """The name of a parameter or buffer, as the state_dict's; it is written once."""
        array = weight._data if isinstance(weight, Parameter) else weight
        if id(array) not in self._weights:
            name = self._names.get(id(array)) or self._unused(f"{self._place()}/weight")
            if array.dtype != self.dtype:
                raise InvalidTypeError(
                    "onnx.export", "weights of one dtype", f"{name} of {array.dtype} and {self.dtype}"
                )
            self._bytes += array.nbytes
            if self._bytes > LARGEST - MARGIN:
                raise ValueError(
                    "onnx.export: expected weights of less than 2 GiB, which is what an ONNX file holds; got more"
                )
            self._weights[id(array)] = numpy_helper.from_array(array, name)
            self._names[id(array)] = name
        return self._names[id(array)]

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Add numbers that are no weights, by default of the model's dtype; returns their name."""
        name = self._unused(f"{self._place()}/Constant")
        tensor = numpy_helper.from_array(np.asarray(value, dtype or self.dtype))
        self._nodes.append(helper.make_node("Constant", [], [name], name, value=tensor))
        return name

    def integers(self, value: Any) -> str:
        """Add integers, such as shapes and indices; returns their name."""
        return self.constant(value, np.int64)

    def formula(self, formula: expression.Formula, **variables: str | float) -> str:
        """Add the nodes of a formula (see expression.py), whose variables are names of values, or numbers."""
        values = {name: self.constant(v) if not isinstance(v, str) else v for name, v in variables.items()}
        return expression.write(formula, values, self.node, self.constant)

    def through(self, module: Module, x: Value, name: str) -> Value:
        """Add a module for x; `name` is its name in the module that holds it."""
        self._path.append(name)
        first = len(self._nodes)
        export = _export_of(module)
        holds = next(module.children(), None) is not None
        y = None if holds else module.forward(x.array)
        written = export(module, self, x)
        if not isinstance(written, (str, Value)):
            raise InvalidTypeError(
                "onnx.export", f"to_onnx of {shown(module)} to return the name of a node's output", shown(written)
            )
        if isinstance(written, str):
            written = Value(self._called_as_layer(written, first), module.forward(x.array) if y is None else y)
        self._path.pop()
        return written

    def content(self, shape: tuple[int, ...]) -> bytes:
        """The whole file."""
        x = Value("input", np.zeros((SAMPLES, *shape), self.dtype))
        y = self.through(self.model, x, "")
        if y.name == "input":
            y = Value(self.node("Identity", "input"), y.array)
        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = ["output" if name == y.name else name for name in names]
        graph = helper.make_graph(
            self._nodes,
            type(self.model).__name__,
            [_described("input", x.array)],
            [_described("output", y.array)],
            list(self._weights.values()),
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="fastdl",
            producer_version=__version__,
        )
        accept(model, "onnx.export")
        return model.SerializeToString()

    def _place(self) -> str:
        """The dotted name of the layer that is being written."""
        return ".".join(name for name in self._path if name) or type(self.model).__name__

    def _unused(self, name: str) -> str:
        number, unused = 1, name
        while unused in self._used:
            number += 1
            unused = f"{name}:{number}"
        self._used.add(unused)
        return unused

    def _called_as_layer(self, output: str, first: int) -> str:
        """Call the node that yields a layer's output as the layer; the layer's nodes are those from `first` on."""
        name = self._unused(self._place())
        for node in self._nodes[first:]:
            node.input[:] = [name if each == output else each for each in node.input]
            if node.output[0] == output:
                node.name = node.output[0] = name
                return name
        return output


def _export_of(module: Module) -> Any:
    """The function that writes a module: its own `to_onnx`, or that of its class in the table."""
    own = getattr(type(module), "to_onnx", None)
    if own is not None:
        return own
    for base in type(module).__mro__:
        if base in LAYERS:
            if type(module).forward is base.forward and "forward" not in vars(module):
                return LAYERS[base]
            break
    raise InvalidTypeError(
        "onnx.export", "layers of fastdl's own, or with a method to_onnx", f"{shown(module)} with a forward in Python"
    )


def _described(name: str, array: NDArray[Any]) -> onnx.ValueInfoProto:
    """An input or output: the first axis is the batch's, or a number of times that where a Flatten joined others to it."""
    times = array.shape[0] // SAMPLES if array.ndim else 0
    axis = "N" if times == 1 else f"{times} N"
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), [axis, *array.shape[1:]])
