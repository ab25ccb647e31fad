"""Files read as a model knows its data: columns by name, classes in its own order, rows of its shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastdl.commands.tables import in_words, recalled
from fastdl.data import Dataset, load_data, load_inputs
from fastdl.data.columns import Table
from fastdl.data.dialect import Options
from fastdl.data.files import exact_dtype, format_of
from fastdl.data.npz import has_parts
from fastdl.errors import InvalidValueError
from fastdl.serialization.model_file import Checkpoint

MOST_NAMED = 10
# What is said of how a table is written.
WRITTEN = ("header", "delimiter", "decimal", "comment", "encoding")


@dataclass(frozen=True)
class Layout:
    """What a model knows of its data.

    Attributes:
        shape: of the inputs of one row; None where it is not known.
        features: the names of the columns; None where there are none.
        classes: their names in order; None for values.
        target: the name of the column that tells the class or value; None where it has none.
        said: what was said of the files, as `load_data` takes it; of a table without names also its `width`, the `places` of
            its inputs and that of its `answers`.
        now: what is said of the file to read, which counts first.
    """

    shape: tuple[int, ...] | None
    features: tuple[str, ...] | None
    classes: tuple[str, ...] | None
    target: str | None
    said: Mapping[str, Any] = field(default_factory=dict)
    now: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_data(cls, found: Dataset, said: Mapping[str, Any]) -> Layout:
        """What a model that learns from these data will know."""
        return cls(found.x.shape[1:], found.features, found.classes, found.target, said)

    @classmethod
    def of_model(cls, saved: Checkpoint, now: Mapping[str, Any]) -> Layout:
        """What the model in a file knows, and what is said of the file to read."""
        mean = None if saved.scaling is None else saved.scaling.mean
        shape = None if mean is None else mean.shape
        said = recalled(saved.metadata)
        return cls(shape, saved.features, saved.classes, saved.metadata.get("target"), said, now)


def load(files: Sequence[Path], **options: Any) -> Dataset:
    """What `load_data` gives, nothing of it rounded before it is standardized, its advice in the command line's words."""
    with in_words():
        return load_data(*files, **options, dtype=exact_dtype(files, "--data"))


def places(path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Where a table without names has its inputs and its answers; nothing for other files."""
    if format_of(path, "--data").name != "CSV":
        return {}
    with in_words():
        table = Table(path, "--data", _written(options, drop=options.get("drop")))
        answers = table.column(options.get("target", -1), "target")
        inputs = table.chosen(options.get("columns"), answers)
    return {"width": table.width, "places": inputs, "answers": answers}


def read(files: Sequence[Path], layout: Layout, target: int | str | None = None) -> Dataset:
    """Data with answers, as a model knows them: its columns in its order, its classes by its numbers.

    Args:
        files: as for `load_data`.
        layout: what the model knows.
        target: the column of a CSV file that holds the answers; None for the one that the model learned to tell where
            columns have names, else for the one of that place, or the last.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if columns, shapes or classes are others; what the readers say.
    """
    options = _options(files[0], layout)
    if target is not None:
        options["target"] = target
    if len(files) == 1 and format_of(files[0], "--data").name == "CSV":
        options |= {"classes": layout.classes or False}
    else:
        options.pop("target", None)
    found = load(files, **options)
    where = ", ".join(map(str, files))
    check_shape(found.x, layout, where)
    return Dataset(found.x, as_known(found, layout, where), layout.classes, layout.features, layout.target)


def read_inputs(path: Path, layout: Layout) -> np.ndarray:
    """Inputs alone, as a model knows them; columns that it does not know are left out where they have names.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if columns or shapes are others; what the readers say.
    """
    options = _options(path, layout)
    options.pop("target", None)
    with in_words():
        x = load_inputs(path, **options, dtype=exact_dtype([path], "--data"))
    check_shape(x, layout, str(path))
    return x


def check_shape(x: np.ndarray, layout: Layout, where: str) -> None:
    """Raise a ValueError unless the rows of x have the shape that the model knows."""
    if layout.shape is not None and x.shape[1:] != layout.shape:
        wanted = f"rows of {spelled(layout.shape)}, as the model learned from"
        raise InvalidValueError(None, wanted, f"{spelled(x.shape[1:])} in {where}")


def as_known(found: Dataset, layout: Layout, where: str) -> np.ndarray:
    """The answers: values, or classes by the numbers that the model has for their names."""
    if found.classes is None:
        if layout.classes is not None:
            raise InvalidValueError(None, "classes to tell, as the model learned", f"values in {where}")
        return found.y
    if layout.classes is None:
        raise InvalidValueError(None, "values to tell, as the model learned", f"classes in {where}")
    y = class_a_row(found.y, where)
    place = {name: i for i, name in enumerate(layout.classes)}
    unknown = [found.classes[i] for i in np.unique(y) if found.classes[i] not in place]
    if unknown:
        wanted = f"classes among {named(layout.classes)}, as the model learned"
        raise InvalidValueError(None, wanted, f"{named(unknown)} in {where}")
    return np.array([place.get(name, 0) for name in found.classes], np.int64)[y]


def class_a_row(y: np.ndarray, where: str) -> np.ndarray:
    """Class numbers in one dimension; a ValueError where a row has several."""
    if y.size != len(y):
        raise InvalidValueError(None, f"one class a row in {where}", f"y of shape {y.shape}")
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


def _options(path: Path, layout: Layout) -> dict[str, Any]:
    """How to read a file: what is said of it, what was said of the model's own files, and where the model's columns are."""
    kind = format_of(path, "--data").name
    if kind != "CSV":
        said = {name: layout.said[name] for name in ("layout",) if name in layout.said and kind != ".bin"}
        part = {"part": "test"} if kind == ".npz" and has_parts(path) else {}
        return said | part | dict(layout.now)
    said = {name: layout.said[name] for name in WRITTEN if name in layout.said} | dict(layout.now)
    if "columns" in said:
        return said if layout.target is None else said | {"target": layout.target}
    if layout.features is not None:
        with in_words():
            return said | _by_name(path, layout, said)
    with in_words():
        table = Table(path, "--data", _written(said))
    if "drop" not in said and table.width == layout.said.get("width"):
        return said | {"columns": layout.said.get("places"), "target": layout.said.get("answers", -1)}
    return said


def _by_name(path: Path, layout: Layout, said: Mapping[str, Any]) -> dict[str, Any]:
    """Where the columns are, where both the model and the file have names."""
    assert layout.features is not None
    table = Table(path, "--data", _written(said, header=True))
    first = table.names or ()
    if set(layout.features) <= set(first):
        known = {*layout.features, layout.target, *layout.said.get("drop", ())}
        for name in layout.features if "columns" not in layout.said else ():
            if not known.issuperset(table.alike(name)):
                table.column(name, "columns")  # two of one name where the model has learned from one
        found: dict[str, Any] = {"columns": [first.index(name) for name in layout.features], "header": True}
        return found | ({} if layout.target is None else {"target": layout.target})
    if said.get("header") is False or Table(path, "--data", _written(said)).names is None:
        return {}
    missing = [name for name in layout.features if name not in first]
    wanted = f"the column{'s' * (len(missing) > 1)} {named(missing)}"
    raise InvalidValueError(None, f"{wanted} in {path}, as the model learned from", named(first))


def _written(options: Mapping[str, Any], **more: Any) -> Options:
    return Options.checked("--data", **{name: options[name] for name in WRITTEN if name in options} | more)
