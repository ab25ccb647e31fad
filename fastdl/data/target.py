"""The target column of a table: classes or values, and the names of classes, which never pass through floats."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fastdl.data.columns import SHOWN, Table
from fastdl.data.numbers import WHOLE, exactly, finite_as, pointed, rounded_whole, sorted_by_value
from fastdl.messages import Advice, Argument

MOST_WHOLE_CLASSES = 20


class Target:
    """The cells of the target column, with the line of each."""

    def __init__(self, table: Table, column: int, lines: Sequence[int], cells: list[str]) -> None:
        self.table, self.column, self.lines, self.cells = table, column, lines, cells
        self.numbers = {cell: table.number(cell) for cell in cells}
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
            hint = None
            if kind == "a word" and self.table.may_begin_with_names(self.lines[0]):
                hint = Advice("write ", Argument("header", True), f" if line {self.lines[0]} holds names")
            made = Advice("write ", Argument("classes", True), " to make classes of both")
            wanted = Advice(f"{kind} as in line {self.lines[0]} (", made, ")")
            raise self._error(wanted, other, hint)
        if classes is False or (classes is None and not self.words and not self._few()):
            return self._values(dtype), None
        return self._indices(classes if isinstance(classes, tuple) else None)

    def _few(self) -> bool:
        if not all(value is not None and value.is_integer() for value in self.numbers.values()):
            return False
        spelled = {self._spelled(cell) for cell in self.numbers}
        return len(spelled) <= MOST_WHOLE_CLASSES and all(WHOLE.fullmatch(each) for each in spelled)

    def _values(self, dtype: np.dtype) -> np.ndarray:
        if self.words:
            raise self._error("a number", self.words[0])
        values = np.array([[self.numbers[cell]] for cell in self.cells], np.float64)
        y, wrong = finite_as(values, dtype)
        if wrong:
            raise self._error(f"a finite {dtype.name}", self.cells[wrong[0]])
        for row, _ in rounded_whole(values, dtype):
            if WHOLE.fullmatch(self.cells[row]):
                wanted = f"a whole number that {dtype.name} holds exactly"
                raise self._error(wanted, self.cells[row], "write dtype=np.float64")
        return y

    def _indices(self, given: tuple[str, ...] | None) -> tuple[np.ndarray, tuple[str, ...]]:
        """A number is spelled in one way, so that 1, 1.0 and 01 are one class; beside words it is one itself."""
        for cell, value in self.numbers.items():
            if not (self.words or value is None or math.isfinite(value)):
                raise self._error("a finite number", cell)
        spelled = {cell: cell if self.words else self._spelled(cell) for cell in self.numbers}
        names = given or tuple(sorted(set(spelled.values())) if self.words else sorted_by_value(set(spelled.values())))
        index = {name: i for i, name in enumerate(names)}
        found = {cell: index.get(cell, index.get(name)) for cell, name in spelled.items()}
        for cell, place in found.items():
            if place is None:
                listed = ", ".join(repr(name[:SHOWN]) for name in names[:MOST_WHOLE_CLASSES])
                raise self._error(f"one of the classes {listed}", cell)
        return np.array([found[cell] for cell in self.cells], np.int64), names

    def _spelled(self, cell: str) -> str:
        """The one spelling of the number in a cell; it is finite."""
        dialect = self.table.dialect
        return exactly(pointed(cell, dialect.decimal, dialect.grouped) or cell)

    def _error(self, wanted: str, cell: str, hint: str | None = None) -> ValueError:
        return self.table.error(wanted, self.lines[self.cells.index(cell)], self.column, cell, hint)
