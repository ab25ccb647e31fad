"""External data: tensors whose bytes stand in other files of the model's folder, as exporters write them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import onnx
from onnx import TensorProto

from fastdl.errors import InvalidValueError
from fastdl.onnx.checking import TENSORS, check_dtype, require_memory, shortened

# What protobuf can hold in one message, less what may come on top of the weights.
LARGEST = 2**31 - 2**20


def take_in(model: onnx.ModelProto, path: Path) -> None:
    """Let the tensors of a model read from a file hold their bytes themselves.

    Raises:
        ValueError: for a file outside of the folder, one that is no regular file, or one without the bytes asked for.
    """
    places = []
    for tensor in _tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL:
            places.append((tensor, *_place(tensor, shortened(str(tensor.name)), path.parent)))
    total = sum(length for _, _, _, length in places)
    if total > LARGEST:
        raise InvalidValueError("onnx.load", f"at most {LARGEST} bytes of external data", "more")
    require_memory(total, "onnx.load")
    for tensor, file, offset, length in places:
        tensor.raw_data = _read(file, offset, length, shortened(str(tensor.name)))
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def _place(tensor: TensorProto, name: str, folder: Path) -> tuple[Path, int, int]:
    """The file of a tensor, and where in it its bytes are."""
    check_dtype(tensor, name)
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if len(entries) < len(tensor.external_data):
        raise InvalidValueError("onnx.load", f"each entry of the external data of {name} once", "one twice")
    shape = tuple(tensor.dims)
    wanted = prod(shape) * TENSORS[tensor.data_type][0].itemsize if all(n >= 0 for n in shape) else -1
    offset = _number(entries.get("offset", "0"), "offset", name)
    length = _number(entries.get("length", str(wanted)), "length", name)
    if length != wanted:
        raise InvalidValueError(
            "onnx.load",
            f"external data of {name} to have the {wanted} bytes of shape {shortened(str(shape))}",
            f"a length of {length}",
        )
    return _within(folder, entries.get("location"), name), offset, length


def _number(text: Any, what: str, name: str) -> int:
    if not (isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) < 20):
        raise InvalidValueError(
            "onnx.load", f"a whole number as the {what} of the external data of {name}", shortened(repr(text))
        )
    return int(text)


def _within(folder: Path, location: Any, name: str) -> Path:
    """A file of the folder; links count as what they lead to."""
    outside = InvalidValueError(
        "onnx.load", f"the external data of {name} in a file in the model's folder", shortened(repr(location))
    )
    if not isinstance(location, str) or not location or "\0" in location:
        raise outside
    if PurePosixPath(location).is_absolute() or PureWindowsPath(location).drive or location.startswith("\\"):
        raise outside
    try:
        folder = folder.resolve()
        file = (folder / location).resolve()
    except (OSError, RuntimeError, ValueError):  # links in a ring, for one
        raise outside from None
    if not file.is_relative_to(folder):
        raise outside
    return file


def _read(file: Path, offset: int, length: int, name: str) -> bytes:
    """So many bytes of a regular file."""
    # What is no file must neither block nor be read; a link that has come in between is not followed.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        number = os.open(file, flags | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise InvalidValueError(
            "onnx.load",
            f"the external data of {name} in {shortened(file.name)} beside the model",
            error.strerror or error,
        ) from None
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise InvalidValueError(
            "onnx.load", f"the external data of {name} in a regular file", f"{shortened(file.name)}, which is none"
        )
    with open(number, "rb", buffering=0) as content:
        size = os.fstat(number).st_size
        if offset + length > size:
            raise InvalidValueError(
                "onnx.load", f"{length} bytes of {name} at {offset} in {shortened(file.name)}", f"a file of {size}"
            )
        content.seek(offset)
        parts, left = [], length
        while left:
            part = content.read(left)
            if not part:
                raise InvalidValueError("onnx.load", f"{length} bytes of {name} in {shortened(file.name)}", "fewer")
            parts.append(part)
            left -= len(part)
    return b"".join(parts)
