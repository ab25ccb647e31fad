"""A text table as columns: their names, which of them are read, and the numbers in them."""

from __future__ import annotations

import os
import warnings
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from operator import itemgetter

import numpy as np

from fastdl.data.dialect import Options, dialect_of
from fastdl.data.numbers import DECIMALS, WHOLE, exactly, finite_as, number, pointed, rounded_whole
from fastdl.data.records import Text
from fastdl.data.text import utf8_of
from fastdl.errors import GuessWarning, InvalidTypeError, InvalidValueError
from fastdl.input_file import as_path
from fastdl.messages import Advice, Argument, shown

SHOWN = 40
NAMED = 20
DELIMITER_HINT = Advice("write ", Argument("delimiter", ...), " if another character is between cells")
# How pandas calls the index that `to_csv` has written, when it reads it back.
UNNAMED = ("", "Unnamed: 0")


class Table:
    """A text file cut into rows of cells.

    Args:
        path: the file; it may be gzipped.
        owner: who reads it, to open the messages.
        options: what is known of it; the rest is found out.

    Attributes:
        width: how many columns there are.
        names: of the columns, without the blanks around them, no two alike; None where the file has none.
        notes: sentences on what was guessed.
    """

    def __init__(self, path: str | os.PathLike[str], owner: str, options: Options | None = None) -> None:
        self.owner, self.options = owner, options or Options()
        self.path = as_path(path, owner)
        content, note = utf8_of(self.path, owner, self.options.encoding)
        self._text = Text(content, self.path, owner, self.options.comment)
        self.dialect = dialect_of(self._text, self.options)
        self.width, self._first = self.dialect.width, self.dialect.first
        self.notes = [each for each in (note, self.dialect.note) if each]
        self._given_names = self.dialect.names
        self.names = self._given_names and self._distinct(self._given_names)

    def number(self, cell: str) -> float | None:
        """The number that a cell spells; None for none."""
        return self.dialect.number(cell)

    def column(self, key: object, name: str) -> int:
        """The number from 0 of a column given by number, from either end, or by name."""
        if isinstance(key, str):
            found = [i for i, each in enumerate(self._given_names or ()) if each == key]
            found = found or [i for i, each in enumerate(self.names or ()) if each == key]
            if len(found) != 1:
                names = ", ".join(repr(each[:SHOWN]) for each in (self._given_names or ())[:NAMED]) or "none"
                wanted = f"one column of {self.path} (names: {names})"
                raise InvalidValueError(self.owner, f"{name} to name {wanted}", shown(key))
            return found[0]
        if isinstance(key, bool) or not isinstance(key, (int, np.integer)):
            raise InvalidTypeError(self.owner, "the number or the name of a column", shown(key), argument=name)
        if not -self.width <= key < self.width:
            wanted = f"a column from {-self.width} to {self.width - 1} of {self.path}"
            raise InvalidValueError(self.owner, wanted, shown(key), argument=name)
        return int(key) % self.width

    def alike(self, name: str) -> list[str]:
        """The names, as they are now, of the columns that the file calls so."""
        return [own for own, given in zip(self.names or (), self._given_names or (), strict=True) if given == name]

    def chosen(self, columns: Sequence[int | str] | None, target: int | None = None) -> list[int]:
        """The columns to read numbers from: those given, or all but the target, those to drop and an index without a name."""
        dropped = {self.column(key, "drop") for key in self.options.drop}
        if target in dropped:
            raise InvalidValueError(self.owner, "columns without the target to drop", "it among them")
        if columns is not None:
            found = [self.column(key, "columns") for key in columns]
            return [i for i in found if i not in dropped]
        found = [i for i in range(self.width) if i != target and i not in dropped]
        if len(found) > 1 and found[0] == 0 and self._is_index():
            self.notes.append(f"the first column of {self.path} has no name and counts the rows; it is left out")
            return found[1:]
        return found

    def numbers(
        self, columns: Sequence[int], beside: int | None, dtype: np.dtype, implied: bool = False
    ) -> tuple[np.ndarray, list[str], Sequence[int]]:
        """The numbers in some columns, the text in the column beside them, and the line in which each row begins.

        Args:
            columns: which.
            beside: the other one; None for none.
            dtype: of the numbers.
            implied: whether the caller has not chosen the columns, and may leave one out.

        Raises:
            ValueError: if there is no row, one has another length, or a cell is no finite number, or a whole one that the
                dtype would round; with its place.
        """
        pick, dialect = _picker(columns), self.dialect
        plain = dialect.decimal == "." and not dialect.grouped
        values, cells, lines = array("d"), [], array("q")
        for line, row in self._rows():
            picked = pick(row)
            text = "".join(picked)
            try:
                if "_" in text or not text.isascii():
                    raise ValueError  # float takes 1_000 and the digits of other scripts
                values.extend(map(float, picked if plain else self._pointed(picked)))
            except ValueError:
                wrong = next(i for i in columns if self.number(row[i]) is None)
                raise self._no_number(line, wrong, row[wrong], implied) from None
            lines.append(line)
            if beside is not None:
                cells.append(row[beside])
        if not lines:
            raise InvalidValueError(self.owner, f"at least one row below the names in {self.path}", "none")
        matrix = np.frombuffer(values).reshape(len(lines), len(columns))
        x, wrong = finite_as(matrix, dtype)
        if wrong:
            row, place = wrong
            raise self.error(f"a finite {dtype.name}", lines[row], columns[place], values[row * len(columns) + place])
        self._refuse_rounded(rounded_whole(matrix, dtype), columns, lines, dtype)
        return x, cells, lines

    def error(self, wanted: str, line: int, column: int, got: str | float, hint: str | None = None) -> ValueError:
        """What was wanted in a cell and what is there, with the cell's place and what to write."""
        name = f" ({self.names[column][:SHOWN]!r})" if self.names and self.names[column] else ""
        place = f"{self.path}, line {line}, column {column + 1}{name}"
        cell = (repr(got[:SHOWN]) if got.strip() else "an empty cell") if isinstance(got, str) else got
        return InvalidValueError(self.owner, Advice(wanted, f" in {place}"), cell, hint)

    def may_begin_with_names(self, line: int) -> bool:
        """Whether this is the first line, and was guessed to hold no names."""
        return self.options.header is None and self.names is None and line == self._first

    def warn(self) -> None:
        """Warn of what was guessed, once for each."""
        for note in dict.fromkeys(self.notes):
            warnings.warn(GuessWarning(self.owner, note), stacklevel=3)

    def _no_number(self, line: int, column: int, cell: str, implied: bool) -> ValueError:
        hint = None
        if self.may_begin_with_names(line) and self._number_below(column):
            hint = Advice("write ", Argument("header", True), " if these are names")
        elif cell.lstrip().startswith("#") and self.options.comment is None:
            hint = Advice("write ", Argument("comment", "#"), " if this is a comment")
        elif self.options.decimal is None and any(
            number(cell, decimal, grouped=True) is not None for decimal in DECIMALS
        ):
            hint = Advice("write ", Argument("decimal", ","), " or ", Argument("decimal", "."))
        elif implied and cell.strip():
            name = self.names[column][:SHOWN] if self.names else column
            hint = Advice("write ", Argument("drop", [name]), " to leave the column out")
        return self.error("a number", line, column, cell, hint)

    def _number_below(self, column: int) -> bool:
        """Whether a number follows below the first row, or nothing at all."""
        second = next(islice(self._rows(), 1, None), None)
        return second is None or self.number(second[1][column]) is not None

    def _pointed(self, picked: Sequence[str]) -> Iterator[str]:
        for cell in picked:
            spelled = pointed(cell, self.dialect.decimal, self.dialect.grouped)
            if spelled is None:
                raise ValueError
            yield spelled

    def _refuse_rounded(
        self, places: np.ndarray, columns: Sequence[int], lines: Sequence[int], dtype: np.dtype
    ) -> None:
        """Raise a ValueError for the first of the places where a whole number is spelled in digits alone."""
        if not len(places):
            return
        by_line: dict[int, list[int]] = {}
        for row, place in places.tolist():
            by_line.setdefault(lines[row], []).append(columns[place])
        for line, row in self._rows():
            for column in by_line.get(line, ()):
                if WHOLE.fullmatch(row[column]):
                    wanted = f"a whole number that {dtype.name} holds exactly"
                    raise self.error(wanted, line, column, row[column].strip(), "write dtype=np.float64")

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """The rows below the names, each of the table's width."""
        width, more = self.width, self.width + 1
        records = self._text.records(self.dialect.delimiter, width)
        for line, row in islice(records, 1 if self.dialect.names_row else 0, None):
            if len(row) != width:
                if len(row) == more and self.dialect.trailing and not row[-1].strip():
                    yield line, row[:-1]
                    continue
                wanted = f"{width} cells in {self.path}, line {line}, as in line {self._first}"
                raise InvalidValueError(
                    self.owner, wanted, len(row), None if self.options.delimiter else DELIMITER_HINT
                )
            yield line, row

    def _is_index(self) -> bool:
        """Whether the first column is an index that another program has written: one without a name, that numbers the rows.

        Raises:
            ValueError: if it may be one and may be values: whole numbers of which some are alike.
        """
        if not self._given_names or self._given_names[0] not in UNNAMED:
            return False
        cells = [row[0].strip() for _, row in self._rows()]
        if not all(WHOLE.fullmatch(cell) for cell in cells):
            return not any(self.number(cell) is not None for cell in cells)
        if len({exactly(cell) for cell in cells}) == len(cells):
            return True
        raise InvalidValueError(
            self.owner,
            f"a name for the first column of {self.path}",
            "whole numbers without one",
            Advice(
                "write ", Argument("drop", [0]), " to leave it out, or ", Argument("columns", ...), " with 0 among them"
            ),
        )

    def _distinct(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The names, the second of two alike with .1 behind it, as pandas does it."""
        found: list[str] = []
        taken = set(names)
        for name in names:
            own, number = name, 0
            while own in found or (number and own in taken):
                number += 1
                own = f"{name}.{number}"
            if number and name:
                self.notes.append(
                    f"two columns of {self.path} are called {name[:SHOWN]!r}; the later is called {own[:SHOWN]!r}"
                )
            found.append(own if name else name)
        return tuple(found)


def _picker(columns: Sequence[int]) -> Callable[[list[str]], Sequence[str]]:
    if len(columns) == 1:
        return lambda row: [row[columns[0]]]
    return itemgetter(*columns)
