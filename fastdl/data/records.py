"""Text files of rows and columns: their encoding, delimiter, header and numbers."""

from __future__ import annotations

import csv
import io
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from operator import itemgetter

import numpy as np

from fastdl.arguments import one_of, true_or_false
from fastdl.input_file import as_path, read_whole

DELIMITERS = (",", ";", "\t", " ")
SAMPLE = 20
SHOWN = 40


class Table:
    """A text file cut into rows of cells.

    Args:
        path: the file, in UTF-8.
        owner: who reads it, to open the messages.
        delimiter: one of DELIMITERS; None for the one that cuts the first rows evenly, and into the most numbers.
        header: whether the first row holds names; None where it does unless a cell of it is a number.

    Attributes:
        width: how many columns there are.
        names: of the columns, without the blanks around them; None where the file has none.
    """

    def __init__(
        self, path: str | os.PathLike[str], owner: str, delimiter: str | None = None, header: bool | None = None
    ) -> None:
        self.owner = owner
        if delimiter is not None:
            one_of(DELIMITERS, delimiter, "delimiter", owner)
        if header is not None:
            header = true_or_false(header, "header", owner)
        self.path = as_path(path, owner)
        self._content = self._text()
        self._delimiter = self._sniffed() if delimiter is None else delimiter
        first = next(self._records(self._delimiter), None)
        if first is None:
            raise ValueError(f"{owner}: expected rows in {self.path}, got none")
        self._first, cells = first
        self._guessed = header is None
        if header is None:
            header = all(number(cell) is None for cell in cells)
        self.width = len(cells)
        self.names = tuple(cell.strip() for cell in cells) if header else None

    def column(self, key: object, name: str) -> int:
        """The number from 0 of a column given by number, from either end, or by name."""
        if isinstance(key, str):
            found = [i for i, each in enumerate(self.names or ()) if each == key]
            if len(found) != 1:
                names = ", ".join(repr(each[:SHOWN]) for each in (self.names or ())[:SAMPLE]) or "none"
                wanted = f"one column of {self.path} (names: {names})"
                raise ValueError(f"{self.owner}: expected {name} to name {wanted}, got {key!r}")
            return found[0]
        if isinstance(key, bool) or not isinstance(key, (int, np.integer)):
            raise TypeError(f"{self.owner}: expected the number or the name of a column for {name}, got {key!r}")
        if not -self.width <= key < self.width:
            wanted = f"a column from {-self.width} to {self.width - 1} of {self.path}"
            raise ValueError(f"{self.owner}: expected {wanted} for {name}, got {key}")
        return int(key) % self.width

    def numbers(
        self, columns: Sequence[int], beside: int | None, dtype: np.dtype
    ) -> tuple[np.ndarray, list[str], Sequence[int]]:
        """The numbers in some columns, the text in the column beside them, and the line in which each row begins.

        Raises:
            ValueError: if there is no row, one has another length, or a cell is no finite number; with its place.
        """
        pick = _picker(columns)
        values, cells, lines = array("d"), [], array("q")
        for line, row in self._rows():
            if len(row) != self.width:
                wanted = f"{self.width} cells in {self.path}, line {line}, as in line {self._first}"
                raise ValueError(f"{self.owner}: expected {wanted}, got {len(row)}")
            picked = pick(row)
            text = "".join(picked)
            try:
                if "_" in text or not text.isascii():
                    raise ValueError  # float takes 1_000 and the digits of other scripts
                values.extend(map(float, picked))
            except ValueError:
                wrong = next(i for i in columns if number(row[i]) is None)
                raise self.error("a number", line, wrong, row[wrong]) from None
            lines.append(line)
            if beside is not None:
                cells.append(row[beside])
        if not lines:
            raise ValueError(f"{self.owner}: expected at least one row below the names in {self.path}, got none")
        x, wrong = finite_as(np.frombuffer(values).reshape(len(lines), len(columns)), dtype)
        if wrong:
            row, place = wrong
            raise self.error(f"a finite {dtype.name}", lines[row], columns[place], values[row * len(columns) + place])
        return x, cells, lines

    def error(self, wanted: str, line: int, column: int, got: str | float) -> ValueError:
        """What was wanted in a cell and what is there, with the cell's place."""
        name = f" ({self.names[column][:SHOWN]!r})" if self.names and self.names[column] else ""
        place = f"{self.path}, line {line}, column {column + 1}{name}"
        cell = (repr(got[:SHOWN]) if got.strip() else "an empty cell") if isinstance(got, str) else got
        hint = "; write header=True if these are names" if self._guessed and line == self._first else ""
        return ValueError(f"{self.owner}: expected {wanted} in {place}, got {cell}{hint}")

    def _text(self) -> bytes:
        content = read_whole(self.path, self.owner)
        at = content.find(b"\0")
        if not content.isascii():
            try:
                content.decode()
            except UnicodeDecodeError as error:
                at = error.start if at < 0 else min(at, error.start)
        if at >= 0:
            line, byte = content.count(b"\n", 0, at) + 1, at - content.rfind(b"\n", 0, at)
            place = f"{self.path}, line {line}, byte {byte}"
            raise ValueError(f"{self.owner}: expected text in UTF-8 in {place}, got the byte 0x{content[at]:02x}")
        return content

    def _sniffed(self) -> str:
        def merit(delimiter: str) -> tuple[bool, int, int]:
            rows = []
            with suppress(ValueError):  # what is malformed is told when all rows are read
                rows.extend(row for _, row in islice(self._records(delimiter), SAMPLE))
            widths = {len(row) for row in rows}
            found = sum(number(cell) is not None for row in rows for cell in row)
            return len(widths) == 1 and widths != {1}, found, max(widths, default=0)

        return max(DELIMITERS, key=merit)

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        return islice(self._records(self._delimiter), 1 if self.names else 0, None)

    def _records(self, delimiter: str) -> Iterator[tuple[int, list[str]]]:
        """Each row that is not empty, with the line in which it begins."""
        lines: Iterable[str] = io.TextIOWrapper(io.BytesIO(self._content), encoding="utf-8-sig", newline="")
        if delimiter == " ":
            lines = (line.rstrip(" \r\n") + "\n" for line in lines)
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
        while True:
            line = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                place = f"{self.path}, from line {line}"
                raise ValueError(f"{self.owner}: expected well-formed cells in {place}, got: {error}") from None
            if row and row != [""]:
                yield line, row


def number(cell: str) -> float | None:
    """The number that a cell spells, NaN and infinity included; None where it spells none.

    Example:
        >>> number(" 1e3 "), number("1_000"), number("")
        (1000.0, None, None)
    """
    try:
        return None if "_" in cell or not cell.isascii() else float(cell)
    except ValueError:
        return None


def finite_as(values: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, tuple[int, int] | None]:
    """A matrix in another dtype, and row and column of its first value that is not finite in that."""
    with np.errstate(over="ignore"):
        result = values.astype(dtype)
    finite = np.isfinite(result)
    if finite.all():
        return result, None
    row, column = divmod(int(finite.argmin()), finite.shape[1])
    return result, (row, column)


def _picker(columns: Sequence[int]) -> Callable[[list[str]], Sequence[str]]:
    if len(columns) == 1:
        return lambda row: [row[columns[0]]]
    return itemgetter(*columns)
