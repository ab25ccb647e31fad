"""Checkpoints: models in safetensors files, with what it takes to use them."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastdl import nn
from fastdl.data import Standardize
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.input_file import as_path
from fastdl.messages import short, shown
from fastdl.nn.module import Module
from fastdl.nn.spec import declared_elements
from fastdl.serialization import json_arrays, tensor_file
from fastdl.serialization.tensor_file import TensorFile

FORMAT_VERSION = 1
# What the entries of a training state begin with; no layer's name has a slash.
TRAINING = "training/"
# Shape and dtype of each entry of a file.
Shapes: TypeAlias = dict[str, tuple[tuple[int, ...], str]]
DTYPES = {name: json_arrays.DTYPES[name] for name in ("F32", "F64", "I64")}


@dataclass
class Checkpoint:
    """What a file holds.

    Attributes:
        model: with its weights, in training mode as a new model is.
        scaling: what the inputs go through first; None for nothing.
        target_scaling: whose inverse the outputs go through last, as the targets went through it; None for nothing.
        classes: the names of the output's columns; None where there are none.
        features: the names of the inputs' columns; None where there are none.
        metadata: the saver's own strings.
    """

    model: Module
    scaling: Standardize | None = None
    target_scaling: Standardize | None = None
    classes: tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None
    metadata: dict[str, str] = field(default_factory=dict)


def save(
    model: Module,
    path: str | os.PathLike[str],
    *,
    scaling: Standardize | None = None,
    target_scaling: Standardize | None = None,
    classes: Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a model to a safetensors file: parameters and buffers under torch's names, the rest as its metadata.

    The file is written whole beside its place and then put there: at any moment the old or the new file stands. No copy of
    all weights is made. What is kept of an older file, and what is done with links, stands in docs/checkpoints.md.

    Args:
        model: a model with layers of one's own is saved without its spec, and loaded by `load(path, model=...)`.
        path: the file; its folder has to exist.
        scaling: a fitted Standardize that inputs go through.
        target_scaling: a fitted Standardize that targets went through.
        classes: names of the output's columns.
        features: names of the inputs' columns.
        metadata: strings of one's own.

    The file's metadata have one entry, `fastdl` (several would come in another order each time): a JSON object with
    `format_version` and, where there is one, `spec` (as `nn.to_spec` gives it), `scaling` and `target_scaling` (`mean`
    and `std` each), `classes`, `features` and `metadata`.

    Raises:
        TypeError: if an argument is of another kind.
        RuntimeError: if a scaling is not fitted.
        OSError: if the file cannot be written, or something else than a regular file has its name; an older one stands then.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), f"{folder}/model.safetensors", classes=("a", "b", "c"))
        ...     checkpoint = load(f"{folder}/model.safetensors")
        >>> checkpoint.classes, nn.to_spec(checkpoint.model)
        (('a', 'b', 'c'), ['Linear(2, 3)', 'ReLU()'])

    Source: safetensors, https://github.com/huggingface/safetensors.
    """
    if not isinstance(model, Module):
        raise InvalidTypeError("save", "a fastdl Module", type(model).__name__)
    words = model_words(model)
    for name, scale in (("scaling", scaling), ("target_scaling", target_scaling)):
        if scale is not None:
            if not isinstance(scale, Standardize):
                raise InvalidTypeError("save", "a Standardize", type(scale).__name__, argument=name)
            words[name] = {name: array.tolist() for name, array in scale.state_dict().items()}
    for name, listed in (("classes", classes), ("features", features)):
        if listed is not None:
            if isinstance(listed, str) or not all(isinstance(each, str) for each in listed):
                raise InvalidTypeError("save", "a list of strings", shown(listed), argument=name)
            words[name] = list(listed)
    if metadata is not None:
        if not isinstance(metadata, Mapping) or not all(isinstance(w, str) for pair in metadata.items() for w in pair):
            raise InvalidTypeError("save", "a dictionary of strings", shown(metadata), argument="metadata")
        words["metadata"] = dict(metadata)
    with model._state() as arrays:
        tensor_file.write(path, arrays, json.dumps(words), "save")


def model_words(model: Module) -> dict[str, Any]:
    """What a file's metadata say of its model: the format's version, and the spec where strings spell the model."""
    words: dict[str, Any] = {"format_version": FORMAT_VERSION}
    with contextlib.suppress(TypeError, ValueError):  # a layer that no string spells: its weights alone are saved
        words["spec"] = nn.to_spec(model)
    return words


def load(path: str | os.PathLike[str], model: Module | None = None) -> Checkpoint:
    """Read what `save` wrote.

    Version, spec, names, shapes and dtypes are checked before weights are read; nothing in the file is evaluated, and a
    model is built only where the file is large enough to hold its weights.

    Args:
        path: the file.
        model: take the weights into this model instead of building the one that the file describes; nothing of it is
            changed where it does not fit.

    Raises:
        TypeError: if path or model is of another kind.
        OSError: if the file cannot be read.
        MemoryError: if memory does not suffice for the weights.
        ValueError: if it is no regular file, no safetensors file, not one of fastdl's or of a newer version, or does not fit
            together.

    Example:
        See `save`.
    """
    if model is not None and not isinstance(model, Module):
        raise InvalidTypeError("load", "a fastdl Module or None", type(model).__name__, argument="model")
    path = as_path(path, "load")
    with reading(path) as (file, words, shapes):
        shapes = {name: entry for name, entry in shapes.items() if not name.startswith(TRAINING)}
        checkpoint = described(words, shapes, model, path)
        checkpoint.model.load_state_dict(read_entries(file, shapes, path))
    return checkpoint


