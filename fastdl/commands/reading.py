"""Files read as a model knows its data: columns by name, classes in its own order, rows of its shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastdl.checkpoint import Checkpoint
from fastdl.data import Dataset, load_data, load_inputs
from fastdl.data.columns import Table
from fastdl.data.dialect import Options
from fastdl.data.files import file_kind
from fastdl.door import weights_dtype

MOST_NAMED = 10
# What the readers advise in Python, and how it is written on the command line.
ADVICE = {
    "write header=True if these are names": "write --target NAME if these are names",
    "write classes=True": "write --kind classes",
    "write values as floats": "save values as floats",
}


@dataclass(frozen=True)
class Layout:
    """What a model knows of its data.

    Attributes:
        shape: of the inputs of one row; None where it is not known.
        features: the names of the columns; None where there are none.
        classes: their names in order; None for values.
        target: the name of the column that tells the class or value; None where it has none.
        dtype: of inputs and values.
    """

    shape: tuple[int, ...] | None
    features: tuple[str, ...] | None
    classes: tuple[str, ...] | None
    target: str | None
    dtype: Any

    @classmethod
    def of_data(cls, found: Dataset) -> Layout:
        """What a model that learns from these data will know."""
        return cls(found.x.shape[1:], found.features, found.classes, found.target, found.x.dtype)

    @classmethod
    def of_model(cls, saved: Checkpoint) -> Layout:
        """What the model in a file knows."""
        mean = None if saved.scaling is None else saved.scaling.mean
        shape = None if mean is None else mean.shape
        return cls(shape, saved.features, saved.classes, saved.metadata.get("target"), weights_dtype(saved.model))


def load(files: Sequence[Path], **options: Any) -> Dataset:
    """What `load_data` gives, its advice in the command line's words."""
    try:
        return load_data(*files, **options)
    except ValueError as error:
        message = str(error)
        for python, words in ADVICE.items():
            message = message.replace(python, words)
        raise ValueError(message) from None


def read(files: Sequence[Path], layout: Layout, target: int | str | None = None) -> Dataset:
    """Data with answers, as a model knows them: its columns in its order, its classes by its numbers.

    Args:
        files: as for `load_data`.
        layout: what the model knows.
        target: the column of a CSV file that holds the answers; None for the one that the model learned to tell where
            columns have names, else for the last.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if columns, shapes or classes are others; what the readers say.
    """
    options: dict[str, Any] = {} if target is None else {"target": target}
    if len(files) == 1 and file_kind(files[0], "--data") == "CSV":
        columns = _columns(files[0], layout)
        if columns and target is None and layout.target is not None:
            options["target"] = layout.target
        options |= {"columns": columns, "classes": layout.classes or False}
    found = load(files, **options, dtype=layout.dtype)
    where = ", ".join(map(str, files))
    check_shape(found.x, layout, where)
    return Dataset(found.x, as_known(found, layout, where), layout.classes, layout.features, layout.target)


def read_inputs(path: Path, layout: Layout) -> np.ndarray:
    """Inputs alone, as a model knows them; columns that it does not know are left out where they have names.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if columns or shapes are others; what the readers say.
    """
    columns = _columns(path, layout) if file_kind(path, "--data") == "CSV" else None
    x = load_inputs(path, columns=columns, dtype=layout.dtype)
    check_shape(x, layout, str(path))
    return x


def check_shape(x: np.ndarray, layout: Layout, where: str) -> None:
    """Raise a ValueError unless the rows of x have the shape that the model knows."""
    if layout.shape is not None and x.shape[1:] != layout.shape:
        wanted = f"rows of {spelled(layout.shape)}, as the model learned from"
        raise ValueError(f"expected {wanted}, got {spelled(x.shape[1:])} in {where}")


def as_known(found: Dataset, layout: Layout, where: str) -> np.ndarray:
    """The answers: values, or classes by the numbers that the model has for their names."""
    if found.classes is None:
        if layout.classes is not None:
            raise ValueError(f"expected classes to tell, as the model learned, got values in {where}")
        return found.y
    if layout.classes is None:
        raise ValueError(f"expected values to tell, as the model learned, got classes in {where}")
    y = class_a_row(found.y, where)
    place = {name: i for i, name in enumerate(layout.classes)}
    unknown = [found.classes[i] for i in np.unique(y) if found.classes[i] not in place]
    if unknown:
        wanted = f"classes among {named(layout.classes)}, as the model learned"
        raise ValueError(f"expected {wanted}, got {named(unknown)} in {where}")
    return np.array([place.get(name, 0) for name in found.classes], np.int64)[y]


def class_a_row(y: np.ndarray, where: str) -> np.ndarray:
    """Class numbers in one dimension; a ValueError where a row has several."""
    if y.size != len(y):
        raise ValueError(f"expected one class a row in {where}, got y of shape {y.shape}")
    return y.reshape(-1)


def spelled(shape: tuple[int, ...]) -> str:
    """A row's shape in words.

    Example:
        >>> spelled((4,)), spelled((1,)), spelled((1, 8, 8))
        ('4 columns', '1 column', '1 x 8 x 8')
    """
    if len(shape) != 1:
        return " x ".join(map(str, shape)) or "one value"
    return f"{shape[0]} column{'s' * (shape[0] != 1)}"


def named(names: Sequence[str]) -> str:
    """The first names of a list, quoted.

    Example:
        >>> named(["cat", "dog"])
        "'cat', 'dog'"
    """
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(repr(name[:40]) for name in names[:MOST_NAMED]) + more


def _columns(path: Path, layout: Layout) -> tuple[str, ...] | None:
    """The names of the columns to read, where both the model and the file have names."""
    if layout.features is None:
        return None
    first = Table(path, "--data", Options(header=True)).names or ()
    if set(layout.features) <= set(first):
        return layout.features
    if Table(path, "--data").names is None:
        return None
    missing = [name for name in layout.features if name not in first]
    wanted = f"the column{'s' * (len(missing) > 1)} {named(missing)}"
    raise ValueError(f"expected {wanted} in {path}, as the model learned from, got {named(first)}")
