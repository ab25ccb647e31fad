"""CSV files as data sets: which column is the target, and whether it tells classes or values."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastdl.data.columns import DELIMITER_HINT, Table
from fastdl.data.dataset import Dataset
from fastdl.data.dialect import Options
from fastdl.data.format import Format
from fastdl.data.target import Target
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import shown
from fastdl.validation import as_float_dtype


def read_csv(
    path: str | os.PathLike[str],
    target: int | str = -1,
    *,
    columns: Sequence[int | str] | None = None,
    classes: bool | Sequence[str] | None = None,
    delimiter: str | None = None,
    header: bool | None = None,
    dtype: npt.DTypeLike = np.float32,
    drop: Sequence[int | str] | None = None,
    decimal: str | None = None,
    comment: str | None = None,
    encoding: str | None = None,
) -> Dataset:
    """The rows of a CSV file: one column is the target, the others are numbers to predict it from.

    A target of words is classes, sorted by name. A target of whole numbers, at most 20 different ones, is classes too,
    sorted by number. Any other target of numbers is values. `classes` says otherwise where that is wrong. The names of
    classes are exact, whatever the size of the numbers.

    Args:
        path: the file, plain or gzipped; cells may stand in double quotes, and empty lines are skipped.
        target: the column by number, from 0 or from the end, or by name.
        columns: those to predict from, by number or name and in this order; what else there is may hold anything. None
            for all but the target and an index without a name, as `pandas.DataFrame.to_csv` writes it.
        classes: True for classes and False for values, whatever stands there; the names of the classes in order, as an
            earlier file had them; None for the rule above.
        delimiter: one character; None for the comma, semicolon, tab, bar or space that cuts the first rows evenly, and
            into the largest share of numbers. An empty cell behind a delimiter at the end of every line is none.
        header: whether the first row holds the columns' names; None where no cell of it is a number, or where it is
            numbers unlike those below, such as years.
        dtype: float32 or float64, of inputs and values.
        drop: columns to leave out, by number or name.
        decimal: the mark in numbers, "." or ","; None for the one that is found.
        comment: what begins a comment, up to the end of the line; "" for no comments; None for lines that begin with #.
        encoding: of the text, as Python calls it; None for UTF-8, UTF-16 and UTF-32, else Windows-1252.

    Shapes:
        x (n, columns); y (n,) of int64 for classes, (n, 1) for values.

    Raises:
        TypeError: if an argument is of another kind.
        OSError: if the file cannot be read.
        ValueError: with line and column, if the file is no text, a row has another length, a cell is empty or should
            be a finite number and is none (or a whole one that the dtype would round), or a class is not among `classes`;
            if there is no row or no such column; if what was not said may be read in two ways.

    Warns:
        UserWarning: of what was guessed: an index left out, two names alike, names in a comment, Windows-1252.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "iris.csv")
        ...     _ = path.write_text("length,width,kind\\n5.1,3.5,setosa\\n7.0,3.2,versicolor\\n6.4,3.2,versicolor\\n")
        ...     iris = read_csv(path)
        >>> iris.x.shape, iris.y, iris.classes, iris.features
        ((3, 2), array([0, 1, 1]), ('setosa', 'versicolor'), ('length', 'width'))

    Source: RFC 4180.
    """
    dtype = as_float_dtype(dtype, "read_csv")
    if not (classes is None or isinstance(classes, bool)):
        classes = _names(classes)
    _check_columns(columns, "read_csv")
    given = {"delimiter": delimiter, "header": _implied(header, target, *(columns or ()), *_listed(drop))}
    given |= {"decimal": decimal, "comment": comment, "encoding": encoding, "drop": drop}
    table = Table(path, "read_csv", Options.checked("read_csv", **given))
    column = table.column(target, "target")
    chosen = table.chosen(columns, column)
    if not chosen:
        hint = None if delimiter or table.width > 1 else DELIMITER_HINT
        raise InvalidValueError("read_csv", f"at least one column beside the target in {table.path}", "none", hint)
    if column in chosen:
        raise InvalidValueError("read_csv", "columns without the target", f"{shown(target)} in both")
    x, cells, lines = table.numbers(chosen, column, dtype, columns is None)
    y, names = Target(table, column, lines, [cell.strip() for cell in cells]).read(classes, dtype)
    table.warn()
    if table.names is None:
        return Dataset(x, y, names)
    return Dataset(x, y, names, tuple(table.names[i] for i in chosen), table.names[column])


def read_columns(
    path: str | os.PathLike[str],
    columns: Sequence[int | str] | None = None,
    *,
    delimiter: str | None = None,
    header: bool | None = None,
    dtype: npt.DTypeLike = np.float32,
    drop: Sequence[int | str] | None = None,
    decimal: str | None = None,
    comment: str | None = None,
    encoding: str | None = None,
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """The numbers in columns of a CSV file, and their names: inputs without a target, to predict from.

    Args:
        path: the file, as for `read_csv`.
        columns: which, by number or name and in this order; others may hold anything. None for all but an index.
        delimiter, header, dtype, drop, decimal, comment, encoding: as for `read_csv`.

    Shapes:
        (n, columns).

    Raises:
        TypeError, OSError, ValueError: as `read_csv`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "iris.csv")
        ...     _ = path.write_text("length,width,kind\\n5.1,3.5,setosa\\n7.0,3.2,versicolor\\n")
        ...     read_columns(path, ["width"])
        (array([[3.5],
               [3.2]], dtype=float32), ('width',))

    Source: RFC 4180.
    """
    dtype = as_float_dtype(dtype, "read_columns")
    _check_columns(columns, "read_columns")
    given = {"delimiter": delimiter, "header": _implied(header, *(columns or ()), *_listed(drop))}
    given |= {"decimal": decimal, "comment": comment, "encoding": encoding, "drop": drop}
    table = Table(path, "read_columns", Options.checked("read_columns", **given))
    chosen = table.chosen(columns)
    if not chosen:
        raise InvalidValueError("read_columns", f"at least one column in {table.path}", "all of them to drop")
    x, _, _ = table.numbers(chosen, None, dtype, columns is None)
    table.warn()
    return x, tuple(table.names[i] for i in chosen) if table.names else None


def _names(classes: object) -> tuple[str, ...]:
    if isinstance(classes, str) or not isinstance(classes, Sequence) or not all(isinstance(n, str) for n in classes):
        raise InvalidTypeError("read_csv", "True, False, None or a list of names for classes", shown(classes))
    if not classes or len(set(classes)) < len(classes):
        raise InvalidValueError("read_csv", "different names for classes", shown(list(classes)))
    return tuple(classes)


def _check_columns(columns: object, owner: str) -> None:
    if columns is None:
        return
    if isinstance(columns, str) or not isinstance(columns, Sequence):
        raise InvalidTypeError(owner, "a list of columns or None", shown(columns), argument="columns")
    if not columns:
        raise InvalidValueError(owner, "at least one column", "none")


def _implied(header: bool | None, *columns: object) -> bool | None:
    return True if header is None and any(isinstance(column, str) for column in columns) else header


def _listed(drop: object) -> tuple[object, ...]:
    """The columns to drop; none where that is no list, which is an error later."""
    return tuple(drop) if isinstance(drop, Sequence) and not isinstance(drop, str) else ()


def _read(paths: Sequence[Path], dtype: np.dtype[Any], options: Mapping[str, Any], listed: str) -> Dataset:
    given = {name: value for name, value in options.items() if name in FORMAT.options and name != "target"}
    target = -1 if options["target"] is None else options["target"]
    return read_csv(paths[0], target, dtype=dtype, **given)


def _read_inputs(path: Path, dtype: np.dtype[Any], options: Mapping[str, Any]) -> np.ndarray:
    given = {name: value for name, value in options.items() if name in FORMAT.options and name != "columns"}
    return read_columns(path, options["columns"], dtype=dtype, **given)[0]


FORMAT = Format(
    name="CSV",
    suffix=None,
    detect=None,
    files=1,
    options=frozenset(
        ("target", "columns", "classes", "delimiter", "header", "drop", "decimal", "comment", "encoding")
    ),
    read=_read,
    read_inputs=_read_inputs,
)
