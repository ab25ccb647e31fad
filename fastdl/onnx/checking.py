"""Checking: what a file must be before anything of it is used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.input_file import read_whole
from fastdl.onnx.table import OPERATORS

Array = NDArray[Any]
FIRST_OPSET = 13
# What protobuf can hold in one message.
LARGEST = 2**31 - 1
# How many copies of a model protobuf, the checker and shape inference hold at a time, at most.
COPIES = 8
FLOATS: dict[int, np.dtype[Any]] = {TensorProto.FLOAT: np.dtype(np.float32), TensorProto.DOUBLE: np.dtype(np.float64)}
# The dtypes of tensors in a file, and the fields that hold their numbers where they are not raw bytes.
TENSORS: dict[int, tuple[np.dtype[Any], str]] = {
    **{
        kind: (dtype, field) for (kind, dtype), field in zip(FLOATS.items(), ("float_data", "double_data"), strict=True)
    },
    TensorProto.INT64: (np.dtype(np.int64), "int64_data"),
    TensorProto.BOOL: (np.dtype(np.bool_), "int32_data"),
}


def as_array(tensor: TensorProto, name: str) -> Array:
    """A tensor's numbers, when there are as many as its shape says."""
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise InvalidValueError(
            "onnx.load",
            "weights in the model",
            f"{shortened(str(name))} in another file",
            "write fastdl.onnx.load(path) or onnx.load(path), which read it",
        )
    check_dtype(tensor, name)
    dtype, field = TENSORS[tensor.data_type]
    shape = tuple(tensor.dims)
    wanted = prod(shape) if all(n >= 0 for n in shape) else -1
    found = len(tensor.raw_data) // dtype.itemsize if tensor.HasField("raw_data") else len(getattr(tensor, field))
    if found != wanted or (tensor.HasField("raw_data") and len(tensor.raw_data) % dtype.itemsize):
        raise InvalidValueError(
            "onnx.load", f"{shortened(name)} to hold the numbers of shape {shortened(str(shape))}", found
        )
    return np.array(numpy_helper.to_array(tensor), dtype)


def check_dtype(tensor: TensorProto, name: str) -> None:
    """Refuse a tensor of numbers that fastdl does not compute with."""
    if tensor.data_type not in TENSORS:
        raise InvalidValueError(
            "onnx.load",
            "tensors of float32, float64, int64 or bool",
            f"{shortened(str(name))} of {spelled(tensor.data_type)}",
        )


def parsed(source: str | os.PathLike[str]) -> onnx.ModelProto:
    """A file's content as a model."""
    if not isinstance(source, (str, os.PathLike)):
        raise InvalidTypeError("onnx.load", "a path or an onnx.ModelProto", type(source).__name__)
    content = read_whole(source, "onnx.load", LARGEST)
    require_memory(len(content), "onnx.load")
    try:
        return onnx.ModelProto.FromString(content)
    except DecodeError:
        raise InvalidValueError("onnx.load", "an ONNX model", f"{source}, which cannot be read as one") from None


def require_memory(size: int, owner: str) -> None:
    """Raise a MemoryError unless there is memory to work on so many bytes: without it, protobuf and onnx end the process."""
    try:
        bytearray(COPIES * size)
    except MemoryError:
        raise MemoryError(
            f"{owner}: expected {COPIES * size} bytes of memory for a model of {size}, got less"
        ) from None


def checked(model: onnx.ModelProto) -> int:
    """The opset of a model that holds together and whose operators are all of the subset."""
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    opset = opsets.get("", opsets.get("ai.onnx", 0))
    newest = onnx.defs.onnx_opset_version()
    if not FIRST_OPSET <= opset <= newest:
        raise InvalidValueError(
            "onnx.load",
            f"a model of opset {FIRST_OPSET} to {newest}",
            opset,
            "write onnx.version_converter.convert_version(model, 17)",
        )
    for kind, found in (
        ("functions", model.functions),
        ("training information", model.training_info),
        ("sparse initializers", model.graph.sparse_initializer),
        ("quantization", model.graph.quantization_annotation),
    ):
        if found:
            raise InvalidValueError("onnx.load", f"a model without {kind}", f"one with {len(found)}")
    for name in _names(model.graph):
        if not isinstance(name, str):  # protobuf gives bytes for what is no text
            raise InvalidValueError("onnx.load", "names in UTF-8", shortened(repr(name)))
    for tensor in model.graph.initializer:
        as_array(tensor, tensor.name)
    for node in model.graph.node:
        if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx"):
            operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            raise InvalidValueError(
                "onnx.load", "operators of fastdl's subset", shortened(operator), "see fastdl's docs/onnx.md"
            )
        for attribute in node.attribute:
            _check_attribute(node, attribute)
    accept(model, "onnx.load")
    return opset


def accept(model: onnx.ModelProto, owner: str) -> None:
    """Run onnx's checker and its shape inference; what they say is in the error."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        reason = shortened(" ".join(str(error).split()), 300)
        raise InvalidValueError(owner, "a model that onnx's checker accepts", f"this from it: {reason}") from None


def _names(graph: onnx.GraphProto) -> Iterator[str | bytes]:
    for value in (*graph.input, *graph.output, *graph.initializer):
        yield value.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)


def _check_attribute(node: onnx.NodeProto, attribute: onnx.AttributeProto) -> None:
    """Refuse what shape inference must not meet: sizes of windows and steps that are none."""
    name = f"{node.op_type} {shortened(node.name)}"
    if attribute.ref_attr_name or attribute.HasField("g") or attribute.graphs:
        raise InvalidValueError("onnx.load", "plain attributes", shortened(attribute.name), argument=name)
    if attribute.name in ("kernel_shape", "strides", "dilations", "pads"):
        least = 0 if attribute.name == "pads" else 1
        if any(not least <= n < 2**31 for n in attribute.ints):
            raise InvalidValueError(
                "onnx.load",
                f"{attribute.name} of at least {least}",
                shortened(str(list(attribute.ints))),
                argument=name,
            )
    if attribute.name == "group" and attribute.i < 1:
        raise InvalidValueError("onnx.load", "at least one group", attribute.i, argument=name)
    if attribute.HasField("t"):
        as_array(attribute.t, attribute.name)


class Inferred(NamedTuple):
    """What shape inference says of values by name: shapes, None for axes of unknown size, and the numbers of dtypes.

    Values of unknown rank are left out of the shapes.
    """

    shapes: dict[str, tuple[int | None, ...]]
    kinds: dict[str, int]


def inferred(model: onnx.ModelProto) -> Inferred:
    """Run onnx's shape inference."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    found = Inferred({}, {})
    for value in (*graph.value_info, *graph.input, *graph.output):
        found.kinds[value.name] = value.type.tensor_type.elem_type
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            found.shapes[value.name] = tuple(
                dim.dim_value if dim.HasField("dim_value") and 0 <= dim.dim_value < 2**31 else None for dim in dims
            )
    return found


def spelled(kind: int) -> str:
    """What ONNX calls the dtype of this number."""
    return TensorProto.DataType.Name(kind).lower() if kind in TensorProto.DataType.values() else f"kind {kind}"


def shortened(text: str, most: int = 80) -> str:
    """The text in one line, or its beginning."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= most else f"{text[: most - 4]} ..."
