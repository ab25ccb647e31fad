"""How a text table is written: delimiter, decimal mark, comments, names in the first row; given, or found out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from itertools import islice, pairwise
from typing import Any

from fastdl.data.numbers import COMMA, DECIMALS, GROUPED, WHOLE, number
from fastdl.data.records import Text
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import Advice, Argument, shown
from fastdl.validation import one_of, true_or_false

# Those that are looked for.
DELIMITERS = (",", ";", "\t", "|", " ")
SAMPLE = 20
# Records that are looked at for the names of columns and the decimal mark.
LARGE_SAMPLE = 1000
# Cells that stand for a missing value and so are no name.
MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "missing", "?", "-", "."))
# Digits of a number that may be a name.
LONGEST_NAME = 16
# Numbers that are rather years than values, as names of columns.
YEARS = range(1900, 2101)


@dataclass(frozen=True)
class Options:
    """What the caller says of a table; None for what is to be found out.

    Attributes:
        header: whether the first row holds the columns' names.
        delimiter: one character between cells.
        decimal: "." or ",".
        comment: what begins a comment; empty where nothing does.
        encoding: of the text.
        drop: columns to leave out, by number or name.
    """

    header: bool | None = None
    delimiter: str | None = None
    decimal: str | None = None
    comment: str | None = None
    encoding: str | None = None
    drop: tuple[int | str, ...] = ()

    @classmethod
    def checked(cls, owner: str, **given: Any) -> Options:
        """Options from arguments of those names.

        Raises:
            TypeError, ValueError: if one is of another kind, or not among those that there are.
        """
        if given.get("header") is not None:
            given["header"] = true_or_false(given["header"], "header", owner)
        for name in ("delimiter", "comment", "encoding"):
            if given.get(name) is not None and not isinstance(given[name], str):
                raise InvalidTypeError(owner, "a string or None", shown(given[name]), argument=name)
        delimiter, comment = given.get("delimiter"), given.get("comment")
        if delimiter is not None and (len(delimiter) != 1 or delimiter.isalnum() or delimiter in '"\r\n.+-_'):
            raise InvalidValueError(owner, "one character such as a comma", shown(delimiter), argument="delimiter")
        if comment and (comment.isspace() or re.search(r"[\w\"\r\n.+-]", comment)):
            raise InvalidValueError(owner, "a mark such as #", shown(comment), argument="comment")
        if given.get("decimal") is not None:
            one_of(DECIMALS, given["decimal"], "decimal", owner)
        drop = given.get("drop")
        if drop is None:
            drop = ()
        if isinstance(drop, str) or not isinstance(drop, Sequence):
            raise InvalidTypeError(owner, "a list of columns or None", shown(drop), argument="drop")
        return cls(**{**given, "drop": tuple(drop)})

    def given(self) -> dict[str, Any]:
        """Those that are said, by name."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) not in (None, ())}


@dataclass(frozen=True)
class Dialect:
    """How a table is written.

    Attributes:
        delimiter: between cells.
        decimal: the mark in numbers.
        grouped: whether thousands may be grouped by the other mark.
        names: of the columns; None where the table has none.
        names_row: whether the first record holds them.
        width: cells of a row, without an empty one behind a delimiter at the end of each line.
        trailing: whether lines end with a delimiter.
        first: the line of the first record.
        note: on what was guessed; empty where nothing was.
    """

    delimiter: str
    decimal: str
    grouped: bool
    names: tuple[str, ...] | None
    names_row: bool
    width: int
    trailing: bool
    first: int
    note: str = ""

    def number(self, cell: str) -> float | None:
        """The number that a cell spells; None for none."""
        return number(cell, self.decimal, self.grouped)


