"""Safetensors files: a header that names the entries, then their numbers one after the other.

The first 8 bytes are the header's length, little-endian; the header is JSON, padded with spaces to a multiple of 8; the
numbers are little-endian, in rows. Entries are written one by one and read one by one, so that memory holds no copy of the
whole file, and by ordinary reads: a file that is cut while it is read is an error, where a mapped one would end the process.

Source: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.input_file import as_path, open_regular, size_of
from fastdl.output_file import replacing
from fastdl.serialization.json_arrays import DTYPES

NAMES = {dtype: name for name, dtype in DTYPES.items()}
ORDER = {dtype: number for number, dtype in enumerate(DTYPES.values())}
LONGEST_HEADER = 100_000_000


class Entry(NamedTuple):
    """What a header says of an entry: its dtype by the format's name, its shape, and where its bytes begin and end."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def write(path: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]], words: str, owner: str) -> None:
    """Write arrays of DTYPES, and a text as the entry `fastdl` of the metadata, to a file that takes the place of an older one.

    Raises:
        TypeError, ValueError, OSError: as `replacing`.
    """
    native = {name: array.dtype.newbyteorder("=") for name, array in arrays.items()}
    for name, dtype in native.items():
        if dtype not in NAMES:
            raise InvalidTypeError(owner, f"arrays of {', '.join(map(str, ORDER))}", f"{name} of {dtype}")
    ordered = sorted(arrays.items(), key=lambda entry: (-ORDER[native[entry[0]]], entry[0]))
    header: dict[str, Any] = {"__metadata__": {"fastdl": words}}
    end = 0
    for name, array in ordered:
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": NAMES[native[name]], "shape": array.shape, "data_offsets": (begin, end)}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path, owner) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, array in ordered:
            file.write(np.asarray(array, array.dtype.newbyteorder("<"), order="C").reshape(-1).view(np.uint8).data)


class TensorFile:
    """An open file.

    Attributes:
        entries: what the header says, by name, in the order of the file.
        metadata: the header's strings.
    """

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        size = size_of(file)
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, LONGEST_HEADER):
            raise ValueError(f"a header of {length} bytes does not fit into {size}" if size >= 8 else "it is too short")
        self._start = 8 + length
        self.entries, self.metadata = _parsed(file.read(length))
        end = 0
        for name, entry in self.entries.items():
            if entry.begin != end or entry.end < end:
                raise ValueError(f"the entry {name[:80]!r} does not begin where the one before it ends")
            end = entry.end
        if self._start + end != size:
            raise ValueError(f"its entries end at byte {self._start + end} of {size}")

    def read(self, name: str, dtype: np.dtype[Any] | None = None) -> NDArray[Any]:
        """The numbers of an entry, of the dtype that its bytes are (None for its own, of DTYPES).

        Raises:
            ValueError: if no array may have its shape, or the file has been cut since it was opened.
        """
        entry = self.entries[name]
        dtype = DTYPES[entry.dtype] if dtype is None else dtype
        array = np.empty(entry.shape, dtype.newbyteorder("<"))
        if array.nbytes != entry.end - entry.begin:
            raise InvalidValueError(None, f"{array.nbytes} bytes", entry.end - entry.begin)
        self._file.seek(self._start + entry.begin)
        found = self._file.readinto(array.reshape(-1).view(np.uint8).data)
        if found != array.nbytes:
            raise InvalidValueError(None, f"{array.nbytes} bytes", f"{found} in a file that changes while it is read")
        return array.astype(dtype, copy=False)


@contextmanager
def opened(path: str | os.PathLike[str], owner: str) -> Iterator[TensorFile]:
    """A safetensors file to read from.

    Raises:
        TypeError, OSError, ValueError: as `open_regular`.
        ValueError: if it is no whole safetensors file.
    """
    place = as_path(path, owner)
    with open_regular(place, owner) as file:
        try:
            found = TensorFile(file)
        except (ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InvalidValueError(owner, "a whole safetensors file", f"{place}: {reason}") from None
        yield found


def _parsed(header: bytes) -> tuple[dict[str, Entry], dict[str, str]]:
    """The entries in the order of their bytes, and the metadata."""
    if not header.startswith(b"{"):
        raise ValueError("it does not begin with a JSON object")
    words = json.loads(header.decode(), object_pairs_hook=_without_doubles)
    metadata = words.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are no strings by name")
    entries = {name: _entry(name, each) for name, each in words.items()}
    return dict(sorted(entries.items(), key=lambda each: (each[1].begin, each[1].end))), metadata


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands in its header twice")
    return found


def _entry(name: str, each: Any) -> Entry:
    match each:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [begin, end], **rest} if not rest:
            numbers = *shape, begin, end
            if all(type(number) is int and 0 <= number < 2**63 for number in numbers):
                entry = Entry(dtype, tuple(shape), begin, end)
                size = math.prod(shape) * DTYPES[dtype].itemsize if dtype in DTYPES else end - begin
                if size == end - begin:
                    return entry
    raise ValueError(f"the entry {name[:80]!r} has no dtype, shape and place that fit together")
