"""CSV files as data sets: which column is the target, and whether it tells classes or values."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fastdl.arguments import as_float_dtype
from fastdl.data.dataset import Dataset
from fastdl.data.records import SHOWN, Table, finite_as, number

MOST_WHOLE_CLASSES = 20


def read_csv(
    path: str | os.PathLike[str],
    target: int | str = -1,
    *,
    columns: Sequence[int | str] | None = None,
    classes: bool | Sequence[str] | None = None,
    delimiter: str | None = None,
    header: bool | None = None,
    dtype: npt.DTypeLike = np.float32,
) -> Dataset:
    """The rows of a CSV file: one column is the target, the others are numbers to predict it from.

    A target of words is classes, sorted by name. A target of whole numbers, at most 20 different ones, is classes too,
    sorted by number. Any other target of numbers is values. `classes` says otherwise where that is wrong.

    Args:
        path: the file, in UTF-8; cells may stand in double quotes, and empty lines are skipped.
        target: the column by number, from 0 or from the end, or by name.
        columns: those to predict from, by number or name and in this order; what else there is may hold anything. None
            for all but the target.
        classes: True for classes and False for values, whatever stands there; the names of the classes in order, as an
            earlier file had them; None for the rule above.
        delimiter: a comma, semicolon, tab or space; None for the one that cuts the first 20 rows evenly, and into the
            most numbers.
        header: whether the first row holds the columns' names; None where it does unless a cell of it is a number.
        dtype: float32 or float64, of inputs and values.

    Shapes:
        x (n, columns); y (n,) of int64 for classes, (n, 1) for values.

    Raises:
        TypeError: if an argument is of another kind.
        OSError: if the file cannot be read.
        ValueError: with line and column, if the file is not UTF-8, a row has another length, a cell is empty or should
            be a finite number and is none, or a class is not among `classes`; if there is no row or no such column.

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
    table = Table(path, "read_csv", delimiter, _implied(header, target, *(columns or ())))
    column = table.column(target, "target")
    chosen = [i for i in range(table.width) if i != column] if columns is None else _chosen(table, columns)
    if not chosen:
        raise ValueError(f"read_csv: expected at least one column beside the target in {table.path}, got none")
    if column in chosen:
        raise ValueError(f"read_csv: expected columns without the target, got {target!r} in both")
    x, cells, lines = table.numbers(chosen, column, dtype)
    y, names = _Target(table, column, lines, [cell.strip() for cell in cells]).read(classes, dtype)
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
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """The numbers in columns of a CSV file, and their names: inputs without a target, to predict from.

    Args:
        path: the file, as for `read_csv`.
        columns: which, by number or name and in this order; others may hold anything. None for all.
        delimiter, header, dtype: as for `read_csv`.

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
    table = Table(path, "read_columns", delimiter, _implied(header, *(columns or ())))
    chosen = range(table.width) if columns is None else _chosen(table, columns)
    x, _, _ = table.numbers(chosen, None, dtype)
    return x, tuple(table.names[i] for i in chosen) if table.names else None


class _Target:
    """The cells of the target column, with the line of each."""

    def __init__(self, table: Table, column: int, lines: Sequence[int], cells: list[str]) -> None:
        self.table, self.column, self.lines, self.cells = table, column, lines, cells
        self.numbers = {cell: number(cell) for cell in cells}
        self.words = [cell for cell, value in self.numbers.items() if value is None]

    def read(
        self, classes: bool | tuple[str, ...] | None, dtype: np.dtype
    ) -> tuple[np.ndarray, tuple[str, ...] | None]:
        """Class indices with the classes' names, or values and None."""
        if "" in self.numbers:
            raise self._error("a target", "")
        if classes is None and 0 < len(self.words) < len(self.numbers):
            kind = "a number" if self.numbers[self.cells[0]] is not None else "a word"
            other = next(cell for cell in self.cells if (self.numbers[cell] is None) == (kind == "a number"))
            raise self._error(f"{kind} as in line {self.lines[0]} (write classes=True to make classes of both)", other)
        if classes is False or (classes is None and not self.words and not self._few()):
            return self._values(dtype), None
        return self._indices(classes if isinstance(classes, tuple) else None)

    def _few(self) -> bool:
        values = set(self.numbers.values())
        return len(values) <= MOST_WHOLE_CLASSES and all(value is not None and value.is_integer() for value in values)

    def _values(self, dtype: np.dtype) -> np.ndarray:
        if self.words:
            raise self._error("a number", self.words[0])
        y, wrong = finite_as(np.array([[self.numbers[cell]] for cell in self.cells], np.float64), dtype)
        if wrong:
            raise self._error(f"a finite {dtype.name}", self.cells[wrong[0]])
        return y

    def _indices(self, given: tuple[str, ...] | None) -> tuple[np.ndarray, tuple[str, ...]]:
        """A number is spelled in one way, so that 1, 1.0 and 01 are one class; beside words it is one itself."""
        for cell, value in self.numbers.items():
            if not (self.words or value is None or math.isfinite(value)):
                raise self._error("a finite number", cell)
        spelled = {
            cell: cell if self.words or value is None else _spelled(value) for cell, value in self.numbers.items()
        }
        names = given or tuple(sorted(set(spelled.values()), key=None if self.words else float))
        index = {name: i for i, name in enumerate(names)}
        found = {cell: index.get(cell, index.get(name)) for cell, name in spelled.items()}
        for cell, place in found.items():
            if place is None:
                listed = ", ".join(repr(name[:SHOWN]) for name in names[:MOST_WHOLE_CLASSES])
                raise self._error(f"one of the classes {listed}", cell)
        return np.array([found[cell] for cell in self.cells], np.int64), names

    def _error(self, wanted: str, cell: str) -> ValueError:
        return self.table.error(wanted, self.lines[self.cells.index(cell)], self.column, cell)


def _spelled(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _names(classes: object) -> tuple[str, ...]:
    if isinstance(classes, str) or not isinstance(classes, Sequence) or not all(isinstance(n, str) for n in classes):
        raise TypeError(f"read_csv: expected True, False, None or a list of names for classes, got {classes!r}")
    if not classes or len(set(classes)) < len(classes):
        raise ValueError(f"read_csv: expected different names for classes, got {list(classes)}")
    return tuple(classes)


def _check_columns(columns: object, owner: str) -> None:
    if columns is None:
        return
    if isinstance(columns, str) or not isinstance(columns, Sequence):
        raise TypeError(f"{owner}: expected a list of columns or None for columns, got {columns!r}")
    if not columns:
        raise ValueError(f"{owner}: expected at least one column, got none")


def _chosen(table: Table, columns: Sequence[int | str]) -> list[int]:
    return [table.column(key, "columns") for key in columns]


def _implied(header: bool | None, *columns: object) -> bool | None:
    return True if header is None and any(isinstance(column, str) for column in columns) else header
