"""Text cut into records: quoted cells, lines that are comments, and the line in which each record begins."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

HASH = re.compile(rb"^[ \t]*#", re.MULTILINE)


class Text:
    """The text of a table, to be cut into records as often as it takes.

    Args:
        content: in UTF-8.
        path: of the file, for messages.
        owner: who reads it, to open the messages.
        comment: what begins a comment, up to the end of its line; empty for nothing, None to let `records` skip lines that
            begin with # where they are no records.
    """

    def __init__(self, content: bytes, path: Path, owner: str, comment: str | None) -> None:
        self.content, self.path, self.owner, self.comment = content, path, owner, comment
        self.hashes = comment is None and HASH.search(content) is not None

    def records(self, delimiter: str, width: int | None = None) -> Iterator[tuple[int, list[str]]]:
        """Each record that is not empty, with the line in which it begins.

        Lines that begin with # are left out: those before the first other line, and later ones that have not `width` cells.
        """
        lines: Iterator[str] = io.TextIOWrapper(io.BytesIO(self.content), encoding="utf-8", newline="")
        if delimiter == " ":
            lines = (line.rstrip(" \r\n") + "\n" for line in lines)
        if self.comment:
            lines = _uncommented(lines, self.comment)
        watched = _Lines(lines)
        reader = csv.reader(watched, delimiter=delimiter, skipinitialspace=True, strict=True)
        begun = not self.hashes
        while True:
            watched.between = self.hashes and not begun
            line = watched.number + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                place = f"{self.path}, from line {line}"
                raise ValueError(f"{self.owner}: expected well-formed cells in {place}, got: {error}") from None
            line = max(line, watched.first)
            if not row or row == [""]:
                continue
            if begun and self.hashes and row[0].startswith("#") and width is not None and len(row) != width:
                continue
            begun = True
            yield line, row

    def commented(self) -> list[tuple[int, str]]:
        """The lines that begin with #, before the first other line: the number of each, and what stands behind the mark."""
        found = []
        for number, line in enumerate(io.TextIOWrapper(io.BytesIO(self.content), encoding="utf-8", newline=""), 1):
            if line.lstrip(" \t").startswith("#"):
                found.append((number, line.strip().lstrip("#").strip()))
            elif line.strip():
                break
        return found if self.hashes else []


class _Lines:
    """Lines with their numbers; those that begin with # are skipped while `between` is set, up to the first other one."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self.number, self.first, self.between = lines, 0, 0, False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        for line in self._lines:
            self.number += 1
            if self.between:
                if line.lstrip(" \t").startswith("#"):
                    continue
                self.between, self.first = False, self.number
            return line
        raise StopIteration


def _uncommented(lines: Iterator[str], mark: str) -> Iterator[str]:
    """Lines cut off where a comment begins outside of quotes."""
    quoted = False
    for line in lines:
        place = -1 if quoted else line.find(mark)
        while place >= 0 and line.count('"', 0, place) % 2:
            place = line.find(mark, place + 1)
        if place >= 0:
            line = line[:place].rstrip() + "\n"
        quoted ^= line.count('"') % 2 == 1
        yield line