def read_entries(file: TensorFile, names: Iterable[str], path: Path, owner: str = "load") -> dict[str, NDArray[Any]]:
    """The arrays of these entries.

    Raises:
        ValueError: if one is of no dtype or shape that NumPy has, or the file has been cut meanwhile.
    """
    arrays = {}
    for name in names:
        try:
            arrays[name] = file.read(name)
        except ValueError as error:  # a shape with a zero whose other sizes no array may have, for one
            raise ValueError(f"{owner}: the entry {short(name)} of {path} cannot be read: {error}") from None
    return arrays


@contextlib.contextmanager
def reading(path: Path, owner: str = "load") -> Iterator[tuple[TensorFile, dict[str, Any], Shapes]]:
    """A safetensors file of fastdl's, what `save` wrote into its metadata, and the shape and dtype of each entry.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is none, or of a newer version.
    """
    with tensor_file.opened(path, owner) as file:
        shapes = {name: (entry.shape, entry.dtype) for name, entry in file.entries.items()}
        yield file, _words(file.metadata, path), shapes


def _words(metadata: dict[str, str], path: Path) -> dict[str, Any]:
    """What `save` wrote into the metadata."""
    if "fastdl" not in metadata:
        raise InvalidValueError(
            "load",
            "a file that fastdl.save wrote",
            f"{path} without fastdl's metadata",
            "for weights that torch wrote, write model.load_state_dict(fastdl.load_torch(path))",
        )
    try:
        words = json.loads(metadata["fastdl"])
    except (ValueError, RecursionError):
        words = None
    if not isinstance(words, dict):
        text = metadata["fastdl"][:80]
        raise InvalidValueError("load", f"a JSON object as fastdl's metadata in {path}", shown(text))
    version = words.get("format_version")
    if type(version) is not int or version < 1:
        raise InvalidValueError("load", f"a format version in {path}", shown(version))
    if version > FORMAT_VERSION:
        raise InvalidValueError(
            "load", f"format version {FORMAT_VERSION} or older", f"{shown(version)} in {path}", "update fastdl"
        )
    return words


def described(words: dict[str, Any], shapes: Shapes, model: Module | None, path: Path) -> Checkpoint:
    """The checkpoint that the metadata describe, its model without the weights yet, when the entries fit it."""
    scaling, target_scaling = (_scaling(words, name, path) for name in ("scaling", "target_scaling"))
    classes, features = (_names(words, name, path) for name in ("classes", "features"))
    metadata = words.get("metadata", {})
    if not (isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())):
        raise InvalidValueError("load", f"a dictionary of strings as the metadata of {path}", shown(metadata))
    for name, (_, dtype) in shapes.items():
        if dtype not in DTYPES:
            raise InvalidValueError("load", f"entries of {', '.join(DTYPES)} in {path}", f"{short(name)} of {dtype}")
    if model is None:
        model = _build(words, shapes, path)
    own = {name: (array.shape, array.dtype) for name, array in model.state_dict().items()}
    found = {name: (shape, DTYPES[dtype]) for name, (shape, dtype) in shapes.items()}
    faults = [f"{name} is missing" for name in own if name not in found]
    faults += [f"{short(name)} is unexpected" for name in found if name not in own]
    for name in own.keys() & found.keys():
        if own[name] != found[name]:
            faults.append(f"{name} is {_spelled(*found[name])} where the model has {_spelled(*own[name])}")
    if faults:
        more = f", and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise ValueError(f"load: {path} does not fit the model: {'; '.join(sorted(faults)[:5])}{more}")
    return Checkpoint(model, scaling, target_scaling, classes, features, metadata)


def _scaling(words: dict[str, Any], name: str, path: Path) -> Standardize | None:
    if name not in words:
        return None
    scaling = Standardize()
    try:
        scaling.load_state_dict({key: np.asarray(value, np.float64) for key, value in words[name].items()})
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"load: expected mean and std as the {name} of {path}: {error}") from None
    return scaling


def _names(words: dict[str, Any], name: str, path: Path) -> tuple[str, ...] | None:
    names = words.get(name)
    if names is None:
        return None
    if not (isinstance(names, list) and all(isinstance(each, str) for each in names)):
        raise InvalidValueError("load", f"a list of strings as the {name} of {path}", shown(names))
    return tuple(names)


def _build(words: dict[str, Any], shapes: Shapes, path: Path) -> Module:
    spec = words.get("spec")
    if spec is None:
        raise ValueError(
            f"load: {path} holds weights without a spec, as a layer of its model is not fastdl's own;"
            " write load(path, model=...)"
        )
    elements = sum(math.prod(shape) for shape, _ in shapes.values())
    try:
        _refuse_oversize(spec, elements)
        model = nn.from_spec({"model": spec})
    except (TypeError, ValueError, RecursionError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, MemoryError):  # what the spec asks for has been held against the file
            raise MemoryError(f"load: expected memory for the model in {path}: {cause}") from None
        raise ValueError(f"load: the spec in {path} cannot be built: {error}") from None
    wide = any(dtype == "F64" for _, dtype in shapes.values())
    return model.astype(np.float64) if wide else model


def _refuse_oversize(spec: Any, elements: int) -> None:
    """Refuse a spec whose layers would have more weights than the file, before they are allocated."""
    asked = sum(declared_elements(text) * count for text, count in Counter(_strings(spec)).items())
    if asked > elements + 2**16:  # of a small excess more can be said once the model is there
        raise ValueError(f"it asks for up to {asked} weights where the file has {elements}")


def _strings(spec: Any) -> Iterator[str]:
    if isinstance(spec, str):
        yield spec[:100_000]
    elif isinstance(spec, list):
        for entry in spec:
            yield from _strings(entry)


def _spelled(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    return f"{dtype} of shape {shape}"