def dialect_of(text: Text, options: Options) -> Dialect:
    """The dialect of a text.

    Raises:
        ValueError: if there is no record, or what was not said can be read in two ways.
    """
    delimiter = options.delimiter or _delimiter(text)
    found = _some(text, delimiter, LARGE_SAMPLE)
    if not found:
        next(text.records(delimiter), None)  # raises the error of what is malformed
        raise InvalidValueError(text.owner, f"rows in {text.path}", "none")
    rows = [row for _, row in found]
    stripped, width = _without_last(rows)
    trailing, rows = stripped is not rows, stripped
    decimal, grouped = _decimal(rows, options.decimal, text)
    first, below = rows[0], rows[1:]
    header = _has_names(first, below, decimal, grouped) if options.header is None else options.header
    if header is None:
        raise InvalidValueError(
            text.owner,
            f"a first row of {text.path} that is clearly names or values",
            ", ".join([cell.strip()[:12] for cell in first[:4]] + ["..."] * (len(first) > 4)),
            Advice("write ", Argument("header", True), " if these are names, else ", Argument("header", False)),
        )
    names, note = (tuple(cell.strip() for cell in first), "") if header else (None, "")
    if not header and options.header is None:
        names, note = _commented_names(text, first, delimiter, decimal, grouped)
    return Dialect(delimiter, decimal, grouped, names, bool(header), width, trailing, found[0][0], note)


def _some(text: Text, delimiter: str, count: int) -> list[tuple[int, list[str]]]:
    """The first records, up to what is malformed, which raises an error when all are read."""
    found: list[tuple[int, list[str]]] = []
    with suppress(ValueError):
        found.extend(islice(text.records(delimiter), 1))
        width = len(found[0][1]) if found else None
        found.extend(islice(text.records(delimiter, width), 1, count))
    return found


def _without_last(rows: list[list[str]]) -> tuple[list[list[str]], int]:
    """The rows without the empty cell that a delimiter at the end of each line makes, and their width."""
    first, below = rows[0], rows[1:]
    if len(first) > 1 and all(len(row) > 1 and not row[-1].strip() for row in rows):
        return [row[:-1] for row in rows], len(first) - 1
    if below and not _any_number(first) and all(len(row) == len(first) + 1 and not row[-1].strip() for row in below):
        return [first, *(row[:-1] for row in below)], len(first)
    return rows, len(first)


def _delimiter(text: Text) -> str:
    """The one that cuts the first rows evenly, and into the largest share of numbers."""

    def merit(delimiter: str) -> tuple[bool, float, int, bool, int]:
        rows = [row for _, row in _some(text, delimiter, SAMPLE)]
        if not rows:
            return False, 0.0, 0, False, 0
        rows, _ = _without_last(rows)
        widths = {len(row) for row in rows}
        cells = [cell for row in rows for cell in row]
        found = sum(number(cell) is not None or COMMA.fullmatch(cell) is not None for cell in cells)
        even = len(widths) == 1 and widths != {1}
        return even, found / len(cells), found, delimiter != " ", max(widths)

    return max(DELIMITERS, key=merit)


def _decimal(rows: list[list[str]], given: str | None, text: Text) -> tuple[str, bool]:
    """The decimal mark, and whether thousands are grouped by the other one."""
    if given is not None:
        return given, True
    cells = [cell for row in rows for cell in row]
    grouped = [cell for cell in cells if GROUPED["."].fullmatch(cell)]
    # 1,234 is 1234 or 1.234; 1,234.5 and 1,234,567 are grouped by commas, 0,123 and 1.234,5 have a decimal comma.
    by_commas = any("." in cell or cell.count(",") > 1 for cell in grouped)
    dotted = any("," in cell and GROUPED[","].fullmatch(cell) for cell in cells)
    either = [cell for cell in grouped if not _leads_with_zero(cell)]
    with_comma = [cell for cell in cells if COMMA.fullmatch(cell) and (cell not in either)]
    points = any("." in cell and number(cell) is not None and not GROUPED[","].fullmatch(cell) for cell in cells)
    if not (with_comma or dotted):
        if not either or by_commas or points:
            return ".", bool(either)
    elif not (by_commas or points):
        return ",", dotted
    elif not dotted and _only_among_words(rows):
        return ".", by_commas
    cell = (either or with_comma or [cell for cell in cells if "," in cell])[0].strip()[:20]
    raise InvalidValueError(
        text.owner,
        f"numbers with one decimal mark in {text.path}",
        f"{cell!r}, which may be read in two ways",
        Advice("write ", Argument("decimal", ","), " or ", Argument("decimal", ".")),
    )


