"""File names that the epoch and the numbers of its record are filled into."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping

from fastdl.errors import InvalidValueError
from fastdl.messages import shown


class FileName:
    """A path with places such as {epoch:02d} and {val_loss:.4f}, written as for str.format; {{ and }} are braces.

    Args:
        path: with names in its places: `epoch`, which is an int, and those of the history, which are floats.
        names: of the history.
        owner: who asks, to open the messages.

    Raises:
        ValueError: if a place has another name, or a format that its number cannot have.

    Attributes:
        fields: the names in it.
        folder: as much of the folder as holds no place.

    Example:
        >>> FileName("run/w-{epoch:02d}-{loss:.2f}", ("loss",), "example").filled(3, {"loss": 0.125})
        'run/w-03-0.12'
    """

    def __init__(self, path: str, names: Iterable[str], owner: str) -> None:
        from string import Formatter  # whose module takes a while to import

        self._path = path
        self.fields: set[str] = set()
        known = ("epoch", *names)
        wanted = f"places among {', '.join(f'{{{name}}}' for name in known)}"
        try:
            parts = list(Formatter().parse(path))
        except ValueError as error:
            raise InvalidValueError(owner, f"{wanted} in the path {shown(path)}", f"one with {error}") from None
        for _, name, specification, _ in parts:
            if name is None:
                continue
            if name not in known or "{" in (specification or ""):
                got = f"{{{name}:{specification}}}" if name in known else f"{{{name}}}"
                raise InvalidValueError(owner, f"{wanted} in the path {shown(path)}", shown(got))
            self.fields.add(name)
        try:
            self.filled(1, dict.fromkeys(known[1:], 0.5))
        except (ValueError, OverflowError, MemoryError) as error:
            raise InvalidValueError(
                owner,
                f"formats such as {{epoch:02d}} and {{loss:.4f}} in the path {shown(path)}",
                f"one with the error: {error}",
            ) from None
        count = next((number for number, (_, name, _, _) in enumerate(parts, 1) if name is not None), len(parts))
        self.folder = os.path.dirname("".join(text for text, *_ in parts[:count])) or os.curdir

    def filled(self, epoch: int, record: Mapping[str, float]) -> str:
        """The path after an epoch with this record; a number that is not in it is a NaN."""
        values = {name: record.get(name, math.nan) for name in self.fields} | {"epoch": epoch}
        return self._path.format_map(values)