def _leads_with_zero(cell: str) -> bool:
    return cell.strip().lstrip("+-").startswith("0")


def _only_among_words(rows: list[list[str]]) -> bool:
    """Whether numbers with a comma stand in columns of words alone."""
    columns = {i for row in rows for i, cell in enumerate(row) if COMMA.fullmatch(cell)}
    return all(any(_word(row[i]) for row in rows[1:] if i < len(row)) for i in columns)


def _word(cell: str) -> bool:
    return cell.strip().lower() not in MISSING and number(cell) is None and not COMMA.fullmatch(cell)


def _has_names(first: Sequence[str], below: list[list[str]], decimal: str, grouped: bool) -> bool | None:
    """Whether the first row holds names; None where it may or may not."""
    columns = [[row[i] for row in below if i < len(row)] for i in range(len(first))]
    values = [number(cell, decimal, grouped) for cell in first]
    words = [value is None and cell.strip().lower() not in MISSING for value, cell in zip(values, first, strict=True)]
    numeric = [bool(c) and all(number(cell, decimal, grouped) is not None for cell in c) for c in columns]
    named = any(word and above for word, above in zip(words, numeric, strict=True))
    again = any(word and cell in c and not _any_number(c) for word, cell, c in zip(words, first, columns, strict=True))
    if all(value is None for value in values):
        return None if again and any(numeric) and not named else True
    if len(below) < 2 or again:
        return False
    above = [(cell, c) for cell, c, value in zip(first, columns, values, strict=True) if value is not None]
    if not all(WHOLE.fullmatch(cell) and len(cell) < LONGEST_NAME for cell, _ in above):
        return False
    found = [int(cell) for cell, _ in above]
    years = all(value in YEARS and not _any_year(c) for value, (_, c) in zip(found, above, strict=True))
    if len(set(found)) < len(found) or not (years or all(_no_whole(c, decimal, grouped) for _, c in above)):
        return False
    even = len({after - before for before, after in pairwise(found)}) == 1
    if named or (even and (len(found) > 2 or years)):
        return True
    return None if len(first) > 1 else False


def _any_number(cells: Iterable[str]) -> bool:
    return any(number(cell) is not None for cell in cells)


def _any_year(cells: Iterable[str]) -> bool:
    return any(WHOLE.fullmatch(cell) and len(cell.strip()) < 6 and int(cell) in YEARS for cell in cells)


def _no_whole(cells: list[str], decimal: str, grouped: bool) -> bool:
    """Whether every cell is a number with a fraction spelled out."""
    return all(number(cell, decimal, grouped) is not None and not WHOLE.fullmatch(cell) for cell in cells)


def _commented_names(
    text: Text, first: list[str], delimiter: str, decimal: str, grouped: bool
) -> tuple[tuple[str, ...] | None, str]:
    """Names in the last of the comments above the first row, as numpy.savetxt writes them."""
    comments = text.commented()
    if not comments or len(first) < 2:
        return None, ""
    line, words = comments[-1]
    above = Text(words.encode(), text.path, text.owner, "")
    cells = [row for _, row in _some(above, delimiter, 1)]
    if not cells or len(cells[0]) != len(first):
        return None, ""
    values = [number(cell, decimal, grouped) for cell in cells[0]]
    if any(value is not None for value in values):
        raise InvalidValueError(
            text.owner,
            f"a comment or a row in {text.path}, line {line}",
            "a line with # that has as many cells as the first row",
            Advice("write ", Argument("comment", "#"), " for a comment, ", Argument("comment", ""), " for a row"),
        )
    return tuple(cell.strip() for cell in cells[0]), f"the names of the columns are those in the comment in line {line}"
